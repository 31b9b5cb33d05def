import pytest

from neuroloop.sinks.stimulator.devices.simulator.faults import FaultPlan, Faults, parse_fault
from neuroloop.sinks.stimulator.records import DeviceError


def test_a_specification_is_read_whole() -> None:
    text = (
        "latency=20ms,jitter=0.005s,nack=0.1,drop=.05,stuck_on=after:3,mute=after:7,dead=after:10,late=after:2,seed=7"
    )
    assert parse_fault(text) == FaultPlan(0.02, 0.005, 0.1, 0.05, 3, 7, 10, 2, 7)


def test_without_a_specification_nothing_goes_wrong() -> None:
    faults = Faults(parse_fault(None))
    assert parse_fault("") == FaultPlan()
    assert [faults.delay_ns(), faults.is_dropped(), faults.is_refused("start"), faults.is_dead()] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latncy=20ms", r"device\.fault must name known faults \(latency, .*\), got 'latncy=20ms'"),
        ("latency", r"device\.fault latency must be a time of at most 10 s such as 20ms, got 'latency'"),
        ("latency=11s", r"device\.fault latency must be a time of at most 10 s such as 20ms, got 'latency=11s'"),
        ("nack=1.5", r"device\.fault nack must be a share in \[0, 1\] such as 0\.1, got 'nack=1\.5'"),
        ("drop=x", r"device\.fault drop must be a share in \[0, 1\] such as 0\.1, got 'drop=x'"),
        ("stuck_on=3", r"device\.fault stuck_on must stand alone or be stuck_on=after:N, got 'stuck_on=3'"),
        ("seed=-1", r"device\.fault seed must be a whole number, got 'seed=-1'"),
        ("nack=0.1,nack=0.2", r"device\.fault must name each fault once, got 'nack' twice"),
        ("nack=0.1,", r"device\.fault must name known faults"),
    ],
)
def test_a_wrong_specification_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        parse_fault(text)


def draws(text: str) -> list[tuple[int, bool, bool]]:
    faults = Faults(parse_fault(text))
    return [(faults.delay_ns(), faults.is_dropped(), faults.is_refused("renew")) for _ in range(200)]


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    text = "latency=20ms,jitter=5ms,nack=0.3,drop=0.2"
    assert draws(text + ",seed=4") == draws(text + ",seed=4")
    assert draws(text + ",seed=4") != draws(text + ",seed=5")


def test_shares_and_times_are_kept() -> None:
    drawn = draws("latency=20ms,jitter=5ms,nack=0.3,drop=0.2,seed=1")
    assert all(15_000_000 <= delay <= 25_000_000 for delay, _, _ in drawn)
    assert 20 <= sum(dropped for _, dropped, _ in drawn) <= 60
    assert 40 <= sum(refused for _, _, refused in drawn) <= 80


def test_a_stop_is_never_refused() -> None:
    faults = Faults(parse_fault("nack=1"))
    assert [faults.is_refused(one) for one in ("arm", "start", "renew")] == [True, True, True]
    assert [faults.is_refused(one) for one in ("stop", "disarm", "status")] == [False, False, False]


def test_a_fault_that_is_put_off_waits_for_so_many_commands_and_status_is_none() -> None:
    faults = Faults(parse_fault("stuck_on=after:2,dead=after:3"))
    seen = []
    for command in ("arm", "status", "start", "status", "renew"):
        faults.count(command)
        seen.append((faults.is_stuck(), faults.is_dead()))
    assert seen == [(False, False), (False, False), (True, False), (True, False), (True, True)]
