"""What goes wrong in a simulated stimulator, on demand: ``latency=20ms,jitter=5ms,nack=0.1,stuck_on=after:3``.

=====================  ============================================================================================
``latency=20ms``       every command takes effect so much later (``ms`` or ``s``)
``jitter=5ms``         the latency varies by up to so much in both directions; commands keep their order
``late=after:10``      latency and jitter begin when ten commands have been dealt with
``nack=0.1``           this share of the commands is refused; never a stop, a disarming or a status
``drop=0.05``          this share of the commands is neither carried out nor answered; stops too
``stuck_on``           the output does not go off any more, neither at a stop nor at the end of a lease
``mute``               nothing is carried out or answered any more; the lease in force still ends
``dead``               the connection is cut, which ends the lease
``seed=7``             of the draws for ``jitter``, ``nack`` and ``drop``
=====================  ============================================================================================

``stuck_on``, ``mute`` and ``dead`` may be put off: ``dead=after:10`` takes ten commands first, status not counted.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from neuroloop.sinks.stimulator.records import DeviceError

_NEVER = -1
_SETTLING = frozenset({"stop", "disarm", "status"})
_MOST_S = 10.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What shall go wrong.

    Parameters
    ----------
    latency_s, jitter_s : float
    nack, drop : float
        Shares of commands.
    stuck_after, mute_after, dead_after : int
        Commands that pass before; -1 for never.
    late_after : int
        Commands that pass before the latency begins.
    seed : int
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    nack: float = 0.0
    drop: float = 0.0
    stuck_after: int = _NEVER
    mute_after: int = _NEVER
    dead_after: int = _NEVER
    late_after: int = 0
    seed: int = 0


def parse_fault(text: str | None) -> FaultPlan:
    """Read a specification such as ``latency=20ms,nack=0.1``.

    Raises
    ------
    DeviceError
        If a part is unknown, comes twice or has a wrong value.
    """
    found: dict[str, float] = {}
    for part in (text or "").split(",") if text else ():
        key, has_value, value = part.strip().partition("=")
        name, number = _one(key, value if has_value else None, part)
        if name in found:
            raise DeviceError(f"device.fault must name each fault once, got {key!r} twice")
        found[name] = number
    whole = {name: int(value) for name, value in found.items() if name.endswith("_after") or name == "seed"}
    return FaultPlan(**{**found, **whole})  # type: ignore[arg-type]


def _one(key: str, value: str | None, part: str) -> tuple[str, float]:
    if key in ("latency", "jitter"):
        match = re.fullmatch(r"(\d+(?:\.\d*)?)(ms|s)", value or "")
        seconds = float(match[1]) * (1e-3 if match[2] == "ms" else 1.0) if match else -1.0
        if not 0 <= seconds <= _MOST_S:
            raise DeviceError(f"device.fault {key} must be a time of at most {_MOST_S:g} s such as 20ms, got {part!r}")
        return f"{key}_s", seconds
    if key in ("nack", "drop"):
        share = float(value) if value is not None and re.fullmatch(r"[01](?:\.\d*)?|\.\d+", value) else -1.0
        if not 0 <= share <= 1:
            raise DeviceError(f"device.fault {key} must be a share in [0, 1] such as 0.1, got {part!r}")
        return key, share
    if key in ("stuck_on", "mute", "dead", "late"):
        match = re.fullmatch(r"after:(\d{1,9})", value or "after:0")
        if match is None:
            raise DeviceError(f"device.fault {key} must stand alone or be {key}=after:N, got {part!r}")
        return f"{key.removesuffix('_on')}_after", int(match[1])
    if key == "seed":
        if value is None or not re.fullmatch(r"\d{1,18}", value):
            raise DeviceError(f"device.fault seed must be a whole number, got {part!r}")
        return key, int(value)
    known = "latency, jitter, late, nack, drop, stuck_on, mute, dead, seed"
    raise DeviceError(f"device.fault must name known faults ({known}), got {part!r}")


class Faults:
    """Decide command by command; the same plan and commands always give the same faults.

    Parameters
    ----------
    plan : FaultPlan
    """

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._n_commands = 0

    def delay_ns(self) -> int:
        """Draw how long the next command takes to arrive."""
        plan = self._plan
        if (not plan.latency_s and not plan.jitter_s) or self._n_commands < plan.late_after:
            return 0
        jitter_s = self._random.uniform(-plan.jitter_s, plan.jitter_s) if plan.jitter_s else 0.0
        return max(0, round((plan.latency_s + jitter_s) * 1e9))

    def is_dropped(self) -> bool:
        """Draw whether the next command is lost."""
        return self.is_mute() or (self._plan.drop > 0 and self._random.random() < self._plan.drop)

    def is_refused(self, command: str) -> bool:
        """Draw whether a command is refused without a reason of its own."""
        return command not in _SETTLING and self._plan.nack > 0 and self._random.random() < self._plan.nack

    def count(self, command: str) -> None:
        """Note that a command has been dealt with."""
        self._n_commands += command != "status"

    def is_stuck(self) -> bool:
        """Whether the output does not go off any more."""
        return 0 <= self._plan.stuck_after <= self._n_commands

    def is_mute(self) -> bool:
        """Whether nothing is carried out any more."""
        return 0 <= self._plan.mute_after <= self._n_commands

    def is_dead(self) -> bool:
        """Whether the connection is to be cut."""
        return 0 <= self._plan.dead_after <= self._n_commands
