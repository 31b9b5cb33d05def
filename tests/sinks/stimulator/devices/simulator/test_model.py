from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.sinks.stimulator.devices.simulator.model import STUCK, StimulatorModel
from neuroloop.sinks.stimulator.devices.simulator.process import simulated_limits
from neuroloop.sinks.stimulator.envelope.charge import train_charge_uc
from neuroloop.sinks.stimulator.records import DeviceAnswer, Lease, Train
from tests.sinks.stimulator.devices.leases import PULSES, make_lease, slow_charge_uc

MS = 1_000_000
LIMITS = simulated_limits(0.01)


class Bench:
    """A model with a clock that is moved by hand."""

    def __init__(self, *, is_armed: bool = True) -> None:
        self.now = 1_000 * MS
        self.model = StimulatorModel(LIMITS, lambda: self.now)
        if is_armed:
            assert self.model.arm().kind == "ack"

    def wait(self, ms: float) -> None:
        self.now += round(ms * MS)


def kind_and_output(answer: DeviceAnswer) -> tuple[str, bool]:
    return answer.kind, answer.is_on


def test_it_is_disarmed_and_off_at_first() -> None:
    bench = Bench(is_armed=False)
    assert kind_and_output(bench.model.status()) == ("status", False)
    answer = bench.model.start(make_lease())
    assert kind_and_output(answer) == ("nack", False)
    assert answer.reason == "the device must be armed, got disarmed"


def test_a_start_switches_on_at_once_and_says_when() -> None:
    bench = Bench()
    answer = bench.model.start(make_lease())
    assert answer == DeviceAnswer("ack", 1, True, 0.0, "", "start", bench.now)


def test_the_output_goes_off_by_itself_when_the_lease_is_over() -> None:
    bench = Bench()
    bench.model.start(make_lease(duration_s=0.5))
    bench.wait(499)
    assert bench.model.status().is_on
    bench.wait(1)
    assert not bench.model.status().is_on
    assert [edge.is_on for edge in bench.model.take_edges()] == [True, False]


def test_a_lease_that_nobody_looked_at_ended_when_it_was_over_and_not_when_it_was_asked_for() -> None:
    bench = Bench()
    bench.model.start(make_lease(duration_s=0.5))
    begin = bench.now
    bench.wait(60_000)
    answer = bench.model.status()
    assert not answer.is_on
    assert answer.delivered_uc == pytest.approx(5.0)
    (interval,) = bench.model.take_intervals()
    assert (interval.on_ns, interval.off_ns) == (begin, begin + 500 * MS)
    assert interval.ended_by == "lease_over"
    off = bench.model.take_edges()[1]
    assert (off.t_ns, off.noticed_ns) == (begin + 500 * MS, bench.now)


def test_a_renewal_that_comes_too_late_is_refused_and_the_output_stays_off() -> None:
    bench = Bench()
    bench.model.start(make_lease(1, duration_s=0.5))
    bench.wait(500)
    answer = bench.model.renew(make_lease(2))
    assert kind_and_output(answer) == ("nack", False)
    assert answer.reason == "a lease must be in force at a renewal, got none"


def test_a_renewal_replaces_the_lease_at_once() -> None:
    bench = Bench()
    bench.model.start(make_lease(1, duration_s=0.5))
    begin = bench.now
    bench.wait(100)
    assert kind_and_output(bench.model.renew(make_lease(2, duration_s=0.5))) == ("ack", True)
    bench.wait(499)
    assert bench.model.status().is_on
    bench.wait(1)
    assert not bench.model.status().is_on
    first, second = bench.model.take_intervals()
    assert (first.on_ns, first.off_ns, first.ended_by) == (begin, begin + 100 * MS, "renewed")
    assert (second.on_ns, second.off_ns, second.ended_by) == (first.off_ns, begin + 600 * MS, "lease_over")
    assert [edge.is_on for edge in bench.model.take_edges()] == [True, False]


def test_pulses_keep_their_rhythm_over_renewals() -> None:
    bench = Bench()
    bench.model.start(make_lease(1))
    for number in range(2, 60):
        bench.wait(17)  # no whole number of periods of 50 ms
        bench.model.renew(make_lease(number))
    bench.wait(14)  # 58 * 17 + 14 = 1000 ms: twenty pulses
    assert bench.model.status().delivered_uc == pytest.approx(20 * 0.5)


