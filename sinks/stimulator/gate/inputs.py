"""The door of the gate: seven kinds of input, each read once from JSON values into a frozen record, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from neuroloop.sinks.stimulator.records import GateInput
from neuroloop.stream.contracts.events import encode


def _plain(values: Mapping[str, Any], key: str) -> Any:
    """Return a value as it stands in a log, which has null for numbers that are none."""
    value = values.get(key)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(values: Mapping[str, Any], key: str) -> float:
    """Return a finite number. Raises ValueError where there is none."""
    value = _plain(values, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} must be a finite number, got {value!r}")
    return float(value)


def number_or_none(values: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number, ``None`` for null, absence and NaN. Raises ValueError for anything else."""
    return None if _plain(values, key) is None else number(values, key)


def count(values: Mapping[str, Any], key: str) -> int:
    """Return a whole number of at least 0. Raises ValueError where there is none."""
    value = _plain(values, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{key} must be a whole number of at least 0, got {value!r}")
    return value


def text(values: Mapping[str, Any], key: str) -> str:
    """Return a string. Raises ValueError where there is none."""
    value = values.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} must be text, got {value!r}")
    return value


def flag(values: Mapping[str, Any], key: str) -> bool:
    """Return true or false. Raises ValueError where there is neither."""
    value = values.get(key)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, got {value!r}")
    return value


