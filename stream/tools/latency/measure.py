"""One closed-loop measurement: the sender, the run with its processes as in production, an operator, its figures."""

from __future__ import annotations

import os
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.tree import ClassifierSettings, Config
from neuroloop.sinks.stimulator.control import ControlError
from neuroloop.stream.assembly.build import build
from neuroloop.stream.assembly.plan import Plan
from neuroloop.stream.live.placement import plan_placement
from neuroloop.stream.live.stimulation.scripted_operator import ScriptedOperator
from neuroloop.stream.live.stimulation.setup import DEVICE_FILE
from neuroloop.stream.live.supervisor import RunOptions, Supervisor
from neuroloop.stream.tools.latency.detector import make_detector, make_threshold, stream_of
from neuroloop.stream.tools.latency.figures import figures
from neuroloop.stream.tools.latency.onsets import OnsetPlan, OnsetSignal
from neuroloop.stream.tools.latency.sender import LoopbackSender, SentRows
from neuroloop.stream.tools.latency.trace import LoopbackError, Responses, Trace, answer, read_trace

Kind = Literal["pipeline", "null"]
LOG_FILE = "run.log"
_NAME = "neuroloop-loopback"
_SLICE_S = 0.005
_HELD_S = (0.04, 0.06)
"""How long after an onset the operator stops its dose; seeded, uniform in between."""
_REARM_S = 1.0
"""Arming is renewed so often: what an interlock has disarmed goes on at once, and is counted."""
_ARM_WITHIN_S = 60.0


@dataclass(frozen=True)
class Measured:
    """What one measurement found.

    Parameters
    ----------
    sent : SentRows
    trace : Trace
    responses : Responses
        Of the onsets that were left alone.
    stops_ns : array, shape (n_stops,), int64
        From the moment before the operator's request was sent to the edge of the output.
    n_stops_asked : int
        Stops that were asked for; those that came when nothing was on have no edge.
    algorithmic : dict
        The delay that was designed, in seconds, by its parts.
    sender : str
        Scheduler of the sender.
    """

    sent: SentRows
    trace: Trace
    responses: Responses
    stops_ns: NDArray[np.int64]
    n_stops_asked: int
    algorithmic: dict[str, Any]
    sender: str

    def series(self) -> dict[str, NDArray[np.int64]]:
        """Return all latencies in nanoseconds, by name."""
        pushed = self.sent.pushed_ns
        numbers = sorted(self.responses.doses)
        doses = [self.responses.doses[number] for number in numbers]
        pushed_ns = pushed[[dose.row for dose in doses]]
        onset_ns = pushed[self.responses.onsets[numbers]]
        taken, logged, handed, edge = (
            np.array([getattr(dose, name) for dose in doses], np.int64)
            for name in ("taken_ns", "logged_ns", "handed_ns", "edge_ns")
        )
        return {
            "decision": self.trace.decision_latency_ns(self.sent),
            "system": edge - pushed_ns,
            "system_without_log": edge - pushed_ns - logged,
            "command": handed - pushed_ns - logged,
            "to_gate": taken - pushed_ns,
            "gate": handed - taken - logged,
            "log": logged,
            "device": edge - handed,
            "onset_to_output": edge - onset_ns,
            "stop": self.stops_ns,
        }

    def record(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "algorithmic_delay_s": self.algorithmic,
            "onsets": len(self.responses.onsets),
            "answered": len(self.responses.doses),
            "missed": self.responses.n_missed,
            "false": self.responses.n_false,
            "stops_asked": self.n_stops_asked,
            "interruptions": dict(sorted(self.trace.interruptions.items())),
            "latency": {name: figures(values) for name, values in self.series().items()},
            "sender": self.sender,
        }


