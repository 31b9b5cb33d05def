"""One benchmark in a process of its own, which hands over every row when it is measured.

A process each, because a benchmark leaves things behind that the next one must not meet. liblsl reads its settings
(session, ports, peers) once in a process and keeps them: a second benchmark on a network of its own would offer its
stream there, from a new process, and look for it from here in the network of the first. Threads of torch, affinities
and pages of memory stay likewise. And a benchmark that crashes takes nothing but itself along.
"""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType

from benchmarks.distribution import LatencyRow
from benchmarks.measure import LeftOut, Row
from neuroloop.stream.live.child_process import signals_held
from neuroloop.stream.live.placement import follow_parent

Entry = Row | LatencyRow | LeftOut
_END_S = 30.0


@dataclass(frozen=True)
class Planned:
    """How many rows there will be; comes first."""

    n_rows: int


@dataclass(frozen=True)
class Failure:
    """Why a benchmark did not come to its end: one line, and the whole traceback where there is one."""

    error: str
    traceback: str = ""


class _Ended:
    """Nothing more comes."""


def measure_apart(module: str, *, quick: bool) -> Iterator[Planned | Entry | Failure]:
    """Run a benchmark in a new process and give what it says when it says it.

    Leaving the iteration early ends the process.

    Parameters
    ----------
    module : str
        Has ``n_rows(quick) -> int`` and ``rows(quick)``, which gives as many rows, one after the other.
    quick : bool
        Few repetitions.

    Yields
    ------
    Planned, Row, LatencyRow, LeftOut or Failure
        A failure is the last.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(module, quick, theirs), name=f"bench {module.rpartition('.')[2]}"[:15])
    with signals_held():
        process.start()
    theirs.close()  # so that a process that dies ends the pipe
    try:
        while not isinstance(said := _next(ours), _Ended | None):
            yield said
        process.join(_END_S)
        if said is None:
            yield Failure(f"process must end by itself, got exit status {process.exitcode}")
    finally:
        ours.close()
        process.terminate()
        process.join(_END_S)
        process.kill()
        process.join()


def _next(pipe: Connection) -> Planned | Entry | Failure | _Ended | None:
    """Return what comes next; None where the other end is gone."""
    try:
        said: Planned | Entry | Failure | _Ended = pipe.recv()
    except (EOFError, OSError):  # OSError: it died in the middle of a message
        return None
    return said


def _run(module: str, quick: bool, pipe: Connection) -> None:
    """Be the process."""
    signal.signal(signal.SIGTERM, _leave)  # what the benchmark started is ended on the way out
    follow_parent()
    try:
        benchmark = importlib.import_module(module)
        n_planned, n_rows = int(benchmark.n_rows(quick)), 0
        pipe.send(Planned(n_planned))
        for row in benchmark.rows(quick):
            pipe.send(row)
            n_rows += 1
        if n_rows != n_planned:
            pipe.send(Failure(f"{module} must give the {n_planned} rows that it planned, got {n_rows}"))
    except Exception as error:  # noqa: BLE001 (the top of a process; one line of it is shown, the rest is in the file)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        pipe.send(Failure(line, traceback.format_exc()))
    pipe.send(_Ended())


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)
