"""Commands and refusals of the gate as events, the same live, in replay and in a check of the log."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, cast

from neuroloop.sinks.stimulator.gate.gate import Gate
from neuroloop.sinks.stimulator.log.audit import LogFile
from neuroloop.sinks.stimulator.records import GateInput, GateOutput
from neuroloop.stream.contracts.events import Event, Position


def event_of(output: GateOutput) -> Event:
    """Return the event of a command or refusal that becomes one."""
    place = output.event
    time = place["time"]
    return Event(
        cast(Literal["command", "refusal"], output.kind),
        place["stream"],
        place["sample"],
        place["k"],
        math.nan if time is None else time,
        place["delay_s"],
        output.values,
        Position.GATE,
    )


def events_of(outputs: Iterable[GateOutput]) -> list[Event]:
    """Return the events among outputs, in their order."""
    return [event_of(one) for one in outputs if one.is_event]


def replayed(log: LogFile) -> list[tuple[GateInput, list[GateOutput]]]:
    """Let a new gate decide again on every input of a log.

    Raises
    ------
    ConfigError
        If the first record is no setup that a gate can be made from.
    """
    inputs = log.inputs()
    if not inputs:
        return []
    gate = Gate(inputs[0].values)
    return [(one, gate.step(one)) for one in inputs]
