"""What passes between the gate, its log and the device: leases, answers, inputs, outputs; plain frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from neuroloop.config.errors import NeuroloopError


class DeviceError(NeuroloopError):
    """A stimulator cannot be opened or reached, or cannot be handed a command."""


@dataclass(frozen=True, slots=True)
class Train:
    """What a stimulator shall deliver, quantised to its steps.

    Parameters
    ----------
    frequency_hz : float
        0 for direct current.
    amplitude_ma : float
        Of one phase, peak.
    pulse_width_us : float
        Of one phase; 0 for a sine or direct current.
    waveform : str
        ``biphasic`` (symmetric, charge-balanced), ``monophasic``, ``direct`` or ``sine``.
    """

    frequency_hz: float
    amplitude_ma: float
    pulse_width_us: float
    waveform: Literal["biphasic", "monophasic", "direct", "sine"]


@dataclass(frozen=True, slots=True)
class Lease:
    """A right to stimulate that ends by itself; the device is off when it is over and not renewed.

    Parameters
    ----------
    number : int
        1, 2, 3, ... within a run.
    train : Train
        With the amplitude to go to.
    slew_ma_s : float
        How fast at most. The device goes linearly from where it is when it takes the lease (0 at a start), and stays
        when it is there: no lease, however late, can ask for a step.
    duration_s : float
        Never longer than the watchdog time.
    charge_uc : float
        The most that it can deliver, over all phases of one sign.
    """

    number: int
    train: Train
    slew_ma_s: float
    duration_s: float
    charge_uc: float


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a device can do, as it says itself.

    Parameters
    ----------
    name : str
    max_amplitude_ma, max_frequency_hz, max_pulse_width_us : float
    step_ma, step_us, step_hz : float
        Settings are whole multiples of these; 0 where they are continuous.
    waveforms : tuple of str
    timeout_s : float
        Longest time that the device goes on without being renewed.
    ends_by_itself : bool
        Whether a lease ends in the device even if this program is gone. Without it nothing arms.
    acknowledges : bool
        Whether it answers commands.
    imbalance : float or None
        Share of a phase's charge that the phase of the other sign leaves; None where the device does not say.
    """

    name: str
    max_amplitude_ma: float
    max_frequency_hz: float
    max_pulse_width_us: float
    step_ma: float
    step_us: float
    step_hz: float
    waveforms: tuple[str, ...]
    timeout_s: float
    ends_by_itself: bool
    acknowledges: bool
    imbalance: float | None = None


@dataclass(frozen=True, slots=True)
class DeviceAnswer:
    """What a device said.

    Parameters
    ----------
    kind : str
        ``ack``, ``nack``, ``status``, or ``lost``: the device is gone.
    lease : int
        The lease that it is about, 0 for none.
    is_on : bool
        Whether the output is on.
    delivered_uc : float
        What it has delivered since it was armed, over all phases of one sign; NaN where it does not measure.
    reason : str
        Why it refused, or what is wrong with it.
    command : str
        The command that it answers; empty where it speaks unasked.
    t_ns : int
        When it did so, ``CLOCK_MONOTONIC`` of the device's machine; of a start, when the output went on. 0 where it
        does not say.
    trip_ns : int
        How long after the command was handed over its answer was here; of a device whose clock is known, until it
        acted, by that clock. 0 where it is not known.
    """

    kind: Literal["ack", "nack", "status", "lost"]
    lease: int
    is_on: bool
    delivered_uc: float
    reason: str = ""
    command: str = ""
    t_ns: int = 0
    trip_ns: int = 0


@runtime_checkable
class Device(Protocol):
    """A stimulator. No method waits for the device's answer: answers come through `answers`."""

    def capabilities(self) -> Capabilities:
        """Return what the device can do; known since it was opened."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when an answer waits, -1 where there is none.

        It stays the same until ``lost`` has been taken out of `answers`; from then on it is -1.
        """
        ...

    def validate(self, lease: Lease) -> str | None:
        """Return why the device would not deliver this, ``None`` where it would."""
        ...

    def arm(self) -> None:
        """Make it ready; the output stays off."""
        ...

    def disarm(self) -> None:
        """Make it deaf to leases; the output is off."""
        ...

    def start(self, lease: Lease) -> None:
        """Begin a dose. Raises `DeviceError` where it cannot be handed over."""
        ...

    def renew(self, lease: Lease) -> None:
        """Go on without a break; the old lease ends where this one begins."""
        ...

    def stop(self) -> str | None:
        """Switch the output off now; must not raise, may be called in any state.

        Returns
        -------
        str or None
            Why the device could not be told, ``None`` where it was.
        """
        ...

    def status(self) -> None:
        """Ask for a ``status`` answer."""
        ...

    def answers(self) -> list[DeviceAnswer]:
        """Return what the device has said since the last call; never waits."""
        ...

    def close(self) -> None:
        """Stop, and let go of the device; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class GateInput:
    """One entry of the gate's ordered input log; all that the gate knows comes through these.

    Parameters
    ----------
    number : int
        0, 1, 2, ...
    t_ns : int
        ``CLOCK_MONOTONIC`` when it was taken; never falls.
    kind : str
        ``setup`` (first, once: everything the gate is made from), ``event`` (identity of one event of the pipeline),
        ``pulse`` (heartbeat: progress of the hot process, age of the newest sample, books, charge of the last 24 h),
        ``operator``, ``device`` (a `DeviceAnswer`), ``log`` (an outcome of writing), ``end``.
    values : mapping
        JSON values.
    """

    number: int
    t_ns: int
    kind: Literal["setup", "event", "pulse", "operator", "device", "log", "end"]
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GateOutput:
    """One thing that the gate decided at an input; in order.

    Parameters
    ----------
    kind : str
        ``transition`` (of the state machine), ``request`` (what the table recommends), ``command``, ``refusal``,
        ``note`` (for the log only).
    values : mapping
        JSON values. Of a command: ``action`` (``start``, ``renew``, ``stop``, ``arm``, ``disarm``, ``status``) and its
        numbers.
    lease : Lease, optional
        Of a ``start`` or ``renew``.
    is_event : bool
        Whether it becomes a line of ``events.jsonl``: commands but renewals, and refusals.
    """

    kind: Literal["transition", "request", "command", "refusal", "note"]
    values: Mapping[str, Any]
    lease: Lease | None = None
    is_event: bool = False
    event: Mapping[str, Any] = field(default_factory=dict)
    """Where it stands: ``stream``, ``sample``, ``k``, ``time``, ``delay_s``."""
