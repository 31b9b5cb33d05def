"""The lines that a stimulator and its host exchange: one JSON object each, ended by a newline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from neuroloop.sinks.stimulator.plain_text import plain_text
from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, DeviceError, Lease, Train

VERSION = 2
"""Of the lines; in version 1 a lease named the amplitude at its beginning (`start_ma`) in place of a rate."""
CURE = "a lease names slew_ma_s in place of start_ma, and the device goes from where it is (docs/devices.md)"
"""What somebody has to change whose device speaks version 1."""
MOST_LINE_BYTES = 65_536
COMMANDS = ("hello", "arm", "disarm", "start", "renew", "stop", "status")
_ANSWERS = ("ack", "nack", "status")
_MOST_COUNT = 2**53
_MOST_NS = 2**63
_NUMBERS = (
    "max_amplitude_ma",
    "max_frequency_hz",
    "max_pulse_width_us",
    "step_ma",
    "step_us",
    "step_hz",
    "timeout_s",
)


def encode_line(message: Mapping[str, Any]) -> bytes:
    """Write a message as a line; what is not a finite number becomes null."""
    try:
        return json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    except ValueError:
        finite = {
            key: None if isinstance(one, float) and not math.isfinite(one) else one for key, one in message.items()
        }
        return json.dumps(finite, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """Read a line.

    Raises
    ------
    ValueError
        If it is not one JSON object.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a line must be JSON, got {line[:80]!r}") from error
    if not isinstance(message, dict):
        raise ValueError(f"a line must be a JSON object, got {line[:80]!r}")
    return message


class LineSplitter:
    """Cuts what comes in into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> list[bytes]:
        """Return the lines that the data completes, without their newlines.

        Raises
        ------
        ValueError
            If a line is too long.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_LINE_BYTES:
            rest, self._rest = self._rest, b""
            raise ValueError(f"a line must have at most {MOST_LINE_BYTES} bytes, got more: {rest[:80]!r}")
        return [line for line in lines if line.strip()]


def lease_message(lease: Lease, not_after_ns: int | None = None) -> dict[str, Any]:
    """Return a lease as JSON values; ``not_after_ns`` is on the device's clock, for one that has told it."""
    train = lease.train
    deadline = {} if not_after_ns is None else {"not_after_ns": not_after_ns}
    return {
        "number": lease.number,
        "waveform": train.waveform,
        "frequency_hz": train.frequency_hz,
        "pulse_width_us": train.pulse_width_us,
        "end_ma": train.amplitude_ma,
        "slew_ma_s": lease.slew_ma_s,
        "duration_s": lease.duration_s,
        "charge_uc": lease.charge_uc,
        **deadline,
    }


def read_deadline(values: Any) -> int | None:
    """Return when a lease must be over on the device's clock, whenever it came; ``None`` where it does not say.

    Raises
    ------
    ValueError
        If it is no whole number.
    """
    found = values.get("not_after_ns") if isinstance(values, dict) else None
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) >= _MOST_NS:
        raise ValueError(f"lease.not_after_ns must be a whole number of nanoseconds, got {repr(found)[:40]}")
    return found


def read_lease(values: Any) -> Lease:
    """Return a lease from JSON values.

    Raises
    ------
    ValueError
        If a field is missing or of another kind.
    """
    if not isinstance(values, dict):
        raise ValueError(f"lease must be an object, got {values!r}")
    number, waveform = values.get("number"), values.get("waveform")
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"lease.number must be a whole number, got {number!r}")
    if waveform not in ("biphasic", "monophasic", "direct", "sine"):
        raise ValueError(f"lease.waveform must be biphasic, monophasic, direct or sine, got {waveform!r}")

    def real(name: str) -> float:
        value = _number(values.get(name))
        if value is None:
            raise ValueError(f"lease.{name} must be a number, got {values.get(name)!r}")
        return value

    train = Train(real("frequency_hz"), real("end_ma"), real("pulse_width_us"), cast(Any, waveform))
    return Lease(number, train, real("slew_ma_s"), real("duration_s"), real("charge_uc"))


KNOWN_DOSE = {"waveform": "biphasic", "amplitude_ma": 1.0, "pulse_width_us": 100.0, "pulses": 10}
"""What `hello` asks every meter about; no output comes of it."""
_KNOWN_UC = 1.0
_DOSE_TOLERANCE = 0.05


def count_dose(dose: Any) -> float | None:
    """Return what a meter counts for a known dose, in uC over the phases of one sign; None for what is none."""
    if not isinstance(dose, dict):
        return None
    pulses, ma, us = (_number(dose.get(name)) for name in ("pulses", "amplitude_ma", "pulse_width_us"))
    return None if pulses is None or ma is None or us is None else pulses * ma * us / 1000.0


def capabilities_message(
    device: Capabilities, max_charge_per_phase_uc: float, clock_ns: int | None = None, dose: Any = KNOWN_DOSE
) -> dict[str, Any]:
    """Return the answer to ``hello``.

    Parameters
    ----------
    device : Capabilities
    max_charge_per_phase_uc : float
    clock_ns : int, optional
        The device's clock now, where it heeds ``not_after_ns`` on it.
    dose : mapping
        The known dose that the host asked about.
    """
    clock = {} if clock_ns is None else {"clock_ns": clock_ns}
    return {
        "answer": "capabilities",
        "version": VERSION,
        "name": device.name,
        **{name: getattr(device, name) for name in _NUMBERS},
        "waveforms": list(device.waveforms),
        "max_charge_per_phase_uc": max_charge_per_phase_uc,
        "ends_by_itself": device.ends_by_itself,
        "imbalance": device.imbalance,
        "known_dose_uc": count_dose(dose),
        **clock,
    }