def texts(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return strings, none where the key is absent. Raises ValueError for anything else."""
    found = values.get(key, ())
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"{key} must be a list of texts, got {found!r}")
    return tuple(found)


# the seven kinds of input, each read once


@dataclass(frozen=True, slots=True)
class SetupInput:
    """What the gate is made from.

    Parameters
    ----------
    encoded : str
        As it stands in a log, to be compared with what the gate was given.
    """

    encoded: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a decision stands in the stream; ``delay_s`` is None where it does not say."""

    sample: int
    k: int
    time: float | None
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A decision of the classifier; without a confidence it counts as flagged."""

    place: Place
    label: str
    confidence: float | None
    is_valid: bool


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of the state that the policy makes of the decisions."""

    place: Place
    state: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Interruption:
    """Samples that are not there or not what they should be: ``gap``, ``skip`` or ``artifact``, and its figure."""

    kind: Literal["gap", "skip", "artifact"]
    figure: Any


@dataclass(frozen=True, slots=True)
class Drift:
    """A monitor of drift that holds, or does so no more."""

    monitor: str
    holds: bool


@dataclass(frozen=True, slots=True)
class StreamChange:
    """Something that happened to the stream: ``start``, ``lost``, ``found``, ``clock_step``, ``counter_reset``."""

    what: str
    step_s: float | None
    figure: Any


@dataclass(frozen=True, slots=True)
class EventInput:
    """An event of the pipeline.

    Parameters
    ----------
    said : Prediction, StateChange, Interruption, Drift, StreamChange or None
        None of a type, or of a word about one, that says nothing here.
    arrival_ns : int or None
        When its newest sample arrived; None where it does not say.
    """

    said: Prediction | StateChange | Interruption | Drift | StreamChange | None
    arrival_ns: int | None

    @property
    def is_decision(self) -> bool:
        """Whether it is a prediction or a change of the state."""
        return isinstance(self.said, (Prediction, StateChange))

    def waited_s(self, now_ns: int) -> float:
        """Return how long ago its newest sample arrived, 0 where it does not say."""
        arrival = self.arrival_ns
        return (now_ns - arrival) * 1e-9 if arrival is not None and arrival > 0 else 0.0


@dataclass(frozen=True, slots=True)
class PulseInput:
    """A heartbeat: how the pipeline, the stream, the clocks, the ledger and the files are.

    Parameters
    ----------
    progress : int
        Counter of the hot loop.
    age_s : float or None
        Now less the arrival of the newest sample; None before the first.
    is_up, is_hot_alive : bool
        The stream; the hot process.
    received, missing, nonfinite, clock_steps : int
        Counts that never fall; ``missing`` is filled and jumped over.
    wall_s : float
        Wall clock.
    day_charge_uc : float
        The ledger's last 24 h over all runs, with every lease of this one that was output before.
    limits_sha256, config_sha256 : str
        Of the files as they are now.
    """

    progress: int
    age_s: float | None
    is_up: bool
    is_hot_alive: bool
    received: int
    missing: int
    nonfinite: int
    clock_steps: int
    wall_s: float
    day_charge_uc: float
    limits_sha256: str
    config_sha256: str


OperatorAction = Literal["arm", "disarm", "stop", "reset", "confirm", "unblind"]
_ACTIONS: dict[str, OperatorAction] = {one: one for one in get_args(OperatorAction)}


@dataclass(frozen=True, slots=True)
class OperatorInput:
    """What the operator asks for; a stop and a disarm need nothing but a channel."""

    action: OperatorAction
    channel: str
    is_authorised: bool = False
    reason: str = ""
    overrides: tuple[str, ...] = ()
    area_cm2: float | None = None
    """Of the electrode, as it was read back when arming; None for a simulated device."""


@dataclass(frozen=True, slots=True)
class DeviceInput:
    """What the device said; of ``lost`` only the reason. ``delivered_uc`` is None where it does not measure."""

    kind: str
    lease: int = 0
    is_on: bool = False
    delivered_uc: float | None = None
    reason: str = ""
    command: str = ""
    t_ns: int = 0
    trip_ns: int = 0
    """How long it took to act or to answer; 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class LogInput:
    """Whether the log can be written; ``figure`` is the number of the record that it is about."""

    is_durable: bool
    figure: Any


@dataclass(frozen=True, slots=True)
class EndInput:
    """The end of the run."""

    reason: str


Input = SetupInput | EventInput | PulseInput | OperatorInput | DeviceInput | LogInput | EndInput


def read_input(entry: GateInput) -> Input:
    """Read one input; behind this nothing looks at its values again.

    Raises
    ------
    ValueError
        If it is not as agreed.
    """
    reader = _READERS.get(entry.kind)
    if reader is None:
        raise ValueError(f"kind must be a known one, got {entry.kind!r}")
    return reader(entry.values)


def _read_setup(values: Mapping[str, Any]) -> SetupInput:
    return SetupInput(encode(values))


def _read_event(values: Mapping[str, Any]) -> EventInput:
    kind, arrival = text(values, "type"), values.get("arrival_ns")
    is_time = isinstance(arrival, int) and not isinstance(arrival, bool)
    return EventInput(_read_said(kind, values), arrival if is_time else None)


def _read_said(
    kind: str, values: Mapping[str, Any]
) -> Prediction | StateChange | Interruption | Drift | StreamChange | None:
    """Return what an event says to the gate."""
    if kind == "prediction":
        label, is_valid = text(values, "label"), flag(values, "valid")
        return Prediction(_read_place(values), label, number_or_none(values, "confidence"), is_valid)
    if kind == "state":
        return StateChange(_read_place(values), text(values, "state"), number_or_none(values, "confidence"))
    if kind == "gap":
        return Interruption("gap", values.get("missing"))
    if kind == "skip":
        return Interruption("skip", values.get("n"))
    if kind == "artifact":
        return Interruption("artifact", values.get("kind"))
    if kind == "drift" and values.get("what") in ("onset", "end"):
        return Drift(text(values, "monitor"), flag(values, "hold"))
    if kind == "stream":
        what = text(values, "what")
        return StreamChange(what, number(values, "step_s") if what == "clock_step" else None, values.get("number"))
    return None


def _read_place(values: Mapping[str, Any]) -> Place:
    k = count(values, "k") if "k" in values else 0
    return Place(count(values, "sample"), k, number_or_none(values, "time"), number_or_none(values, "delay_s"))


def _read_pulse(values: Mapping[str, Any]) -> PulseInput:
    return PulseInput(
        received=count(values, "received"),
        missing=count(values, "missing"),
        nonfinite=count(values, "nonfinite"),
        clock_steps=count(values, "clock_steps"),
        progress=count(values, "progress"),
        age_s=number_or_none(values, "age_s"),
        wall_s=number(values, "wall_s"),
        is_up=flag(values, "is_up"),
        is_hot_alive=flag(values, "hot_alive"),
        limits_sha256=text(values, "limits_sha256"),
        config_sha256=text(values, "config_sha256"),
        day_charge_uc=number(values, "day_charge_uc"),
    )


def _read_operator(values: Mapping[str, Any]) -> OperatorInput:
    action, channel = text(values, "action"), text(values, "channel")
    if action not in _ACTIONS:
        raise ValueError(f"action must be a known one, got {action!r}")
    asked = _ACTIONS[action]
    if asked in ("stop", "disarm"):  # whatever else is wrong with it
        return OperatorInput(asked, channel)
    reason = str(values.get("reason") or "").strip()
    area_cm2 = number_or_none(values, "area_cm2") if asked == "arm" else None
    return OperatorInput(asked, channel, flag(values, "authorised"), reason, texts(values, "override"), area_cm2)


def _read_device(values: Mapping[str, Any]) -> DeviceInput:
    kind = text(values, "kind")
    reason = text(values, "reason") if "reason" in values else ""
    if kind == "lost":
        return DeviceInput(kind, reason=reason)
    return DeviceInput(
        kind,
        lease=count(values, "lease"),
        is_on=flag(values, "is_on"),
        delivered_uc=number_or_none(values, "delivered_uc"),
        reason=reason,
        command=text(values, "command") if "command" in values else "",
        t_ns=count(values, "t_ns") if "t_ns" in values else 0,
        trip_ns=count(values, "trip_ns") if "trip_ns" in values else 0,
    )


def _read_log(values: Mapping[str, Any]) -> LogInput:
    return LogInput(text(values, "what") == "durable", values.get("number"))


def _read_end(values: Mapping[str, Any]) -> EndInput:
    return EndInput(str(values.get("reason", "")))


_READERS: dict[str, Callable[[Mapping[str, Any]], Input]] = {
    "setup": _read_setup,
    "event": _read_event,
    "pulse": _read_pulse,
    "operator": _read_operator,
    "device": _read_device,
    "log": _read_log,
    "end": _read_end,
}
