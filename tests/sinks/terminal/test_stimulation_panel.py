"""The stimulator's part of the terminal view."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from neuroloop.sinks.stimulator.gate.machine import STATES
from neuroloop.sinks.terminal.run_view import TerminalView
from neuroloop.sinks.terminal.stimulation_panel import StimulationPanel, StimulationStatus
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))
ON = StimulationStatus("STIMULATING", 588.0, 2.5, 20.0, 200.0, 412.0, 5000.0, 412_000.0, 2e6)
OFF = StimulationStatus("DISARMED", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
START = {"action": "start", "state": "rest", "amplitude_ma": 2.5, "frequency_hz": 20.0, "pulse_width_us": 200.0,
         "charge_per_phase_uc": 0.5, "shannon_k": 0.62}  # fmt: skip


def event(kind: Any, **values: Any) -> Event:
    return Event(kind, "cap", 100, 0, 12.5, 0.4, values)


def refusal(rule: str, reason: str) -> Event:
    return event("refusal", what="start", state="seizure", reason=reason, rules=[{"rule": rule}])


def shown(panel: StimulationPanel) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    console.print(panel.render())
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_what_is_on_is_shown_with_arming_train_and_charge() -> None:
    panel = StimulationPanel("device", STATES)
    panel.update([event("command", **START)], ON)
    text = shown(panel)
    for part in ("armed, 588 s left", "2.50 mA, 20 Hz, 200 us", "412 uC of 5 mC", "412 mC of 2 C",
                 "last command (1 starts)", "start 2.5 mA, 20 Hz, 200 us, 0.5 uC, k 0.62 for rest"):  # fmt: skip
        assert part in text


def test_what_is_off_says_so() -> None:
    panel = StimulationPanel("device", STATES)
    panel.update([], OFF)
    text = shown(panel)
    assert "disarmed" in text
    assert "none yet" in text
    assert " of " not in text


def test_a_refusal_beyond_the_limits_stays_when_one_that_only_waits_follows() -> None:
    panel = StimulationPanel("device", STATES)
    panel.update([refusal("shannon_k", "shannon_k must be at most 1.5, got 2.018")], ON)
    panel.update([refusal("dwell_s", "dwell_s must be at least 0.5, got 0")], None)
    text = shown(panel)
    assert "seizure: shannon_k must be at most 1.5, got 2.018" in text
    assert "dwell_s must be at least 0.5, got 0" in text
    assert "refused 2" in text


def test_the_picture_is_the_last_view_with_the_output_on(tmp_path: Path) -> None:
    view = TerminalView(INFO, title="t", console=Console(file=io.StringIO()))
    view.set_stimulation(StimulationPanel("device", STATES))
    view.update([event("command", **START)], 100, 1.0, stimulation=ON)
    view._last_draw = 0.0
    view.update([event("command", action="stop", reason="operator: key")], 200, 2.0, stimulation=OFF)
    view.save_picture(tmp_path / "view.svg")
    assert "2.50&#160;mA" in (tmp_path / "view.svg").read_text(encoding="utf-8")
