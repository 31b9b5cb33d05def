"""``make bench``: every speed figure against its peer, each shown and written down when it is measured.

Each benchmark runs in a process of its own (`benchmarks.own_process` says why). A row is a line on the screen and in
``figures.json`` as soon as it is there, so that a run that is interrupted keeps what it measured; at the end come the
tables. A peer that is not installed is a line that says so. A benchmark that fails is one line, the others still run,
and the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import FiguresFile
from benchmarks.measure import LeftOut
from benchmarks.own_process import Entry, Failure, Planned, measure_apart
from benchmarks.tables import show_tables

NAMES = ("filter", "monitor_chain", "lstm", "ring", "live", "drift", "scrape", "stimulation", "kafka")
MODULES = {name: f"benchmarks.{name}" for name in NAMES}
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None, modules: Mapping[str, str] = MODULES) -> int:
    """Run the chosen benchmarks one after the other.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name.
    modules : mapping of str to str
        The benchmarks by their names, in order.

    Returns
    -------
    int
        Exit status: 1 where a benchmark failed, 2 for a fault in the arguments, 130 when interrupted.
    """
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=summary)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(modules)} (default: all)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="the same, behind other options")
    parser.add_argument("--quick", action="store_true", help="few repetitions, wide spreads: a check that all works")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"), help="folder for figures.json")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys([*options.names, *options.only])) or list(modules)
    unknown = [name for name in names if name not in modules]
    if unknown:
        print(f"benchmarks: name must be one of {', '.join(modules)}, got {unknown[0]!r}", file=sys.stderr)
        return 2
    try:
        file = FiguresFile(options.out, quick=options.quick)
    except OSError as error:
        print(f"benchmarks: out must be a folder that can be written to, got {error}", file=sys.stderr)
        return 2
    run = BenchRun(file, quick=options.quick)
    try:
        for index, name in enumerate(names):
            print(f"{name}: benchmark {index + 1} of {len(names)}, {run.elapsed}", flush=True)
            run.measure(name, modules[name])
    except KeyboardInterrupt:
        n_rows = len(run.rows)
        print(
            f"benchmarks: interrupted, {n_rows} {'row is' if n_rows == 1 else 'rows are'} in {file.path}",
            file=sys.stderr,
        )
        return INTERRUPTED
    file.complete()
    show_tables(run.rows)
    print(file.path)
    if run.failures:
        failed = ", ".join(name for name, _ in run.failures)
        print(f"benchmarks: {len(run.failures)} of {len(names)} failed: {failed}", file=sys.stderr)
    return 1 if run.failures else 0


class BenchRun:
    """Benchmarks that run one after the other, with progress on the screen and figures in a file.

    Parameters
    ----------
    file : FiguresFile
    quick : bool
        Few repetitions.
    """

    def __init__(self, file: FiguresFile, *, quick: bool) -> None:
        self._file = file
        self._quick = quick
        self._begin = time.monotonic()
        self.rows: list[Entry] = []
        """What was measured, rows that were left out apart."""
        self.failures: list[tuple[str, str]] = []
        """Names of benchmarks that failed, and why."""

    @property
    def elapsed(self) -> str:
        """Minutes and seconds since the run began."""
        minutes, seconds = divmod(int(time.monotonic() - self._begin), 60)
        return f"{minutes}:{seconds:02d}"

    def measure(self, name: str, module: str) -> None:
        """Run one benchmark; a failure of it is noted.

        Parameters
        ----------
        name, module : str
        """
        n_planned, n_said = 0, 0
        for said in measure_apart(module, quick=self._quick):
            if isinstance(said, Planned):
                n_planned = said.n_rows
            elif isinstance(said, Failure):
                self._file.add_failure(name, said.error, said.traceback)
                self.failures.append((name, said.error))
                print(f"{name}: failed, {said.error}", file=sys.stderr, flush=True)
            else:
                n_said += 1
                self._file.add(name, said)
                if not isinstance(said, LeftOut):
                    self.rows.append(said)
                print(f"[{name} {n_said}/{n_planned}, {self.elapsed}] {said}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
