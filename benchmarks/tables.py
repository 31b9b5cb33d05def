"""The tables at the end of a run of the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.distribution import LatencyRow
from benchmarks.measure import LeftOut, Row


def show_tables(rows: Sequence[Row | LatencyRow | LeftOut]) -> None:
    """Print what was measured: times against peers first, then latencies.

    Parameters
    ----------
    rows : sequence of Row, LatencyRow or LeftOut
    """
    show([row for row in rows if isinstance(row, Row)])
    show_latencies([row for row in rows if isinstance(row, LatencyRow)])


def show(rows: Sequence[Row]) -> None:
    """Print rows as a table: median and p10-p90 distance."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("topic", "case", "ours us", "peer", "peer us", "peer / ours", "note"):
        table.add_column(
            column, justify="right" if "us" in column or "/" in column else "left", no_wrap=column != "note"
        )
    for row in rows:
        table.add_row(
            row.topic,
            row.case,
            f"{row.ours_us:.3g} +- {row.ours_spread:.2g}",
            row.peer,
            f"{row.peer_us:.3g} +- {row.peer_spread:.2g}",
            f"{row.ratio:.3g} +- {row.ratio_spread:.2g}",
            row.note,
        )
    Console(width=160).print(table)


def show_latencies(rows: Sequence[LatencyRow]) -> None:
    """Print rows as a table: percentiles in microseconds, ratios with their 95 % intervals."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for column in ("case", "p50 / p99 / p99.9 us", "beside", "its us", "ratio of p50", "ratio of p99", "note"):
        table.add_column(column, justify="right" if "us" in column or "ratio" in column else "left")
    for row in rows:
        theirs, p50, p99 = (str(one) if one else "" for one in (row.theirs, row.ratio_p50, row.ratio_p99))
        table.add_row(row.case, str(row.ours), row.peer, theirs, p50, p99, row.note)
    Console(width=200).print(table)