def test_a_ramp_goes_linearly_to_the_amplitude_of_the_train() -> None:
    bench = Bench()
    bench.model.start(make_lease(slew_ma_s=5.0, duration_s=0.5))
    bench.wait(200)
    bench.model.stop()
    (interval,) = bench.model.take_intervals()
    assert interval.from_ma == 0.0
    assert interval.to_ma == pytest.approx(1.0)
    assert interval.charge_uc == pytest.approx(slow_charge_uc(PULSES, 0.0, 1.0, 0.2))


def test_a_renewal_goes_on_from_where_the_output_is_however_late_it_comes() -> None:
    bench = Bench()
    bench.model.start(make_lease(1, slew_ma_s=5.0))
    for number, ms in ((2, 50), (3, 320)):
        bench.wait(ms)
        bench.model.renew(make_lease(number, slew_ma_s=5.0))
    bench.wait(200)
    bench.model.stop()
    found = bench.model.take_intervals()
    assert [one.to_ma for one in found] == pytest.approx([0.25, 1.85, 2.5])
    assert [one.from_ma for one in found] == pytest.approx([0.0, 0.25, 1.85])
    assert found[-1].reached_ns - found[-1].on_ns == pytest.approx(130 * MS, abs=2)


def test_a_lease_that_is_faster_than_the_device_allows_is_refused() -> None:
    now = 1_000 * MS
    model = StimulatorModel(replace(LIMITS, max_slew_ma_s=200.0), lambda: now)
    model.arm()
    assert model.start(make_lease(slew_ma_s=201.0)).reason == "lease.slew_ma_s must be at most 200.0, got 201.0"


def test_a_stop_switches_off_in_any_state_and_twice() -> None:
    bench = Bench(is_armed=False)
    assert kind_and_output(bench.model.stop()) == ("ack", False)
    bench.model.arm()
    bench.model.start(make_lease())
    assert kind_and_output(bench.model.stop()) == ("ack", False)
    assert kind_and_output(bench.model.stop()) == ("ack", False)
    assert [one.ended_by for one in bench.model.take_intervals()] == ["stop"]


def test_a_start_while_the_output_is_on_is_refused_and_changes_nothing() -> None:
    bench = Bench()
    bench.model.start(make_lease(1))
    bench.wait(100)
    answer = bench.model.start(make_lease(2))
    assert answer.kind == "nack"
    assert answer.reason == "the output must be off at a start, got on"
    bench.wait(400)
    assert not bench.model.status().is_on


def test_a_refused_renewal_lets_the_lease_run_to_its_end() -> None:
    bench = Bench()
    bench.model.start(make_lease(1))
    bench.wait(100)
    answer = bench.model.renew(make_lease(2, duration_s=99.0))
    assert kind_and_output(answer) == ("nack", True)
    bench.wait(400)
    assert not bench.model.status().is_on


def test_a_lease_never_counts_twice() -> None:
    bench = Bench()
    bench.model.start(make_lease(3))
    bench.model.stop()
    answer = bench.model.start(make_lease(3))
    assert answer.reason == "lease.number must be above the last one, 3, got 3"


def test_disarming_switches_off_and_takes_no_lease() -> None:
    bench = Bench()
    bench.model.start(make_lease(1))
    assert kind_and_output(bench.model.disarm()) == ("ack", False)
    assert bench.model.start(make_lease(2)).kind == "nack"
    assert [one.ended_by for one in bench.model.take_intervals()] == ["disarm"]


def test_a_lost_host_switches_off_and_disarms_and_the_next_one_begins_at_lease_one() -> None:
    bench = Bench()
    bench.model.start(make_lease(5))
    bench.model.disconnect()
    assert not bench.model.is_on
    assert not bench.model.is_armed
    assert [one.ended_by for one in bench.model.take_intervals()] == ["disconnect"]
    bench.model.arm()
    assert bench.model.start(make_lease(1)).kind == "ack"


