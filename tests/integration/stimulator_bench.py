"""The stimulator process and its device alone, with the test as hot process, cold process and supervisor."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from neuroloop.config.loading import dump_config, load_config
from neuroloop.config.tree import Config
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, EVENTS_FILE
from neuroloop.sinks.stimulator.control import ask
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, LogFile, read_log
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.live.child_process import Child
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.shared_state import Shared, pack_event
from neuroloop.stream.live.stimulation.process import run_stimulator
from neuroloop.stream.live.stimulation.setup import StimulationPlan
from tests.integration.live import PATIENCE_S
from tests.integration.lsl import wait_until
from tests.integration.stimulating import GATE, TABLE, edges_of, quick_limits

INFO = StreamInfo("bench", "EEG", "bench", 250.0, ("a",), ("EEG",), ("uV",))
TOKEN = "open sesame"
_TURN_S = 0.02
_DECISION_TURNS = 5


def bench_config(folder: Path, *overrides: str) -> Config:
    """Return a configuration whose device is simulated and whose gate is quick."""
    return load_config(
        "demo",
        [
            "process.hot_core=any", "process.priority=normal", "name=bench", "source.kind=lsl",
            "stimulation.electrode_area_cm2=0.06", "stimulation.route=implanted", TABLE, GATE,
            f"stimulation.ledger={folder / 'ledger'}", *quick_limits(folder), *overrides,
        ],
    )  # fmt: skip


class Bench:
    """One stimulator process; a thread plays the rest of the run.

    Parameters
    ----------
    folder : Path
        Gets the run and the ledger.
    name : str
        Of the run's folder.
    overrides : tuple of str
        As ``--set``.
    """

    def __init__(self, folder: Path, *overrides: str, name: str = "run") -> None:
        self.config = bench_config(folder, *overrides)
        self.out = folder / name
        self.out.mkdir()
        (self.out / CONFIG_FILE).write_text(dump_config(self.config), encoding="utf-8")
        (self.out / EVENTS_FILE).touch()
        self.shared = Shared.make(INFO, stages=("classifier",), classes=("rest", "alpha"), ring_s=5.0, stimulates=True)
        link = self.shared.stimulation
        assert link is not None
        self.link = link
        self._requests = link.requests.writer()
        source = SourcePlan(INFO, "here", True, None, 1.0, None)  # type: ignore[arg-type]
        plan = StimulationPlan(
            config=self.config, source=source, out=self.out, cores=frozenset(), run_id=name,
            token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), plan_sha256="plan", bundle_sha256=None,
            delay_s=0.1, decision_s=_TURN_S * _DECISION_TURNS, window_s=0.0,
        )  # fmt: skip
        self.child = Child(run_stimulator, (plan, self.shared), "stimulator")
        self._is_closed = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()
        self.child.wait_until_ready()
        self.process = psutil.Process(self.child.process.pid or 0)
        self.device = next(
            child for child in self.process.children() if "devices.simulator.process" in " ".join(child.cmdline())
        )

    def _play(self) -> None:
        """Be the hot process, the cold one and the supervisor."""
        numbers, turn = self.shared.numbers, 0
        numbers("first_offset")[0] = 0.0
        while not self._stopped.wait(_TURN_S):
            turn += 1
            now_ns = time.monotonic_ns()
            numbers("progress")[0] = turn
            numbers("received")[0] = turn * 5
            numbers("newest_stamp")[0] = now_ns * 1e-9
            numbers("newest_arrival_ns")[0] = now_ns
            numbers("started_ns")[0] = numbers("stream_up")[0] = 1
            self.link.numbers("supervisor_ns")[0] = self.link.numbers("cold_ns")[0] = now_ns
            if turn % _DECISION_TURNS == 0:
                self._decide(turn * 5, now_ns, is_first=turn == _DECISION_TURNS)

    def _decide(self, sample: int, now_ns: int, *, is_first: bool) -> None:
        k, time_s = sample // (5 * _DECISION_TURNS), now_ns * 1e-9
        values = {"label": "rest", "confidence": 0.9, "probabilities": [0.9, 0.1], "valid": True}
        events = [Event("prediction", "bench", sample, k, time_s, 0.1, values, 1)]
        if is_first:
            change = {"state": "rest", "previous": None, "confidence": 0.9}
            events.append(Event("state", "bench", sample, k, time_s, 0.1, change, 2))
        for event in events:
            self._requests.append(pack_event(event, now_ns, now_ns)[0])
        self._requests.notify()

    def ask(self, verb: str, **values: str) -> dict[str, Any]:
        """Ask over the operator's socket."""
        request = {"verb": verb, "token": TOKEN, "reason": "test", **values}
        return ask(self.out, request, timeout_s=PATIENCE_S)

    @property
    def state(self) -> str:
        """The gate's state."""
        return str(self.ask("status")["state"])

    def is_on(self) -> bool:
        edges = edges_of(self.out)
        return bool(edges) and edges[-1][1]

    def gets_on(self) -> None:
        """Arm, and again if a busy machine disarmed it, until the output is on."""

        def turn() -> bool:
            verb = {"FAULT": "reset", "DISARMED": "arm"}.get(self.state)
            if verb is not None:
                self.ask(verb)
            return self.is_on()

        wait_until(turn, "stimulating", PATIENCE_S)

    def off_after_s(self, harm: Callable[[], object]) -> float:
        """Do harm and return how long the output stayed on afterwards, by the device's record."""
        t_ns = time.monotonic_ns()
        harm()

        def find() -> float | None:
            return next((max(1e-9, (at - t_ns) * 1e-9) for at, on in edges_of(self.out) if at >= t_ns and not on), None)

        took_s: float = wait_until(find, "off", PATIENCE_S)
        return took_s

    def log(self) -> LogFile:
        """Read the log."""
        return read_log(self.out / AUDIT_FILE)

    def trips(self) -> set[str]:
        """Return the interlocks that have tripped, by the log."""
        return {one.values["interlock"] for _, one in self.log().outputs() if one.values.get("what") == "tripped"}

    def ends(self) -> int | None:
        """End as a run ends: the hot process closes its ring."""
        self._stopped.set()
        self._thread.join()
        self._requests.close()
        self.child.process.join(PATIENCE_S)
        return self.child.process.exitcode

    def close(self) -> None:
        """Leave nothing behind; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._stopped.set()
        self._thread.join()
        if self.child.is_alive:
            self.child.process.kill()
            self.child.process.join()
        self.child.release()
        self.shared.close()
