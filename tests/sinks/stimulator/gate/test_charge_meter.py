"""The charge meter: as much as a sum over every lease ever says, in a time that does not grow."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from neuroloop.sinks.stimulator.envelope.charge import train_charge_uc
from neuroloop.sinks.stimulator.gate.charge_budget import ChargeMeter
from neuroloop.sinks.stimulator.records import Lease, Train

_DAY_NS, _MINUTE_NS = 86_400 * 10**9, 60 * 10**9


@dataclass
class _Kept:
    lease: Lease
    most_ma: float
    from_ns: int
    issued_ns: int


@dataclass
class SlowMeter:
    """The same rules with every open lease kept for good, and every sum made anew."""

    open: list[_Kept] = field(default_factory=list)
    settled: list[tuple[int, float]] = field(default_factory=list)

    def issue(self, lease: Lease, now_ns: int, *, most_ma: float) -> None:
        self.open.append(_Kept(lease, most_ma, now_ns, now_ns))

    def answer(self, number: int, now_ns: int) -> None:
        new = next((one for one in self.open if one.lease.number == number), None)
        before = [one for one in self.open if one.lease.number < number]
        if new is None or not before:
            return
        is_more = any(old.most_ma < new.most_ma for old in before)
        for old in before:
            self.settle(old, new.issued_ns if old.most_ma < new.most_ma else now_ns, now_ns)
        new.from_ns = new.issued_ns if is_more else now_ns

    def off(self, now_ns: int) -> None:
        for one in list(self.open):
            self.settle(one, now_ns, now_ns)

    def settle(self, one: _Kept, until_ns: int, now_ns: int) -> None:
        seconds = max(1, until_ns - one.from_ns) * 1e-9
        charge = min(one.lease.charge_uc, train_charge_uc(one.lease.train, one.most_ma, one.most_ma, seconds))
        self.open.remove(one)
        self.settled.append((now_ns - now_ns % _MINUTE_NS + _MINUTE_NS, charge))

    def bound_uc(self) -> float:
        return sum(charge for _, charge in self.settled) + sum(one.lease.charge_uc for one in self.open)

    def day_uc(self, now_ns: int) -> float:
        young = sum(charge for minute, charge in self.settled if now_ns - minute < _DAY_NS)
        return young + sum(one.lease.charge_uc for one in self.open)


def lease(number: int, amplitude_ma: float, seconds: float = 0.5) -> Lease:
    train = Train(50.0, amplitude_ma, 200.0, "biphasic")
    return Lease(number, train, 4.0, seconds, train_charge_uc(train, amplitude_ma, amplitude_ma, seconds))


def test_leases_of_a_device_that_answers_nothing_add_up_and_few_stay_open() -> None:
    draw = random.Random(5)
    fast, slow, now_ns = ChargeMeter(), SlowMeter(), 0
    for number in range(1, 20_001):
        one = lease(number, draw.choice([0.5, 1.0, 2.0]))
        for meter in (fast, slow):
            meter.issue(one, now_ns, most_ma=one.train.amplitude_ma)
        now_ns += draw.randrange(250_000_000, 1_000_000_000)
        assert fast.n_open <= 23
    assert fast.bound_uc == pytest.approx(slow.bound_uc(), rel=1e-12)
    assert fast.bound_up_to_uc(20_000) == pytest.approx(slow.bound_uc(), rel=1e-12)
    assert fast.day_uc(now_ns) == pytest.approx(slow.day_uc(now_ns), rel=1e-12)
    assert fast.day_uc(now_ns + _DAY_NS + 2 * _MINUTE_NS) <= 23 * 20.5  # only what is still open


@pytest.mark.parametrize("seed", range(20))
def test_leases_of_a_device_that_answers_add_up_to_the_same(seed: int) -> None:
    draw = random.Random(seed)
    fast, slow, now_ns, number = ChargeMeter(), SlowMeter(), 0, 0
    for _ in range(3000):
        now_ns += draw.randrange(1_000_000, 240_000_000)
        turn = draw.random()
        if turn < 0.5:
            number += 1
            one = lease(number, draw.choice([0.5, 1.0, 2.0]))
            for meter in (fast, slow):
                meter.issue(one, now_ns, most_ma=one.train.amplitude_ma)
        elif turn < 0.95 and number:
            which = number if draw.random() < 0.9 else draw.randrange(1, number + 1)
            for meter in (fast, slow):
                meter.answer(which, now_ns)
        else:
            for meter in (fast, slow):
                meter.off(now_ns)
        assert fast.bound_uc == pytest.approx(slow.bound_uc(), rel=1e-12)
        assert fast.day_uc(now_ns) == pytest.approx(slow.day_uc(now_ns), rel=1e-12)
        assert fast.bound_up_to_uc(number) == pytest.approx(slow.bound_uc(), rel=1e-12)