def test_arming_again_while_armed_keeps_the_count_of_charge_and_arming_anew_begins_it() -> None:
    bench = Bench()
    bench.model.start(make_lease(1))
    bench.wait(1000)
    assert bench.model.arm().delivered_uc == pytest.approx(5.0)
    bench.model.disarm()
    assert bench.model.arm().delivered_uc == 0.0
    assert bench.model.total_uc == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("changes", "train", "reason"),
    [
        ({}, {"amplitude_ma": 100.01}, r"lease\.train\.amplitude_ma must be at most 100\.0, got 100\.01"),
        ({}, {"amplitude_ma": 2.505}, r"lease\.train\.amplitude_ma must be a multiple of 0\.01, got 2\.505"),
        ({}, {"frequency_hz": 1000.1}, r"lease\.train\.frequency_hz must be at most 1000\.0, got 1000\.1"),
        ({}, {"frequency_hz": 20.05}, r"lease\.train\.frequency_hz must be a multiple of 0\.1, got 20\.05"),
        ({}, {"pulse_width_us": 1001.0}, r"lease\.train\.pulse_width_us must be at most 1000\.0, got 1001\.0"),
        ({}, {"amplitude_ma": 99.0, "pulse_width_us": 700.0}, r"lease charge per phase must be at most 60\.0 uC"),
        ({}, {"frequency_hz": 600.0, "pulse_width_us": 900.0}, r"at most 833\.\d+ to fit its period, got 900\.0"),
        ({}, {"frequency_hz": 0.0}, r"lease\.train\.frequency_hz must be 0 for direct current and above 0 otherwise"),
        ({}, {"waveform": "sine"}, r"lease\.train\.pulse_width_us must be above 0 for pulses and 0 otherwise"),
        ({}, {"waveform": "square"}, r"lease\.train\.waveform must be one of \['biphasic'"),
        ({}, {"amplitude_ma": math.nan}, r"lease\.train\.amplitude_ma must be a finite number of at least 0, got nan"),
        ({}, {"amplitude_ma": -1.0}, r"lease\.train\.amplitude_ma must be a finite number of at least 0, got -1\.0"),
        ({"slew_ma_s": 0.0}, {}, r"lease\.slew_ma_s must be above 0, got 0\.0"),
        ({"slew_ma_s": math.inf}, {}, r"lease\.slew_ma_s must be a finite number of at least 0, got inf"),
        ({"duration_s": 2.01}, {}, r"lease\.duration_s must be in \(0, timeout_s=2\.0\], got 2\.01"),
        ({"duration_s": 0.0}, {}, r"lease\.duration_s must be in \(0, timeout_s=2\.0\], got 0\.0"),
        ({"charge_uc": 4.0}, {}, r"lease\.charge_uc must be at least the 4\.\d* that the train delivers, got 4\.0"),
        ({"number": 0}, {}, r"lease\.number must be above the last one, 0, got 0"),
    ],
)  # fmt: skip
def test_a_lease_beyond_its_own_limits_is_refused_with_the_reason(
    changes: dict[str, Any], train: dict[str, Any], reason: str
) -> None:
    bench = Bench()
    lease = replace(make_lease(charge_uc=1e6), train=replace(PULSES, **train))
    lease = replace(lease, **changes)
    answer = bench.model.start(lease)
    assert kind_and_output(answer) == ("nack", False)
    assert re.search(reason, answer.reason), answer.reason


def test_a_stuck_output_stays_on_after_the_lease_and_after_a_stop_and_says_so() -> None:
    bench = Bench()
    bench.model.is_stuck = True
    bench.model.start(make_lease())
    bench.wait(1000)
    answer = bench.model.status()
    assert (answer.is_on, answer.reason) == (True, STUCK)
    assert answer.delivered_uc == pytest.approx(10.0)
    assert kind_and_output(bench.model.stop()) == ("nack", True)
    assert kind_and_output(bench.model.disarm()) == ("nack", True)
    assert kind_and_output(bench.model.arm()) == ("nack", True)
    assert kind_and_output(bench.model.renew(make_lease(2))) == ("nack", True)
    bench.model.disconnect()
    assert bench.model.status().is_on
    bench.wait(1000)
    bench.model.terminate()
    assert not bench.model.status().is_on
    leased, stuck = bench.model.take_intervals()
    assert (leased.ended_by, leased.is_granted) == ("lease_over", True)
    assert (stuck.ended_by, stuck.is_granted) == ("terminated", False)
    assert stuck.charge_uc == pytest.approx(15.0)
    assert leased.off_ns == stuck.on_ns


class Twin:
    """What may be on when, written down the slow way: each lease ends by itself or at what ends it.

    Both lists hold the number of the command first.
    """

    def __init__(self) -> None:
        self.granted: list[tuple[int, int, Lease]] = []
        self.ending: list[tuple[int, int]] = []

    def grant(self, number: int, now: int, lease: Lease) -> None:
        self.granted.append((number, now, lease))
        self.ending.append((number, now))

    def off_ns(self) -> list[int]:
        return [
            min([begin + round(lease.duration_s * 1e9), *(t_ns for later, t_ns in self.ending if later > number)])
            for number, begin, lease in self.granted
        ]


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "renew", "renew", "renew", "stop", "disarm", "arm", "status", "disconnect"]),
        st.one_of(st.floats(0, 30), st.floats(0, 3000)),
        st.integers(1, 200).map(lambda ticks: ticks / 100),
        st.sampled_from([0.3, 4.0, 60.0, 1e12]),
        st.integers(0, 300).map(lambda steps: steps / 100),
        st.sampled_from([PULSES, Train(33.3, 1.0, 450.0, "monophasic"), Train(7.0, 1.0, 0.0, "sine"),
                         Train(0.0, 1.0, 0.0, "direct")]),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(COMMANDS)
