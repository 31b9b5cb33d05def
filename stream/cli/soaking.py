"""``neuroloop soak``: a long run whose books must balance, with memory that must stay flat."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.loading import load_config
from neuroloop.sinks.run_folder.folder import LATENCY_FILE, SUMMARY_FILE, put_json
from neuroloop.stream.cli.shared_options import live_config
from neuroloop.stream.live.process_logs import set_up_logs
from neuroloop.stream.live.process_usage import use_of_run
from neuroloop.stream.live.supervisor import RunOptions, Supervisor
from neuroloop.stream.live.virtual_amplifier import VirtualAmplifier
from neuroloop.stream.sources.lsl.library import quiet_library
from neuroloop.stream.tools.soak import Check, MemoryLog, check_books, check_memory

SOAK_FILE = "soak.json"
_SETTLE_S = 5.0
_LEAST_S = 8.0


class SoakFailed(NeuroloopError):
    """A check of a long run failed."""


def run_soak(options: argparse.Namespace) -> int:
    """Run, sample the memory of every process, judge at the end.

    Raises
    ------
    SoakFailed
        If a check fails; the table and ``soak.json`` are there by then.
    """
    quiet_library()
    config = live_config(load_config(options.config, options.set), options.metrics_port, log=options.log)
    set_up_logs(config.process.log)
    settle_s = config.process.ring_s + _SETTLE_S
    if not settle_s + _LEAST_S <= options.seconds < float("inf"):
        raise ConfigError(
            f"seconds must be at least {settle_s + _LEAST_S:g} (process.ring_s + {_SETTLE_S + _LEAST_S:g}), "
            f"got {options.seconds!r}"
        )
    log = MemoryLog()
    with tempfile.TemporaryDirectory(prefix="neuroloop-soak-") as scratch:
        out = options.out or Path(scratch) / "run"
        run = RunOptions(out=out, seconds=options.seconds, show=False, title="neuroloop soak", recorded=config)
        with (
            VirtualAmplifier(config) as amplifier,
            _Sampler(log, min(5.0, max(0.5, options.seconds / 120.0))) as sampler,
        ):
            Supervisor(amplifier.config, run).run(on_ready=sampler.begin)
        summary, latency = (
            json.loads((out / name).read_text(encoding="utf-8")) for name in (SUMMARY_FILE, LATENCY_FILE)
        )
        checks = [*check_books(summary, seconds=options.seconds), *check_memory(log, settle_s=settle_s)]
        record = {
            "seconds": options.seconds,
            "settle_s": settle_s,
            "passed": all(check.is_good for check in checks),
            "checks": [check.as_dict() for check in checks],
            "samples": summary["samples"],
            "latency": latency["rows"],
            "memory": log.as_dict(),
        }
        if options.out is not None:
            put_json(out / SOAK_FILE, record)
    _show(checks)
    if not record["passed"]:
        failed = ", ".join(check.name for check in checks if not check.is_good)
        raise SoakFailed(f"every check must pass, got a failure of {failed}")
    return 0


class _Sampler:
    """Reads the memory of this process and its children every few seconds, in a thread."""

    def __init__(self, log: MemoryLog, every_s: float) -> None:
        self._log = log
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="neuroloop-soak", daemon=True)

    def begin(self) -> None:
        """Start: the hot process is subscribed."""
        self._thread.start()

    def _sample(self) -> None:
        start = time.perf_counter()
        while not self._ended.wait(self._every_s):
            self._log.add(time.perf_counter() - start, use_of_run(os.getpid()))

    def __enter__(self) -> _Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()


def _show(checks: list[Check]) -> None:
    """Print a line per check."""
    table = Table(box=None, pad_edge=False)
    for column in ("check", "outcome", "rule", "found"):
        table.add_column(column, no_wrap=column != "rule")
    for check in checks:
        table.add_row(check.name, "ok" if check.is_good else "FAILED", check.rule, check.found)
    Console(width=140).print(table)
