"""What the device says, held against what it was told."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from neuroloop.sinks.stimulator.gate.charge_budget import ChargeMeter
from neuroloop.sinks.stimulator.gate.inputs import DeviceInput
from neuroloop.sinks.stimulator.gate.interlocks import Interlocks
from neuroloop.sinks.stimulator.gate.leases import LeaseLine
from neuroloop.sinks.stimulator.records import Capabilities

STATUS_S = 1.0
"""A device that is not stimulating is asked so often how it is."""
_FRESH_S = 3.0
_EXCESS = 0.05
"""A meter may be so much, relatively, above the bound of what was granted; what it says counts all the same."""
_EXCESS_UC = 1e-6
_LEAST_SHARE = 0.5
"""Of what is due at full amplitude; less means an open electrode, a device at its voltage limit, or a wrong meter."""
_WINDOW_NS = 2 * 10**9
_TRIPS = 16
"""Round trips that are looked at: some seconds of a dose, as many seconds without one."""


@dataclass
class _Plateau:
    """Full amplitude: charge that is due per second, of one pulse, and where the device's count stood when."""

    rate_uc_s: float
    pulse_uc: float
    since_ns: int | None = None
    since_uc: float = 0.0


class DeviceWatch:
    """Judge the device's answers; whatever is wrong trips an interlock.

    Parameters
    ----------
    capabilities : Capabilities
    watchdog_s : float
        An answer that is later is none; an output that is on for longer after a stop is stuck.
    line : LeaseLine
    meter : ChargeMeter
    interlocks : Interlocks
    """

    def __init__(
        self,
        capabilities: Capabilities,
        *,
        watchdog_s: float,
        line: LeaseLine,
        meter: ChargeMeter,
        interlocks: Interlocks,
    ) -> None:
        self._capabilities = capabilities
        self._watchdog_ns = round(watchdog_s * 1e9)
        self._line = line
        self._meter = meter
        self._interlocks = interlocks
        self._is_on: bool | None = None
        self._is_lost = False
        self._heard_ns: int | None = None
        self._asked_ns: int | None = None
        self._ask_ns: int | None = None
        self._stop_ns: int | None = None
        self._was_leased = False
        self._answered = 0
        self._base_uc: float | None = None
        self._before_uc = 0.0
        self._spent_uc = 0.0
        self._plateau: _Plateau | None = None
        self._trips_ns: deque[int] = deque(maxlen=_TRIPS)

    @property
    def round_trip_ns(self) -> int:
        """The longest of the newest round trips but for one, which may be an accident; 0 while none is known."""
        return sorted(self._trips_ns)[-2:][0] if self._trips_ns else 0

    @property
    def is_confirmed_off(self) -> bool:
        """Whether the newest answer says off and no stop waits for its answer; true for one that never answers."""
        if not self._capabilities.acknowledges:
            return True
        return self._is_on is False and self._stop_ns is None and not self._is_lost

    def is_self_tested(self, now_ns: int) -> bool:
        """Return whether the device has lately said that it is off; one that never answers must only not be lost."""
        if not self._capabilities.acknowledges:
            return not self._is_lost
        is_fresh = self._heard_ns is not None and now_ns - self._heard_ns <= _FRESH_S * 1e9
        return is_fresh and self.is_confirmed_off

    def is_to_be_asked(self, now_ns: int) -> bool:
        """Return whether it is time to ask how it is."""
        if not self._capabilities.acknowledges:
            return False
        return self._ask_ns is None or now_ns - self._ask_ns >= STATUS_S * 1e9

    def asked(self, now_ns: int) -> None:
        """Note a question."""
        self._ask_ns = now_ns
        if self._asked_ns is None:
            self._asked_ns = now_ns

    def stopped(self, now_ns: int) -> None:
        """Note a stop, which must be answered."""
        if self._capabilities.acknowledges and self._stop_ns is None:
            self._stop_ns = now_ns

    def armed(self) -> None:
        """Note that the device was made ready and counts its charge anew."""
        self._base_uc = None
        self._before_uc, self._spent_uc = self._before_uc + self._spent_uc, 0.0
        self._meter.armed()

    def leased(self) -> None:
        """Note that a lease is on its way."""
        self._was_leased = True

    def answer(self, said: DeviceInput, now_ns: int) -> None:
        """Take an answer."""
        kind, reason = said.kind, said.reason
        if kind == "lost":
            self._is_lost = True
            self._interlocks.trip("device_lost", reason)
            return
        lease, is_on, delivered, command = said.lease, said.is_on, said.delivered_uc, said.command
        self._is_lost, self._is_on, self._heard_ns, self._asked_ns = False, is_on, now_ns, None
        self._judge_trip(said.trip_ns)
        if kind == "nack":
            is_stuck = command in ("stop", "disarm") and is_on
            self._interlocks.trip("device_still_on" if is_stuck else "device_nack", f"{command}: {reason}")
        elif kind == "ack" and is_on and lease:
            self._answered = max(self._answered, lease)
            self._line.answer(lease, now_ns)
            self._meter.answer(lease, now_ns)
        if is_on:
            self._judge_on(now_ns)
        else:
            self._judge_off(command, now_ns)
        if delivered is not None:
            self._judge_charge(delivered, now_ns)

    def _judge_trip(self, trip_ns: int) -> None:
        """Judge how long the device took: it is granted less, and armed no more where the watchdog time is too short.

        One answer that is late does not disarm, unless it alone took half of the watchdog time.
        """
        if not trip_ns:
            return
        self._trips_ns.append(trip_ns)
        longest, usual = max(self._trips_ns), self.round_trip_ns
        self._line.slowed(longest, usual)
        slow = next((one for one in (usual, longest) if not self._line.fits(one)), None)
        is_slow = slow is not None and (slow == usual or 2 * slow >= self._watchdog_ns)
        why = None
        if is_slow and slow is not None:
            why = f"with a round trip of {slow * 1e-9:.3f} s: make gate.watchdog_s longer, or gate.heartbeat_s shorter"
        self._interlocks.answered(usual * 1e-9, why)

    def at_top(self, rate_uc_s: float, pulse_uc: float) -> None:
        """Note that the device delivers at full amplitude from now on."""
        self._plateau = _Plateau(rate_uc_s, pulse_uc)

    def leave_top(self) -> None:
        """Note that it does so no more."""
        self._plateau = None

    def _judge_on(self, now_ns: int) -> None:
        """Judge an output that is on: something must be in force, or the stop be on its way."""
        if self._line.current is not None:
            return
        if not self._was_leased:
            self._interlocks.trip("device_unleased")
        elif self._stop_ns is None or now_ns - self._stop_ns > self._watchdog_ns:
            self._interlocks.trip("device_still_on")

    def _judge_off(self, command: str, now_ns: int) -> None:
        """Judge an output that is off: nothing may be in force that is to go on."""
        current = self._line.current
        is_settled = self._answered == self._line.newest
        if command in ("stop", "disarm"):
            self._stop_ns = None
            is_settled = is_settled or current is None
        elif current is not None and current.is_answered and not current.is_final:
            self._interlocks.trip("device_off", current.lease.number)
        if is_settled:
            self._meter.off(now_ns)

    def _judge_charge(self, delivered: float, now_ns: int) -> None:
        """Judge what it says it has delivered since it was armed: no more than was granted, and not much too little."""
        if self._base_uc is None or delivered < self._base_uc:
            self._base_uc = delivered
        spent, most = delivered - self._base_uc, self._meter.bound_since_armed_uc
        self._spent_uc = max(self._spent_uc, spent)
        self._meter.said_uc = self._before_uc + self._spent_uc
        if spent > most * (1 + _EXCESS) + _EXCESS_UC:
            self._interlocks.trip("device_excess", spent, most)
        self._judge_deficit(delivered, now_ns)

    def _judge_deficit(self, delivered: float, now_ns: int) -> None:
        """Judge the newest seconds at full amplitude; two pulses are in doubt, one at each end."""
        one = self._plateau
        if one is None or not self._is_on:
            return
        if one.since_ns is None:
            one.since_ns, one.since_uc = now_ns, delivered
            return
        due_uc = one.rate_uc_s * ((now_ns - one.since_ns) * 1e-9) - 2.0 * one.pulse_uc
        if now_ns - one.since_ns < _WINDOW_NS or due_uc < 2.0 * one.pulse_uc:
            return
        if delivered - one.since_uc < _LEAST_SHARE * due_uc:
            self._interlocks.trip("device_deficit", delivered - one.since_uc, _LEAST_SHARE * due_uc)
        one.since_ns, one.since_uc = now_ns, delivered

    def judge_silence(self, now_ns: int) -> None:
        """Judge answers that are missing."""
        if not self._capabilities.acknowledges:
            return
        current = self._line.current
        if self._stop_ns is not None and now_ns - self._stop_ns > self._watchdog_ns:
            self._interlocks.trip("device_still_on" if self._is_on else "device_silent", "stop")
        elif current is not None and not current.is_answered and now_ns - current.at_ns > self._watchdog_ns:
            self._interlocks.trip("device_silent", f"lease {current.lease.number}")

    def is_mute(self, now_ns: int) -> bool:
        """Return whether it was asked how it is and has not said so in time."""
        return self._asked_ns is not None and now_ns - self._asked_ns > max(self._watchdog_ns, STATUS_S * 1e9)
