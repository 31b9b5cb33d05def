"""Each judgement of the doctor, with values as they are and as they should not be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from neuroloop.stream.sources.lsl.network import FoundStream
from neuroloop.stream.tools.doctor.disk import (
    DiskSpeed,
    count_kernels,
    existing_folder,
    judge_disk,
    judge_kernel_cache,
    measure_disk,
)
from neuroloop.stream.tools.doctor.finding import Finding, exit_status
from neuroloop.stream.tools.doctor.interfaces import Interface, judge_multicast, list_interfaces, try_multicast
from neuroloop.stream.tools.doctor.lsl_session import LslSettings, judge_settings, parse_lsl_settings
from neuroloop.stream.tools.doctor.memory import (
    judge_lock_limit,
    judge_segment,
    judge_shm,
    judge_swap,
    swap_bytes,
    try_segment,
)
from neuroloop.stream.tools.doctor.packages import (
    REQUIRED,
    judge_liblsl,
    judge_packages,
    judge_python,
    judge_torch,
    read_constraints,
)
from neuroloop.stream.tools.doctor.ports import judge_lsl_ports, judge_metrics_port, try_port
from neuroloop.stream.tools.doctor.processors import (
    governors_of,
    judge_cores,
    judge_governor,
    judge_realtime,
    parse_core_list,
    try_realtime,
)
from neuroloop.stream.tools.doctor.streams import Listening, judge_identity, judge_listening
from neuroloop.stream.tools.doctor.timing import (
    judge_clocksource,
    judge_sleep,
    judge_timer,
    judge_wall_clock,
    timer_step_ns,
)

TESTED = dict.fromkeys(REQUIRED, "1.2.3")
ETH = Interface("eth0", "192.0.2.7", is_loopback=False, allows_multicast=True)
LO = Interface("lo", "127.0.0.1", is_loopback=True, allows_multicast=False)


def levels(findings: Sequence[Finding]) -> list[str]:
    return [one.level for one in findings]


def found_stream(name: str, source_id: str, uid: str, value_format: str = "float32") -> FoundStream:
    return FoundStream(name, "EEG", source_id, uid, "lab1", 8, 250.0, value_format, 0.0, None)


def test_a_finding_that_is_not_ok_says_what_to_do_on_the_next_line() -> None:
    assert Finding("x", "warn", "so it\nis\x1b[31m", "do this").lines() == [
        "warn  x: so it is?[31m",
        "      -> do this",
    ]
    assert Finding("x", "ok", "fine").lines() == ["ok    x: fine"]
    with pytest.raises(ValueError, match="cure must be given for level 'warn'"):
        Finding("x", "warn", "so it is")
    with pytest.raises(ValueError, match="level must be one of"):
        Finding("x", "bad", "so it is", "do")  # type: ignore[arg-type]


def test_only_a_failure_changes_the_exit_status() -> None:
    warned = [Finding("a", "ok", "x"), Finding("b", "warn", "x", "y"), Finding("c", "note", "x", "y")]
    assert exit_status(warned) == 0
    assert exit_status([*warned, Finding("d", "fail", "x", "y")]) == 1


def test_the_interpreter_must_be_a_new_enough_cpython() -> None:
    assert judge_python((3, 11, 0), "CPython").level == "ok"
    assert judge_python((3, 10, 12), "CPython").level == "fail"
    assert judge_python((3, 12, 0), "PyPy").level == "fail"


def test_liblsl_is_there_and_new_enough() -> None:
    assert judge_liblsl(117).found == "1.17"
    assert judge_liblsl(113).level == "warn"
    assert "no such file" in judge_liblsl(None, "no such file").found
    assert judge_liblsl(None).level == "fail"


def test_packages_are_compared_with_the_tested_ones() -> None:
    assert levels(judge_packages(TESTED, TESTED)) == ["ok"]
    assert levels(judge_packages({**TESTED, "numba": "9.9"}, TESTED)) == ["warn"]
    assert levels(judge_packages({**TESTED, "rich": "9.9"}, TESTED)) == ["note"]
    assert levels(judge_packages({**TESTED, "numpy": "1.2.3+local"}, TESTED)) == ["ok"]
    without = {name: number for name, number in TESTED.items() if name != "pydantic"}
    assert [(one.level, one.found) for one in judge_packages(without, TESTED)] == [("fail", "not installed: pydantic")]
    assert levels(judge_packages(TESTED, None)) == ["note"]
    assert judge_torch(None).level == "note"
    assert judge_torch("2.0").level == "ok"


def test_the_constraints_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text("# text\nRuamel_Yaml==1.0\nnumpy==2.4.6  # why\nnot a pin\n")
    assert read_constraints(path) == {"ruamel-yaml": "1.0", "numpy": "2.4.6"}
    assert read_constraints(tmp_path / "none.txt") is None
    own = read_constraints()
    assert own is not None
    assert set(REQUIRED) <= set(own)


def test_governors_other_than_performance_are_named() -> None:
    assert judge_governor({0: "performance", 1: "performance"}).level == "ok"
    slow = judge_governor({0: "performance", 1: "powersave"})
    assert slow.level == "warn"
    assert "1 of 2 cores" in slow.found
    assert judge_governor({}).level == "note"


def test_governors_are_read_from_the_system(tmp_path: Path) -> None:
    folder = tmp_path / "cpu1" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("schedutil\n")
    assert governors_of([0, 1], tmp_path) == {1: "schedutil"}


def test_cores_are_counted_and_isolated_ones_named() -> None:
    assert judge_cores([0, 1], 4, []).level == "ok"
    assert judge_cores([2], 4, []).level == "warn"
    assert judge_cores([0, 1], 4, [2, 3]).level == "note"
    assert judge_cores([0, 1, 3], 4, [3]).level == "ok"
    assert parse_core_list("2-4,7\n") == [2, 3, 4, 7]
    assert parse_core_list("") == []
    assert parse_core_list("x,1") == [1]


def test_real_time_priority_is_tried_and_put_back() -> None:
    import os

    before = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    reached, reason = try_realtime()
    assert (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority) == before
    assert reached is not bool(reason)
    assert judge_realtime(True, "", 20).level == "ok"
    refused = judge_realtime(False, "Operation not permitted", 0)
    assert refused.level == "warn"
    assert "rtprio limit 0" in refused.found


def test_timers_are_judged_by_what_they_do() -> None:
    assert judge_timer(1.0, 40.0).level == "ok"
    assert judge_timer(1.0, 15_600_000.0).level == "warn"
    readings = iter([0, 0, 500, 500, 900])
    assert timer_step_ns(lambda: next(readings), 5) == 400.0
    assert judge_sleep([60.0, 70.0, 80.0]).level == "ok"
    assert judge_sleep([60.0, 1500.0, 1600.0]).level == "warn"
    assert judge_sleep([60.0, 70.0, 30_000.0]).level == "warn"
    assert judge_clocksource("tsc").level == "ok"
    assert judge_clocksource("hpet").level == "warn"
    assert judge_clocksource(None).level == "note"


def test_a_wall_clock_that_is_wrong_or_steps_is_seen() -> None:
    now = 1_780_000_000.0
    assert judge_wall_clock(now, 1e-6, is_synchronised=True).level == "ok"
    assert judge_wall_clock(now, 1e-6, is_synchronised=None).level == "ok"
    assert judge_wall_clock(now, 1e-6, is_synchronised=False).level == "note"
    assert judge_wall_clock(now, -1.5, is_synchronised=True).level == "warn"
    assert judge_wall_clock(12.0, 0.0, is_synchronised=True).level == "fail"


def test_memory_limits_are_judged() -> None:
    mib = 1 << 20
    assert judge_lock_limit(None).level == "ok"
    assert judge_lock_limit(8 * mib).level == "note"
    assert judge_swap(0, 0).level == "ok"
    assert judge_swap(1024 * mib, 2048 * mib).level == "warn"
    assert swap_bytes("MemTotal: 9 kB\nSwapTotal:   4 kB\nSwapFree:  1 kB\n") == (3072, 4096)
    assert swap_bytes("") == (0, 0)


@pytest.mark.parametrize(
    ("size", "free", "has_memfd", "level"),
    [
        (1 << 30, 1 << 30, True, "ok"),
        (64 << 20, 64 << 20, True, "note"),
        (64 << 20, 64 << 20, False, "warn"),
        (64 << 20, 1 << 20, False, "fail"),
        (None, 0, True, "ok"),
        (None, 0, False, "fail"),
    ],
)
def test_a_small_dev_shm_matters_where_rings_need_it(size: int | None, free: int, has_memfd: bool, level: str) -> None:
    assert judge_shm(size, free, has_memfd=has_memfd).level == level


def test_a_shared_segment_is_made_written_and_read() -> None:
    assert try_segment(1 << 16) is None
    fault = try_segment(1 << 60)
    assert fault is not None
    assert judge_segment(fault).level == "fail"
    assert judge_segment(None).level == "ok"


def test_the_disk_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    speed = measure_disk(tmp_path, n_mib=1, n_appends=2, limit_s=0.1)
    assert isinstance(speed, DiskSpeed)
    assert speed.mib_per_s > 0
    assert list(tmp_path.iterdir()) == []
    assert isinstance(measure_disk(tmp_path / "none", n_mib=1, n_appends=1, limit_s=0.1), str)


def test_a_full_slow_or_closed_disk_is_seen(tmp_path: Path) -> None:
    assert levels(judge_disk(tmp_path, DiskSpeed(1 << 40, 200.0, 1.0, 5.0))) == ["ok", "ok"]
    assert levels(judge_disk(tmp_path, DiskSpeed(1 << 30, 1.0, 1.0, 5.0))) == ["warn", "warn"]
    assert levels(judge_disk(tmp_path, DiskSpeed(1 << 20, 200.0, 500.0, 900.0))) == ["fail", "warn"]
    assert levels(judge_disk(tmp_path, "Permission denied")) == ["fail"]
    assert existing_folder(tmp_path / "not" / "yet") == tmp_path


def test_the_kernel_cache_is_writable_and_warm(tmp_path: Path) -> None:
    assert judge_kernel_cache(tmp_path, is_writable=True, n_compiled=9, n_kernels=9).level == "ok"
    assert judge_kernel_cache(tmp_path, is_writable=True, n_compiled=2, n_kernels=9).level == "note"
    assert judge_kernel_cache(tmp_path, is_writable=False, n_compiled=9, n_kernels=9).level == "warn"
    decorator = "@" + "kernel"
    (tmp_path / "a.py").write_text(f"\n{decorator}(inline=True)\ndef f(): ...\n{decorator}(int64)\ndef g(): ...\n")
    assert count_kernels(tmp_path) == 1


def test_a_port_that_is_taken_is_seen() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert try_port("127.0.0.1", taken.getsockname()[1]) == "in use"
    assert judge_metrics_port(9108, "in use").level == "warn"
    assert judge_metrics_port(9108, None).level == "ok"
    assert judge_lsl_ports(16572, 32, [], may_leave_range=True).level == "ok"
    assert judge_lsl_ports(16572, 4, [1, 2, 3, 4], may_leave_range=True).level == "warn"
    assert judge_lsl_ports(16572, 4, [1, 2, 3, 4], may_leave_range=False).level == "fail"


def test_a_multicast_packet_goes_round_an_interface_or_the_fault_is_said() -> None:
    loopback = [one for one in list_interfaces() if one.is_loopback]
    if not loopback:
        pytest.skip("no loopback interface to be seen here")
    assert try_multicast(loopback[0]) is None
    assert try_multicast(Interface("none", "203.0.113.99", is_loopback=False, allows_multicast=True)) is not None


def test_interfaces_without_multicast_are_named() -> None:
    assert levels(judge_multicast([LO, ETH], {"lo": None, "eth0": None})) == ["ok", "ok"]
    assert levels(judge_multicast([LO, ETH], {"lo": None, "eth0": "lost"})) == ["ok", "warn", "note"]
    assert levels(judge_multicast([LO], {"lo": None})) == ["ok", "note"]
    assert levels(judge_multicast([LO], {"lo": "lost"})) == ["note", "warn"]
    assert levels(judge_multicast([], {})) == ["warn"]


def test_lsl_settings_are_read_as_liblsl_reads_them() -> None:
    text = "; mine\n[lab]\nKnownPeers = {10.0.0.1, lab2}\nSessionID = red\n[multicast]\nResolveScope=machine\n"
    assert parse_lsl_settings(text) == LslSettings("red", "machine", ("10.0.0.1", "lab2"))
    assert parse_lsl_settings("") == LslSettings()
    with pytest.raises(ValueError, match="settings must be sections"):
        parse_lsl_settings("no section\n")
    with pytest.raises(ValueError, match="invalid literal"):
        parse_lsl_settings("[ports]\nBasePort = x\n")


def test_settings_that_hide_streams_are_noted() -> None:
    path = Path("lsl_api.cfg")
    assert levels(judge_settings(None, LslSettings(), None)) == ["ok", "ok"]
    assert levels(judge_settings(path, LslSettings("red", "machine"), None)) == ["ok", "note", "note"]
    assert levels(judge_settings(path, LslSettings(scope="galaxy"), None)) == ["ok", "ok", "warn"]
    assert levels(judge_settings(path, "no sections", None)) == ["fail"]
    assert levels(judge_settings(None, LslSettings(), "/no/such.cfg")) == ["warn", "ok"]


def test_streams_that_cannot_be_told_apart_are_named() -> None:
    twins = [found_stream("amp", "a", "1"), found_stream("amp", "b", "2")]
    assert "stream names" in [one.name for one in judge_identity(twins) if one.level == "warn"]
    same_id = [found_stream("amp", "a", "1"), found_stream("other", "a", "2")]
    assert "source ids" in [one.name for one in judge_identity(same_id) if one.level == "warn"]
    assert levels(judge_identity([found_stream("amp", "", "1")])) == ["ok", "note"]
    assert levels(judge_identity([found_stream("amp", "a", "1"), found_stream("emg", "b", "2")])) == ["ok"]
    assert levels(judge_identity([])) == ["note"]
    own = [found_stream("demo-states", "neuroloop-monitoring-1", n) for n in "12"]
    assert levels(judge_identity(own)) == ["ok"]


def heard(stamps: np.ndarray, **options: object) -> list[Finding]:
    values: dict[str, object] = {"offset_s": 0.001, "age_s": 0.004, **options}
    return judge_listening(Listening("amp", 250.0, stamps, 2.0, **values))  # type: ignore[arg-type]


def test_a_steady_stream_is_ok_and_its_figures_are_said() -> None:
    stamps = 100 + np.arange(500) / 250 + np.random.default_rng(3).normal(0, 2e-4, 500)
    (finding,) = heard(stamps)
    assert finding.level == "ok"
    assert "250.0" in finding.found
    assert "stamps off the line by 0.2" in finding.found
    assert "clock offset +1.000 ms" in finding.found
    assert heard(np.arange(5) * 50.0, is_played=True, offset_s=None)[0].level == "ok"


@pytest.mark.parametrize(
    ("stamps", "options", "cure"),
    [
        (np.arange(500) / 300, {}, "nominal rate differ"),
        (np.arange(500) // 100 * 0.4, {}, "stamps have holes"),
        (np.concatenate([np.arange(250), np.arange(100)]) / 250, {}, "run backwards"),
        (np.arange(500) / 250, {"offset_s": None}, "no clock offset"),
        (np.arange(500) / 250, {"age_s": -3.0}, "from the future"),
        (np.arange(500) / 250, {"age_s": 900.0}, "are old when they come"),
        (np.empty(0), {}, "does not send"),
        (np.empty(0), {"fault": "did not describe itself"}, "restart the sender"),
    ],
)
def test_a_stream_that_is_not_steady_says_what_to_do(stamps: np.ndarray, options: dict[str, object], cure: str) -> None:
    finding = heard(stamps, **options)[-1]
    assert finding.level == "warn"
    assert cure in finding.cure


def test_what_a_description_lacks_is_noted() -> None:
    assert levels(heard(np.arange(500) / 250, notes=("no labels",))) == ["note", "ok"]