class _Stopper:
    """The operator's thread: arms, keeps armed, and stops the doses of the last onsets at seeded moments.

    Parameters
    ----------
    operator : ScriptedOperator
    folder : Path
        Of the run.
    sender : LoopbackSender
    signal : OnsetSignal
    first_stop : int
        Number of the first onset whose dose is stopped.
    seed : int
    """

    def __init__(
        self,
        operator: ScriptedOperator,
        folder: Path,
        sender: LoopbackSender,
        signal: OnsetSignal,
        first_stop: int,
        seed: int,
    ) -> None:
        self._operator, self._folder, self._sender, self._signal = operator, folder, sender, signal
        n_stops = len(signal.onsets) - first_stop
        held_s = np.random.default_rng(seed).uniform(*_HELD_S, n_stops)
        self._stop_rows = signal.onsets[first_stop:] + np.rint(held_s * signal.info.sfreq).astype(np.int64)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neuroloop-operator", daemon=True)
        self.asked_ns: list[int] = []
        """When each stop was asked for, before the socket was opened."""
        self.fault: str | None = None
        """Why he could not do his work."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stop working; may be called twice."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._arm("begin of the measurement")
            armed = time.monotonic()
            for row in self._stop_rows.tolist():
                while not self._sender.has_sent(row):
                    if self._is_over.wait(_SLICE_S):
                        return
                    if time.monotonic() - armed > _REARM_S:
                        self._arm("renewal")
                        armed = time.monotonic()
                self.asked_ns.append(time.perf_counter_ns())
                self._operator.ask(self._folder, "stop", "measurement")
                self._arm("next onset")
                armed = time.monotonic()
            while not self._is_over.wait(_REARM_S):
                self._arm("renewal")
        except ControlError as error:
            if not self._is_over.is_set():
                self.fault = str(error)

    def _arm(self, reason: str) -> None:
        answer = self._operator.insist(
            self._folder, "arm", reason, is_over=self._is_over.is_set, timeout_s=_ARM_WITHIN_S
        )
        if not answer["accepted"] and not self._is_over.is_set():
            raise ControlError(f"run must let the operator arm, got: {answer['text']}")


def measure(config: Config, folder: Path, *, kind: Kind, n_events: int, n_stops: int, seed: int) -> Measured:
    """Measure a configuration's loop on this machine.

    Parameters
    ----------
    config : Config
        One that stimulates by a simulated device, for the state ``burst``; its source is a simulator, of which rate
        and number of channels count, and it names no bundle.
    folder : Path
        New; gets the bundle and the run.
    kind : {'pipeline', 'null'}
        ``null``: no stage, a network of one unit over the newest sample.
    n_events, n_stops : int
        Onsets that are left alone, and further ones whose doses the operator stops.
    seed : int

    Raises
    ------
    ConfigError
        If the configuration is not such a one.
    LoopbackError
        If the operator could not arm.
    """
    check(config)
    simulator = config.source.simulator
    info = stream_of(simulator.n_channels, simulator.sfreq, f"{_NAME}-{kind}-{os.getpid()}")
    plan = OnsetPlan(n_events + n_stops, seed=seed)
    signal = OnsetSignal(info, plan, "tone" if kind == "pipeline" else "step")
    make = make_detector if kind == "pipeline" else make_threshold
    bundle = make(folder / "bundle", info)
    classifier = (config.classifier or ClassifierSettings()).model_copy(update={"bundle": str(bundle)})
    source = config.source.model_copy(update={"kind": "lsl", "name": info.name, "reconnect_s": 1.0})
    update = {"classifier": classifier, "source": source, "name": f"{config.name}-{kind}"}
    update["markers"] = config.markers.model_copy(update={"enabled": False})
    if config.stimulation is not None:  # its charge is nobody's
        update["stimulation"] = config.stimulation.model_copy(update={"ledger": str(folder / "ledger")})
    operator = ScriptedOperator(config.model_copy(update=update))
    built = build(operator.config, info)
    run = folder / "run"
    with LoopbackSender(signal, plan_placement(config.process).others) as sender:
        stopper = _Stopper(operator, run, sender, signal, n_events, seed)
        try:
            options = RunOptions(out=run, show=False, title="neuroloop latency")
            with _standard_error_into(folder / LOG_FILE):
                Supervisor(operator.config, options).run(on_ready=stopper.start)
        finally:
            stopper.end()
        sent = sender.sent()
    if stopper.fault is not None:
        raise LoopbackError(stopper.fault)
    trace = read_trace(run, run / DEVICE_FILE, sent)
    end = int(signal.onsets[n_events]) if n_stops else signal.n_rows
    responses = answer(signal, (dose for dose in trace.doses if dose.row < end), n_onsets=n_events)
    return Measured(
        sent=sent,
        trace=trace,
        responses=responses,
        stops_ns=stop_latencies(stopper.asked_ns, trace.on_edges_ns, trace.off_edges_ns),
        n_stops_asked=len(stopper.asked_ns),
        algorithmic=algorithmic_delay(operator.config, built.plan, info.sfreq),
        sender=sender.scheduler,
    )


@contextmanager
def _standard_error_into(path: Path) -> Iterator[None]:
    """Let this process and those that it starts write their logs into a file: each dose is several lines."""
    sys.stderr.flush()
    before = os.dup(2)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(target, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        os.close(target)


def check(config: Config) -> None:
    """Refuse what cannot be measured here.

    Raises
    ------
    ConfigError
        With every fault.
    """
    faults = []
    if config.source.kind != "simulator":
        faults.append(f"source.kind must be 'simulator' for a measurement on this machine, got {config.source.kind!r}")
    if config.classifier is not None and config.classifier.bundle is not None:
        faults.append(
            f"classifier.bundle must be left out, the network is set by hand, got {config.classifier.bundle!r}"
        )
    if config.stages:
        faults.append("stages must be left out, the network has its own, got some")
    if faults:
        raise ConfigError(*faults)


def stop_latencies(asked_ns: list[int], on_ns: list[int], off_ns: list[int]) -> NDArray[np.int64]:
    """Return the time from each request to the output being off; requests that came while it was off are left out.

    Parameters
    ----------
    asked_ns : list of int
    on_ns, off_ns : list of int
        Edges of the output, ascending; they take turns.
    """
    found = []
    for asked in asked_ns:
        n_off = bisect_right(off_ns, asked)
        if bisect_right(on_ns, asked) > n_off and n_off < len(off_ns):
            found.append(off_ns[n_off] - asked)
    return np.asarray(found, np.int64)


def algorithmic_delay(config: Config, plan: Plan, sfreq: float) -> dict[str, Any]:
    """Return the delay that was designed, in seconds, by its parts.

    Parameters
    ----------
    config : Config
    plan : Plan
        With its stages' delays: the group delay of filters, half of windows.
    sfreq : float
        Of the stream.
    """
    hop_s = 1.0 / plan.stages[-1]["sfreq"] if plan.stages else 1.0 / sfreq
    gate = config.stimulation.gate if config.stimulation is not None else None
    n_confirm = 0 if gate is None else gate.confirm_n - 1
    stages = {str(stage["name"]): float(stage["delay_s"]) for stage in plan.stages}
    confirmation_s = n_confirm * hop_s
    return {
        "stages": stages,
        "confirmation": confirmation_s,
        "wait_for_decision_at_most": hop_s,
        "total": plan.delay_s + confirmation_s,
        "note": "group delay of filters, half of each window, confirmation; a strong change is seen earlier",
    }
