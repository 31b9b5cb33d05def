"""The supervisor: finds the stream, makes the shared memory, starts the processes, watches and stops them."""

from __future__ import annotations

import logging
import multiprocessing
import platform
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

from config.loading import dump_config
from config.tree import Config
from sinks.run_folder import RunFolder
from stream.app import build, load_classifier
from stream.contracts import ConfigError, NeuroloopError
from stream.machine import machine_settings
from stream.provenance import provenance
from stream.runner.cold import ColdPlan, run_cold
from stream.runner.hot import HotPlan, run_hot
from stream.runner.placement import plan_placement, settle
from stream.runner.shared import Shared, request_stop
from stream.runner.sourcing import find_source

_log = logging.getLogger("neuroloop.run")
_START_S = 180.0
_STOP_S = 1.5
_MAX_COLD_RESTARTS = 20
_POLL_S = 0.2


class RunFailed(NeuroloopError):
    """A process of the run died."""


@dataclass(frozen=True)
class RunOptions:
    """How to run, beside the configuration.

    Parameters
    ----------
    out : Path, optional
        New or empty folder for the run.
    seconds : float, optional
        Stop after so many seconds of stream.
    show : bool
        Whether to draw the view where there is a terminal.
    title : str
    with_host : bool
        Whether events and provenance name the machine.
    picture : Path, optional
        Where to keep the last view.
    """

    out: Path | None = None
    seconds: float | None = None
    show: bool = True
    title: str = "neuroloop run"
    with_host: bool = False
    picture: Path | None = None


class Supervisor:
    """One live run.

    Parameters
    ----------
    config : Config
        With a source of kind ``lsl``.
    options : RunOptions
    """

    def __init__(self, config: Config, options: RunOptions) -> None:
        if config.source.kind != "lsl":
            raise ConfigError(f"source.kind must be 'lsl' here, got {config.source.kind!r}")
        self._config = config
        self._options = options
        self._context = multiprocessing.get_context("spawn")
        self._stop_requested = False
        self._shared: Shared | None = None
        self.metrics_port: int | None = None
        try:
            self._placement = plan_placement(config.process)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Run until the stream is over, the time is up or somebody stops it.

        Parameters
        ----------
        on_ready : callable, optional
            Called when the hot process is subscribed.

        Raises
        ------
        NeuroloopError
            If the run cannot start, or the hot process died.
        """
        with ExitStack() as stack:
            self._catch_signals(stack)
            bundle = load_classifier(self._config)
            source = find_source(self._config.source)
            _log.info("source: %s, %d channels at %g Hz", source.info.name, source.info.n_channels, source.info.sfreq)
            built = build(self._config, source.info, bundle=bundle)
            shared = Shared.make(
                source.info,
                stages=[stage.name for stage in built.pipeline.stages],
                classes=built.classes,
                ring_s=self._config.process.ring_s,
            )
            stack.callback(shared.close)
            self._shared = shared
            if self._options.out is not None:
                record = provenance(self._config, built.plan, with_host=self._options.with_host)
                RunFolder(self._options.out, config_yaml=dump_config(self._config), provenance=record).close()
            machine = machine_settings()
            settle(self._placement.others, realtime=False)
            plan = HotPlan(self._config, source, self._placement, self._options.seconds)
            hot, settings = self._start(run_hot, plan, shared, "hot")
            stack.callback(_end, hot)
            cold_plan = ColdPlan(
                config=self._config,
                source=source,
                out=self._options.out,
                cores=self._placement.others,
                settings={"machine": machine, "hot": settings},
                plan_sha256=built.plan.hash,
                title=self._options.title,
                show=self._options.show,
                host=platform.node() if self._options.with_host else None,
                picture=self._options.picture,
            )
            cold, told = self._start(run_cold, cold_plan, shared, "cold")
            self.metrics_port = told.get("metrics_port")
            if self.metrics_port is not None:
                _log.info("metrics: http://%s:%d/metrics", self._config.metrics.host, self.metrics_port)
            if on_ready is not None:
                on_ready()
            self._watch(hot, cold, cold_plan, shared)

    def stop(self) -> None:
        """Ask the run to finish; from any thread or signal handler."""
        self._stop_requested = True
        if self._shared is not None:
            request_stop(self._shared)

    def _catch_signals(self, stack: ExitStack) -> None:
        """Finish on Ctrl-C and SIGTERM; a second one ends at once."""

        def handle(number: int, _frame: FrameType | None) -> None:
            if self._shared is None or self._stop_requested:
                raise KeyboardInterrupt
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, handle)
            stack.callback(signal.signal, number, before)

    def _start(
        self, target: Callable[..., None], plan: Any, shared: Shared, name: str
    ) -> tuple[SpawnProcess, dict[str, Any]]:
        """Start one process and wait until it says that it is ready."""
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=target, args=(plan, shared, sender), name=f"neuroloop-{name}")
        process.start()
        sender.close()
        deadline = time.perf_counter() + _START_S
        try:
            while time.perf_counter() < deadline:
                wait([receiver, process.sentinel], timeout=_POLL_S)
                if receiver.poll():
                    return process, self._answer(receiver, name)
                if not process.is_alive():
                    raise RunFailed(f"the {name} process must start, got exit code {process.exitcode}")
                if self._stop_requested:
                    raise KeyboardInterrupt
            raise RunFailed(f"the {name} process must be ready within {_START_S:g} s, got no answer")
        except BaseException:
            _end(process)
            raise
        finally:
            receiver.close()

    @staticmethod
    def _answer(receiver: Connection, name: str) -> dict[str, Any]:
        try:
            kind, value = receiver.recv()
        except EOFError:
            raise RunFailed(f"the {name} process must start, got its death") from None
        if kind == "error":
            raise RunFailed(value)
        return dict(value)

    def _watch(self, hot: SpawnProcess, cold: SpawnProcess, cold_plan: ColdPlan, shared: Shared) -> None:
        """Wait for the end; start the cold process again if it dies; tell a death of the hot one."""
        restarts = 0
        hot_ended = 0.0
        while True:
            wait([hot.sentinel, cold.sentinel] if hot.is_alive() else [cold.sentinel], timeout=_POLL_S)
            if not hot.is_alive() and not hot_ended:
                hot_ended = time.perf_counter()
                if not int(shared.numbers("finished")[0]):
                    _log.error("the hot process died (exit code %s); writing what it left", hot.exitcode)
            if cold.is_alive():
                continue
            if cold.exitcode == 0 and hot_ended:
                break
            restarts += 1
            if restarts > _MAX_COLD_RESTARTS:
                self.stop()
                raise RunFailed(f"the cold process must stay alive, got {restarts} deaths")
            _log.warning("the cold process died (exit code %s), starting it again", cold.exitcode)
            cold, _ = self._start(run_cold, cold_plan, shared, "cold")
        if not int(shared.numbers("finished")[0]):
            raise RunFailed(f"the hot process must stay alive, got its death with exit code {hot.exitcode}")


def _end(process: SpawnProcess) -> None:
    """End a process that should be over by now."""
    if process.is_alive():
        process.terminate()
        process.join(_STOP_S)
        if process.is_alive():
            process.kill()
    process.join(_STOP_S)
