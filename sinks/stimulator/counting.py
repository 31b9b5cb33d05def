"""What the stimulator process counts in shared memory, for metrics, the terminal view and whoever watches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from neuroloop.sinks.stimulator.gate import rules
from neuroloop.sinks.stimulator.gate.machine import ON_STATES, STATES
from neuroloop.sinks.stimulator.records import GateOutput
from neuroloop.stream.contracts.shared_memory import CounterSpec

ACTIONS = ("arm", "disarm", "start", "stop")
"""Commands that are events, in the order of their slots. Renewals are not counted: a sham dose has none."""
ENVELOPE_RULES = (
    "waveform", "amplitude_ma", "pulse_width_us", "frequency_hz", "charge_per_phase_uc", "charge_density_uc_cm2",
    "shannon_k", "current_density_ma_cm2", "rms_ma", "rms_density_ma_cm2", "net_dc_ua", "duty", "pulse_energy_mj",
    "min_frequency_hz", "voltage_v", "slew_ma_s", "ramp_s", "ramps_s", "dose_s", "dose_session_s",
    "dose_session_charge_mc", "dose_day_charge_mc", "row_min_confidence", "requires_override",
)  # fmt: skip
"""By which a row of the table may fail on this electrode."""
REFUSAL_RULES = (*rules.REFUSAL_RULES, *ENVELOPE_RULES)
"""By which something is refused, in the order of their slots; one more slot takes any other."""
OTHER = "other"
_BOUNDS_S = tuple(1e-5 * 2**step for step in range(17))
"""10 us to 0.66 s, then infinity; as the latencies of the hot loop."""


def stimulation_counters() -> list[CounterSpec]:
    """Return the counters of one stimulator process."""
    return [
        CounterSpec("stim_state", "count"),
        CounterSpec("stim_commands", "count", size=len(ACTIONS)),
        CounterSpec("stim_refusals", "count", size=len(REFUSAL_RULES) + 1),
        CounterSpec("stim_faults", "count"),
        CounterSpec("stim_heartbeat_ns", "count"),
        CounterSpec("stim_armed_until_ns", "count"),
        CounterSpec("stim_amplitude_ma", "value"),
        CounterSpec("stim_frequency_hz", "value"),
        CounterSpec("stim_pulse_width_us", "value"),
        CounterSpec("stim_session_uc", "value"),
        CounterSpec("stim_session_limit_uc", "value"),
        CounterSpec("stim_day_uc", "value"),
        CounterSpec("stim_day_limit_uc", "value"),
        CounterSpec("stim_fsync_seconds", "histogram", bounds=_BOUNDS_S),
        CounterSpec("stim_command_seconds", "histogram", bounds=_BOUNDS_S),
        CounterSpec("stim_stop_seconds", "histogram", bounds=_BOUNDS_S),
    ]


class Observer(Protocol):
    """The writer's end of a histogram."""

    def observe(self, value: float) -> None:
        """Count one value in seconds."""
        ...


class Block(Protocol):
    """A block of counters, as its one writer sees it."""

    def numbers(self, name: str) -> NDArray[Any]:
        """Return the slots of a count or value."""
        ...

    def histogram(self, name: str) -> Observer:
        """Return the writer's end of a histogram."""
        ...


class StimulationCounts:
    """The writer's end of `stimulation_counters`.

    Under sham it counts the same as for a real dose: what was given cannot be told from the metrics.

    Parameters
    ----------
    block : Block
    """

    def __init__(self, block: Block) -> None:
        self._states: dict[str, int] = {name: index for index, name in enumerate(STATES)}
        self._rules = {name: index for index, name in enumerate(REFUSAL_RULES)}
        self._actions = {name: index for index, name in enumerate(ACTIONS)}
        self._numbers = {spec.name: block.numbers(spec.name) for spec in stimulation_counters()
                         if spec.kind != "histogram"}  # fmt: skip
        self._fsync, self._command, self._stop = (
            block.histogram(f"stim_{name}_seconds") for name in ("fsync", "command", "stop")
        )

    def take(self, outputs: Iterable[GateOutput]) -> None:
        """Count what the gate has said: transitions, commands that are events, refusals."""
        for one in outputs:
            if one.kind == "transition":
                self._enter(str(one.values["to"]))
            elif one.kind == "command" and one.is_event:
                self._count_command(one.values)
            elif one.kind == "refusal":
                rules = one.values["rules"]
                rule = str(rules[0]["rule"]) if rules else OTHER
                self._numbers["stim_refusals"][self._rules.get(rule, len(self._rules))] += 1

    def _enter(self, state: str) -> None:
        numbers = self._numbers
        numbers["stim_state"][0] = self._states[state]
        if state == "FAULT":
            numbers["stim_faults"][0] += 1
        if state not in ON_STATES:
            numbers["stim_amplitude_ma"][0] = 0.0

    def _count_command(self, values: Mapping[str, Any]) -> None:
        action = values["action"]
        slot = self._actions.get(action)
        if slot is not None:
            self._numbers["stim_commands"][slot] += 1
        if action == "start":
            self.put(**{name: values[name] for name in ("amplitude_ma", "frequency_hz", "pulse_width_us")})

    def put(self, **values: float) -> None:
        """Set values or moments by their name without ``stim_``, such as ``session_uc`` or ``heartbeat_ns``."""
        for name, value in values.items():
            self._numbers[f"stim_{name}"][0] = value

    def observe_fsync(self, seconds: float) -> None:
        """Count how long a start waited for its record to be on the disk."""
        self._fsync.observe(seconds)

    def observe_command(self, seconds: float) -> None:
        """Count the time from the arrival of the newest sample to the return of the call that handed a start over."""
        self._command.observe(seconds)

    def observe_stop(self, seconds: float) -> None:
        """Count the time from a request to stop to the return of the call that handed it over."""
        self._stop.observe(seconds)
