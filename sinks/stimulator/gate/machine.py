"""The states of the gate and what may follow what; one writer, and a step that is not in the table cannot be taken."""

from __future__ import annotations

from typing import Any, Literal

MachineState = Literal[
    "INIT", "DISARMED", "ARMED", "RAMP_UP", "STIMULATING", "RAMP_DOWN", "LOCKOUT", "SAFE_STOP", "FAULT"
]
STATES: tuple[MachineState, ...] = (
    "INIT",
    "DISARMED",
    "ARMED",
    "RAMP_UP",
    "STIMULATING",
    "RAMP_DOWN",
    "LOCKOUT",
    "SAFE_STOP",
    "FAULT",
)
TRANSITIONS: dict[MachineState, tuple[MachineState, ...]] = {
    "INIT": ("DISARMED", "SAFE_STOP", "FAULT"),
    "DISARMED": ("ARMED", "SAFE_STOP", "FAULT"),
    "ARMED": ("RAMP_UP", "DISARMED", "SAFE_STOP", "FAULT"),
    "RAMP_UP": ("STIMULATING", "RAMP_DOWN", "SAFE_STOP", "FAULT"),
    "STIMULATING": ("RAMP_DOWN", "SAFE_STOP", "FAULT"),
    "RAMP_DOWN": ("LOCKOUT", "SAFE_STOP", "FAULT"),
    "LOCKOUT": ("ARMED", "DISARMED", "SAFE_STOP", "FAULT"),
    "SAFE_STOP": ("DISARMED", "LOCKOUT", "FAULT"),
    "FAULT": ("DISARMED",),
}
"""From the present state to those that may follow."""
ON_STATES: frozenset[MachineState] = frozenset({"RAMP_UP", "STIMULATING", "RAMP_DOWN", "SAFE_STOP"})
"""A lease may be in force."""
ARMED_STATES: frozenset[MachineState] = frozenset({"ARMED", "RAMP_UP", "STIMULATING", "RAMP_DOWN", "LOCKOUT"})
"""The operator's arming holds."""
GIVING_STATES: frozenset[MachineState] = frozenset({"RAMP_UP", "STIMULATING", "RAMP_DOWN"})
"""A dose goes its ordinary way."""


class IllegalTransition(Exception):
    """A step that is not in the table was asked for; it is not taken."""


class Machine:
    """The present state; the gate is its only writer."""

    def __init__(self) -> None:
        self._state: MachineState = "INIT"

    @property
    def state(self) -> MachineState:
        """The present state."""
        return self._state

    def go(self, to: MachineState, reason: str) -> dict[str, Any]:
        """Take a step and return it as JSON values.

        Raises
        ------
        IllegalTransition
            If it is not in the table; the state stays.
        """
        before = self._state
        if to not in TRANSITIONS[before]:
            raise IllegalTransition(f"{before} must be followed by {' or '.join(TRANSITIONS[before])}, got {to}")
        self._state = to
        return {"from": before, "to": to, "reason": reason}