def test_it_is_never_on_beyond_a_lease_and_counts_all_charge_once(commands: list[Any]) -> None:
    bench, twin = Bench(), Twin()
    model = bench.model
    edges, intervals = [], []
    accounted_uc = 0.0
    for number, (command, wait_ms, duration_s, slew_ma_s, end_ma, train) in enumerate(commands, 1):
        bench.wait(wait_ms)
        if command in ("start", "renew"):
            lease = make_lease(
                number,
                train=replace(train, amplitude_ma=end_ma),
                slew_ma_s=slew_ma_s,
                duration_s=duration_s,
                from_ma=3.0,
            )
            if getattr(model, command)(lease).kind == "ack":
                twin.grant(number, bench.now, lease)
                accounted_uc += train_charge_uc(lease.train, 3.0, 3.0, duration_s)
        elif command == "disconnect":
            model.disconnect()
            twin.ending.append((number, bench.now))
            model.arm()
        else:
            getattr(model, command)()
            if command in ("stop", "disarm"):
                twin.ending.append((number, bench.now))
        edges += model.take_edges()
        intervals += model.take_intervals()
    bench.wait(10_000)
    assert not model.status().is_on
    edges += model.take_edges()
    intervals += model.take_intervals()

    assert [(one.on_ns, one.lease) for one in intervals] == [(begin, lease) for _, begin, lease in twin.granted]
    assert [one.off_ns for one in intervals] == twin.off_ns()
    cycle = 0.0
    for index, one in enumerate(intervals):
        if index == 0 or intervals[index - 1].ended_by != "renewed":
            cycle = 0.0
        duration_s = (one.off_ns - one.on_ns) / 1e9
        way_s = min(duration_s, abs(one.lease.train.amplitude_ma - one.from_ma) / one.lease.slew_ma_s)
        slow = slow_charge_uc(one.lease.train, one.from_ma, one.to_ma, way_s, cycle) if way_s else 0.0
        if duration_s > way_s:
            knee = (cycle + one.lease.train.frequency_hz * way_s) % 1.0
            slow += slow_charge_uc(one.lease.train, one.to_ma, one.to_ma, duration_s - way_s, knee)
        assert one.charge_uc == pytest.approx(slow, rel=1e-6, abs=1e-4)
        cycle = (cycle + one.lease.train.frequency_hz * duration_s) % 1.0
    assert model.total_uc == pytest.approx(sum(one.charge_uc for one in intervals))
    assert model.total_uc <= accounted_uc * (1 + 1e-9) + 1e-9
    for before, after in itertools.pairwise(intervals):
        assert after.from_ma == (before.to_ma if before.ended_by == "renewed" else 0.0)
    # edges: strictly alternating, and exactly where runs of intervals begin and end
    assert [edge.is_on for edge in edges] == [index % 2 == 0 for index in range(len(edges))]
    begins = [one.on_ns for i, one in enumerate(intervals) if i == 0 or intervals[i - 1].ended_by != "renewed"]
    assert [edge.t_ns for edge in edges if edge.is_on] == begins


def test_a_lease_that_comes_too_late_is_refused_and_the_one_in_force_runs_to_its_end() -> None:
    bench = Bench()
    late = bench.model.start(make_lease(1), bench.now)
    assert kind_and_output(late) == ("nack", False)
    assert late.reason == "lease.not_after_ns must be ahead, got a lease that comes 0.000 s late"
    assert kind_and_output(bench.model.start(make_lease(2, duration_s=0.5), bench.now + 600 * MS)) == ("ack", True)
    bench.wait(100)
    assert bench.model.renew(make_lease(3), bench.now - 50 * MS).reason.endswith("comes 0.050 s late")
    assert bench.model.end_ns == 1_500 * MS


def test_a_lease_that_comes_late_is_over_when_it_says_and_not_when_it_would_be() -> None:
    bench = Bench()
    bench.model.start(make_lease(1, duration_s=0.5), bench.now + 200 * MS)
    bench.wait(50)
    bench.model.renew(make_lease(2, duration_s=0.5), bench.now + 100 * MS)
    bench.wait(1000)
    assert bench.model.status().is_on is False
    assert [one.off_ns for one in bench.model.take_intervals()] == [1_050 * MS, 1_150 * MS]