def check_meter(message: Mapping[str, Any]) -> bool:
    """Return whether a device counts charge, by its answer to ``hello``; one that counts must do so in our unit.

    Raises
    ------
    DeviceError
        If what it counts for the known dose is not what the dose is.
    """
    said = message.get("known_dose_uc")
    if said is None:
        return False
    found = _number(said)
    if found is None or abs(found - _KNOWN_UC) > _DOSE_TOLERANCE * _KNOWN_UC:
        rule = f"{_KNOWN_UC:g} for 10 pulses of 1 mA and 100 us (uC, over the phases of one sign)"
        raise DeviceError(f"device capabilities.known_dose_uc must be {rule}, got {repr(said)[:40]}: in another unit?")
    return True


def read_clock(message: Mapping[str, Any]) -> int | None:
    """Return the device's clock from its answer to ``hello``, ``None`` where it has none.

    Raises
    ------
    DeviceError
        If it is no whole number.
    """
    found = message.get("clock_ns")
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < _MOST_NS:
        rule = "a whole number of nanoseconds of at least 0, or left out"
        raise DeviceError(f"device capabilities.clock_ns must be {rule}, got {repr(found)[:40]}")
    return found


def read_capabilities(message: Mapping[str, Any]) -> tuple[Capabilities, float]:
    """Return what a device can do and its greatest charge per phase, from its answer to ``hello``.

    Raises
    ------
    DeviceError
        If it speaks another version, or a field is missing or of another kind.
    """
    if message.get("answer") != "capabilities":
        raise DeviceError(f"device must answer hello with its capabilities, got {dict(message)!r}")
    if message.get("version") != VERSION:
        got = message.get("version")
        raise DeviceError(f"device must speak version {VERSION} of the protocol, got {got!r}: {CURE}")
    numbers: dict[str, float] = {}
    for name in _NUMBERS:
        value = _number(message.get(name))
        least_is_open = not name.startswith("step_")
        if value is None or not 0 <= value < math.inf or (least_is_open and value == 0):
            rule = "a number above 0" if least_is_open else "a number of at least 0"
            raise DeviceError(f"device capabilities.{name} must be {rule}, got {message.get(name)!r}")
        numbers[name] = value
    label, waveforms, ends = message.get("name"), message.get("waveforms"), message.get("ends_by_itself")
    if not isinstance(label, str) or not label:
        raise DeviceError(f"device capabilities.name must be a text, got {label!r}")
    if not isinstance(waveforms, list) or not waveforms or not all(isinstance(one, str) for one in waveforms):
        raise DeviceError(f"device capabilities.waveforms must be a list of texts, got {waveforms!r}")
    if not isinstance(ends, bool):
        raise DeviceError(f"device capabilities.ends_by_itself must be true or false, got {ends!r}")
    most = message.get("max_charge_per_phase_uc")
    most_uc = math.inf if most is None else _number(most)
    if most_uc is None or not most_uc > 0:
        rule = "a number above 0, or left out"
        raise DeviceError(f"device capabilities.max_charge_per_phase_uc must be {rule}, got {most!r}")
    share = message.get("imbalance")
    imbalance = None if share is None else _number(share)
    if share is not None and (imbalance is None or not 0 <= imbalance <= 1):
        raise DeviceError(f"device capabilities.imbalance must be a share from 0 to 1, or left out, got {share!r}")
    capabilities = Capabilities(
        name=plain_text(label),
        waveforms=tuple(map(plain_text, waveforms)),
        ends_by_itself=ends,
        acknowledges=True,
        imbalance=imbalance,
        **numbers,
    )
    return capabilities, most_uc


def answer_message(answer: DeviceAnswer, seq: int | None) -> dict[str, Any]:
    """Return an answer as JSON values; ``seq`` is that of the command it answers, if any."""
    message: dict[str, Any] = {
        "answer": answer.kind,
        "command": answer.command,
        "seq": seq,
        "lease": answer.lease,
        "is_on": answer.is_on,
        "delivered_uc": answer.delivered_uc,
        "t_ns": answer.t_ns,
    }
    if answer.reason:
        message["reason"] = answer.reason
    return message


def read_answer(message: Mapping[str, Any]) -> DeviceAnswer:
    """Return an answer from JSON values.

    Raises
    ------
    ValueError
        If a field is missing or of another kind.
    """
    kind, lease, is_on = message.get("answer"), message.get("lease", 0), message.get("is_on")
    if kind not in _ANSWERS:
        raise ValueError(f"answer must be ack, nack or status, got {kind!r}")
    if not isinstance(lease, int) or isinstance(lease, bool) or not 0 <= lease < _MOST_COUNT:
        raise ValueError(f"lease must be a whole number in [0, 2**53), got {repr(lease)[:40]}")
    if not isinstance(is_on, bool):
        raise ValueError(f"is_on must be true or false, got {is_on!r}")
    delivered, t_ns = _number(message.get("delivered_uc")), message.get("t_ns")
    return DeviceAnswer(
        cast(Any, kind),
        lease,
        is_on,
        math.nan if delivered is None else delivered,
        plain_text(str(message.get("reason", ""))),
        plain_text(str(message.get("command", "")), 40),
        t_ns if isinstance(t_ns, int) and not isinstance(t_ns, bool) and 0 <= t_ns < 2**63 else 0,
    )


def _number(value: Any) -> float | None:
    """Return a JSON number as a float, ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
