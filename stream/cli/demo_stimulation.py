"""The part of the demo that stimulates: its scripted operator, and the proof at its end."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from neuroloop.config.errors import DemoFailed
from neuroloop.config.places import ledger_folder
from neuroloop.config.recommendations import rows_of
from neuroloop.config.tree import Config
from neuroloop.sinks.stimulator.control import ControlError
from neuroloop.sinks.stimulator.device_proof import prove_device
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import load_hard_limits
from neuroloop.sinks.stimulator.log.verification import verify_run
from neuroloop.stream.live.stimulation.scripted_operator import ScriptedOperator
from neuroloop.stream.live.stimulation.setup import DEVICE_FILE

PRESET = "stimulation"
SECONDS = 40.0
_log = logging.getLogger("neuroloop.demo")


class StimulationDemo:
    """Play the operator of one run, then prove what happened.

    He arms, naming what needs to be named; stops half-way; arms again; disarms before the end.

    Parameters
    ----------
    config : Config
    folder : Path
        Of the run. Gets the charge ledger too, so that the run can be verified as long as it is kept.
    seconds : float
        Length of the run.
    """

    def __init__(self, config: Config, folder: Path, seconds: float) -> None:
        self._operator = ScriptedOperator(config)
        stimulation = self._operator.config.stimulation
        if stimulation is None:
            raise ValueError("stimulation must be configured, got None")
        ledger = stimulation.ledger or str(folder.resolve() / "ledger")
        self._stimulation = stimulation.model_copy(update={"ledger": ledger})
        self.config = self._operator.config.model_copy(update={"stimulation": self._stimulation})
        named = [row.state for row in rows_of(self._stimulation) if row.requires_override]
        override = named[0] if named else None
        self._script: tuple[tuple[float, str, str, str | None], ...] = (
            (0.05 * seconds, "arm", "begin of the demo", override),
            (0.55 * seconds, "stop", "the operator wants it off", None),
            (0.65 * seconds, "arm", "go on", override),
            (0.95 * seconds, "disarm", "end of the demo", None),
        )
        self._seconds = seconds
        self._folder = Path()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._play, name="neuroloop-operator", daemon=True)
        self._answers: list[tuple[str, bool, str]] = []

    def begin(self, folder: Path) -> None:
        """Start to play, when the run is subscribed."""
        self._folder = folder
        self._thread.start()

    def end(self) -> None:
        """Stop playing; may be called twice."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _play(self) -> None:
        """Do what the script says, each thing at its time."""
        begin = time.monotonic()
        for at_s, verb, reason, override in self._script:
            if self._is_over.wait(max(0.0, begin + at_s - time.monotonic())):
                return
            try:
                answer = self._operator.insist(
                    self._folder, verb, reason, override, is_over=self._is_over.is_set, timeout_s=0.25 * self._seconds
                )
            except ControlError as error:
                self._answers.append((verb, False, str(error)))
                return
            self._answers.append((verb, bool(answer["accepted"]), str(answer["text"])))

    def proof(self, folder: Path) -> str:
        """Return what the run's files prove, in one line.

        Parameters
        ----------
        folder : Path
            Of the finished run.

        Raises
        ------
        DemoFailed
            If the log is not proven, the device's own record is beyond a limit, or the operator was not heeded.
        """
        refused = [f"{verb}: {text}" for verb, accepted, text in self._answers if not accepted]
        if refused or len(self._answers) < len(self._script):
            done = ", ".join(verb for verb, _, _ in self._answers)
            raise DemoFailed(f"operator must be heeded {len(self._script)} times, got {done}; {'; '.join(refused)}")
        verdict = verify_run(folder, ledger_folder(self._stimulation.ledger))
        if not verdict.is_clean:
            raise DemoFailed(*verdict.findings, *verdict.unproven)
        named, pinned = self._stimulation.hard_limits_file, self._stimulation.hard_limits_sha256
        hard, _ = load_hard_limits(named, pinned)
        device = prove_device(folder / DEVICE_FILE, self._stimulation, session_limits(self._stimulation, hard))
        if device.findings or not device.n_intervals:
            raise DemoFailed(f"device must have stimulated within the limits, got {device.line()}")
        return f"proven: {verdict.line()}; the device itself: {device.line()}"
