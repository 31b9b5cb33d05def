"""The stimulator's part of the terminal view: state, arming, train, charge, last command, last refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from neuroloop.config.plain_text import clean
from neuroloop.sinks.stimulator.counting import ENVELOPE_RULES
from neuroloop.stream.contracts.events import Event

_STYLES = {
    "ARMED": "yellow",
    "RAMP_UP": "bright_magenta",
    "STIMULATING": "magenta",
    "RAMP_DOWN": "bright_magenta",
    "LOCKOUT": "cyan",
    "SAFE_STOP": "red",
    "FAULT": "bold red",
}
_BAR = 24
_MOST_REASON = 150


@dataclass(frozen=True)
class StimulationStatus:
    """How the stimulator is now.

    Parameters
    ----------
    state : str
        Of the gate's machine.
    armed_left_s : float
        Until arming expires; 0 while disarmed.
    amplitude_ma, frequency_hz, pulse_width_us : float
        Of the train that is granted; amplitude 0 while off.
    session_uc, session_limit_uc, day_uc, day_limit_uc : float
        Charge, and what is allowed; a limit of 0 is not known.
    """

    state: str
    armed_left_s: float
    amplitude_ma: float
    frequency_hz: float
    pulse_width_us: float
    session_uc: float
    session_limit_uc: float
    day_uc: float
    day_limit_uc: float


class StimulationPanel:
    """Draw the stimulator.

    Parameters
    ----------
    title : str
        Such as the device and the electrode.
    states : sequence of str
        Of the gate's machine, in the order of drawing.
    """

    def __init__(self, title: str, states: Sequence[str]) -> None:
        self._title = title
        self._states = tuple(states)
        self._status: StimulationStatus | None = None
        self._command = self._refusal = self._wait = Text("none yet", style="bright_black")
        self._n_refusals = self._n_starts = 0

    def update(self, events: Sequence[Event], status: StimulationStatus | None) -> None:
        """Take what happened since the last call, and how the stimulator is."""
        for event in events:
            if event.type == "command":
                self._n_starts += event.values.get("action") == "start"
                self._command = Text(f"{event.time:.3f} s  {describe_command(event.values)}")
            elif event.type == "refusal":
                self._n_refusals += 1
                line = f"{event.time:.3f} s  {describe_refusal(event.values)}"
                if any(one["rule"] in ENVELOPE_RULES for one in event.values["rules"]):
                    self._refusal = Text(line, style="bold red")
                else:
                    self._wait = Text(line, style="yellow")
        if status is not None:
            self._status = status

    def render(self) -> Panel:
        """Return the panel."""
        status = self._status
        rows = Table.grid(padding=(0, 2))
        if status is not None:
            rows.add_row("arming", self._arming(status))
            rows.add_row("train", _train(status))
            rows.add_row("charge, run", _bar(status.session_uc, status.session_limit_uc))
            rows.add_row("charge, 24 h", _bar(status.day_uc, status.day_limit_uc))
        rows.add_row(f"last command ({self._n_starts} starts)", self._command)
        rows.add_row("beyond the limits", self._refusal)
        rows.add_row(f"last wait (refused {self._n_refusals})", self._wait)
        return Panel(
            Group(self._machine(), rows), title=Text(clean(self._title)), title_align="left", border_style="magenta"
        )

    def _machine(self) -> Text:
        """Return the states in a row, the present one marked."""
        line = Text()
        now = "" if self._status is None else self._status.state
        for state in self._states[1:]:  # INIT is over before there is a view
            if state == now:
                line.append(f" {state} ", style=f"bold reverse {_STYLES.get(state, 'white')}")
            else:
                line.append(state, style="bright_black")
            line.append(" ")
        return line

    @staticmethod
    def _arming(status: StimulationStatus) -> Text:
        if status.armed_left_s <= 0:
            return Text("disarmed", style="bright_black")
        return Text(f"armed, {status.armed_left_s:.0f} s left", style="yellow")


def describe_command(values: Mapping[str, Any]) -> str:
    """Say a command in a few words."""
    action = str(values.get("action"))
    if action != "start":
        reason = values.get("reason")
        return clean(f"{action}: {reason}" if reason else action)
    return f"start {_numbers(values)} for {clean(values.get('state', '?'))}"


def describe_refusal(values: Mapping[str, Any]) -> str:
    """Say a refusal in a few words, with its numbers."""
    state, reason = values.get("state"), str(values.get("reason") or values.get("rule"))
    text = reason if len(reason) <= _MOST_REASON else reason[: _MOST_REASON - 1] + "…"
    return clean(f"{state}: {text}" if state else text, 2 * _MOST_REASON)


def _numbers(values: Mapping[str, Any]) -> str:
    """Return the parameters of a train, as far as they are known."""
    parts = []
    for key, unit, digits in (("amplitude_ma", "mA", "g"), ("frequency_hz", "Hz", "g"), ("pulse_width_us", "us", "g"),
                              ("charge_per_phase_uc", "uC", ".3g"), ("shannon_k", "", ".3g")):  # fmt: skip
        value = values.get(key)
        if isinstance(value, (int, float)):
            parts.append(f"{value:{digits}} {unit}" if unit else f"k {value:{digits}}")
    return ", ".join(parts)


def _train(status: StimulationStatus) -> Text:
    """Return what is on."""
    if status.amplitude_ma <= 0:
        return Text("off", style="bright_black")
    text = f"{status.amplitude_ma:.2f} mA, {status.frequency_hz:g} Hz, {status.pulse_width_us:g} us"
    return Text(text, style="bold magenta")


def _bar(charge_uc: float, limit_uc: float) -> Text:
    """Return a charge beside what is allowed."""
    if limit_uc <= 0:
        return Text(_charge(charge_uc))
    share = min(1.0, max(0.0, charge_uc / limit_uc))
    filled = round(share * _BAR)
    style = "red" if share > 0.9 else "magenta"
    bar = Text("█" * filled, style=style) + Text("░" * (_BAR - filled), style="bright_black")
    return bar + Text(f" {_charge(charge_uc)} of {_charge(limit_uc)}")


def _charge(uc: float) -> str:
    """Return a charge in its own size."""
    for factor, unit in ((1e6, "C"), (1e3, "mC")):
        if uc >= factor:
            return f"{uc / factor:.3g} {unit}"
    return f"{uc:.3g} uC"
