"""``make bench``: every speed figure against its peer, taken in one run; a table on the screen and JSON beside it."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.distribution import LatencyRow
from benchmarks.measure import Row
from stream.machine import machine_settings, package_versions

MODULES = ("filter", "monitor_chain", "lstm", "ring", "live", "drift", "scrape", "stimulation", "kafka")


def main() -> int:
    """Run the chosen benchmarks one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(MODULES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few repetitions: wide spreads")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"), help="folder for figures.json")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(MODULES))
    if unknown:
        print(f"benchmarks: name must be one of {', '.join(MODULES)}, got {unknown[0]!r}", file=sys.stderr)
        return 2
    rows: list[Row | LatencyRow] = []
    for name in options.names or MODULES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        module = importlib.import_module(f"benchmarks.{name}")
        new: list[Row | LatencyRow] = module.rows(options.quick)
        rows += new
        show([row for row in new if isinstance(row, Row)])
        show_latencies([row for row in new if isinstance(row, LatencyRow)])
    options.out.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": machine_settings(),
        "versions": package_versions(),
        "quick": options.quick,
        "rows": [asdict(row) for row in rows],
    }
    path = options.out / "figures.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(path)
    return 0


def show(rows: list[Row]) -> None:
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


def show_latencies(rows: list[LatencyRow]) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
