"""The closed loop beside a null pipeline: from the push of a sample to the edge of the stimulator's output.

What is measured and how is told in ``docs/stimulation.md``. The preset is ``latency``: 64 channels at 1 kHz, notch,
band-pass, average reference, band power, LSTM, gate, log, simulated stimulator, each in its process as in production.
The null pipeline has the same sender, gate, log and device, and a network of one unit over the newest sample.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.distribution import LatencyRow, Percentiles, percentiles
from benchmarks.measure import LeftOut
from benchmarks.session import own_network
from neuroloop.config.loading import load_config
from neuroloop.stream.sources.lsl.library import quiet_library
from neuroloop.stream.tools.latency.measure import Measured, measure

TOPIC = "closed loop"
NULL = "null pipeline"
_CASES = (
    ("system", "sample to output"),
    ("system_without_log", "sample to output, log apart"),
    ("command", "sample to the device's write, log apart"),
    ("decision", "sample to gate, every decision"),
    ("log", "log on the disk (fsync)"),
)


def _figures(values: NDArray[np.int64]) -> Percentiles | None:
    return percentiles([values]) if len(values) else None


def _row(case: str, full: NDArray[np.int64], null: NDArray[np.int64] | None, note: str) -> LatencyRow | LeftOut:
    ours = _figures(full)
    if ours is None:
        return LeftOut(TOPIC, case, "nothing was answered")
    theirs = None if null is None else _figures(null)
    peer = NULL if theirs is not None else ""
    return LatencyRow(TOPIC, case, 1, len(full), ours, peer, theirs, None, None, note)


def n_rows(quick: bool) -> int:
    """Return how many rows there will be."""
    return len(_CASES) + 1


def rows(quick: bool) -> Iterator[LatencyRow | LeftOut]:
    """Measure both: the operator's stops in the first run, the rest when the second is over.

    Parameters
    ----------
    quick : bool
        Few onsets, for a check that the benchmark works.
    """
    n_events, n_stops = (15, 8) if quick else (1000, 1000)
    config = load_config("latency", [])
    with ExitStack() as stack:
        stack.enter_context(own_network())
        quiet_library()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neuroloop-bench-")))
        full = measure(config, folder / "full", kind="pipeline", n_events=n_events, n_stops=n_stops, seed=11)
        ours, note = full.series(), _note(full)
        yield _row("operator's stop to output off", ours["stop"], None, "request on the socket to the edge")
        null = measure(config, folder / "null", kind="null", n_events=n_events, n_stops=0, seed=12)
    theirs = null.series()
    for key, case in _CASES:
        yield _row(case, ours[key], theirs[key], note)


def _note(full: Measured) -> str:
    found = full.responses
    return f"{len(found.doses)} of {len(found.onsets)} onsets answered, {found.n_false} doses without; {full.sender}"
