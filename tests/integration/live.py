"""The whole program in processes of its own, as a user starts it, on LSL that nobody else sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from neuroloop.stream.contracts.events import canonical
from tests.integration import lsl

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
"""Kernels may have to be compiled first, and others may keep the cores busy."""
FINDING = ("--set", f"source.resolve_s={PATIENCE_S}")
"""For runs that may be quicker than their sender."""
FAST = (*FINDING, "--set", "process.ring_s=200")
"""For runs on a stream that is played at many times its pace: a reader without a core must not lose what waits."""
SHARING = ("--set", "process.hot_core=any", "--set", "process.priority=normal")
"""For runs that share the cores of a test machine with others."""


class Program:
    """One running command.

    Parameters
    ----------
    arguments : tuple
        What a user would type after ``neuroloop``.
    log : Path
        Where its standard error goes.
    options
        As `subprocess.Popen` takes them.
    """

    def __init__(self, arguments: tuple[object, ...], log: Path, **options: Any) -> None:
        self.log = log
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **options.pop("env", {})}
        with log.open("w", encoding="utf-8") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "neuroloop.stream.cli.main", *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=file, text=True, env=environment, start_new_session=True, **options,
            )  # fmt: skip
        self._seen: dict[int, psutil.Process] = {}

    @property
    def err(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8")

    def says(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until it says something."""

        def is_said() -> bool:
            assert text in self.err or self.popen.poll() is None, f"ended without {text!r}: {self.err}"
            return text in self.err

        lsl.wait_until(is_said, f"saying {text!r}", timeout_s)

    def family(self) -> list[psutil.Process]:
        """Return all processes that it has started, those that are gone too."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.popen.pid).children(recursive=True):
                self._seen.setdefault(process.pid, process)
        return list(self._seen.values())

    def child(self, name: str) -> psutil.Process:
        """Wait for its process of this name, the newest one."""

        def find() -> psutil.Process | None:
            assert self.popen.poll() is None, f"ended: {self.err}"
            found = []
            for process in self.family():
                with suppress(psutil.NoSuchProcess):
                    if process.name() == f"neuroloop-{name}"[:15] and process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
            return max(found, key=lambda process: process.create_time(), default=None)

        found: psutil.Process = lsl.wait_until(find, f"process {name}", PATIENCE_S)
        return found

    def finish(self, timeout_s: float = PATIENCE_S) -> tuple[int, str, str]:
        """Wait for its end; return status, standard output and standard error."""
        out, _ = self.popen.communicate(timeout=timeout_s)
        return self.popen.returncode, out, self.err

    def ends_well(self) -> str:
        """Wait for its end, which must be a good one; return standard output."""
        status, out, err = self.finish()
        assert status == 0, err
        assert "Traceback" not in err
        return out

    def fails(self, status: int = 1) -> str:
        """Wait for its end, which must be a clear refusal; return its lines on standard error."""
        got, _, err = self.finish()
        assert got == status, err
        assert "Traceback" not in err
        return err

    def kill(self) -> None:
        """Leave nothing behind."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.kill()
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()


Start = Callable[..., Program]


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Hand out a function that starts commands; end them all."""
    programs: list[Program] = []

    def start(*arguments: object, **options: Any) -> Program:
        log = folder / f"{len(programs)}-{arguments[0]}.log"
        programs.append(Program(arguments, log, **options))
        return programs[-1]

    try:
        yield start
    finally:
        for program in programs:
            program.kill()


def scrape(port: int, accept: str = "text/plain") -> str:
    """Return what a run says of itself to Prometheus."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def metrics_port(program: Program) -> int:
    """Wait for the port that a run was given by the system."""
    program.says("metrics: http://127.0.0.1:")
    return int(program.err.split("metrics: http://127.0.0.1:")[1].split("/")[0])


def canonical_lines(run: Path) -> list[str]:
    """Return the canonical lines of a run's events."""
    return [canonical(json.loads(line)) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def summary_of(run: Path) -> dict[str, Any]:
    """Return the books of a run, which must balance."""
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    samples = summary["samples"]
    assert samples["in"] == samples["processed"] + sum(samples["counted"].values())
    assert samples["balanced"] is True
    return summary


def wait_for_lines(run: Path, n: int) -> None:
    """Wait until so many events are written."""

    def enough() -> bool:
        path = run / "events.jsonl"
        return path.exists() and path.read_bytes().count(b"\n") >= n

    lsl.wait_until(enough, f"{n} events written", PATIENCE_S)


def end_all(processes: list[psutil.Process]) -> None:
    """Wait until processes that should end by themselves have ended."""
    _, alive = psutil.wait_procs(processes, PATIENCE_S)
    assert not alive, f"still there: {alive}"
