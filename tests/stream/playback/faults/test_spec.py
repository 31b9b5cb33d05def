from __future__ import annotations

import re

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.stream.playback.faults.spec import Fault, parse_faults


def test_every_kind_is_read() -> None:
    texts = [
        "cut@5s+2s; reconnect@8+500ms",
        "gap@250ms:25;duplicate@6s:50;reorder@7s:10",
        "burst@3s+4s:32;clock_step@8s:-3.5s;drift_ppm@0s:200;drift_ppm@0s+5s:-50ppm;rate@3s+10s:186Hz",
        "nan@4s+0.5s:C3, C4;flat@1s+1s;rail@1s+2s:C3=187500,C4=-1e3;rail@5s+1s:-2.5;random:12",
    ]
    faults = parse_faults(texts)
    assert [fault.kind for fault in faults] == [
        *("cut", "reconnect", "gap", "duplicate", "reorder", "burst", "clock_step", "drift_ppm", "drift_ppm", "rate"),
        *("nan", "flat", "rail", "rail", "random"),
    ]
    assert faults[0] == Fault("cut", "cut@5s+2s", 5.0, 2.0)
    assert faults[1] == Fault("reconnect", "reconnect@8+500ms", 8.0, 0.5)
    assert (faults[2].start_s, faults[2].count) == (0.25, 25)
    assert (faults[6].value, faults[8].value, faults[9].value) == (-3.5, -50.0, 186.0)
    assert faults[10].channels == ("C3", "C4")
    assert (faults[12].channels, faults[12].levels) == (("C3", "C4"), (187500.0, -1000.0))
    assert (faults[13].channels, faults[13].levels) == ((), (-2.5,))
    assert faults[14].count == 12


def test_nothing_is_no_fault() -> None:
    assert parse_faults(["", " ; "]) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cut", "fault must be KIND@START[+DURATION][:VALUE], got 'cut'"),
        ("cut@-1s+2s", "fault must be KIND@START[+DURATION][:VALUE], got 'cut@-1s+2s'"),
        ("cut@5min+2s", "fault must be KIND@START[+DURATION][:VALUE], got 'cut@5min+2s'"),
        ("random:x", "fault must be KIND@START[+DURATION][:VALUE], got 'random:x'"),
        ("melt@1s", "fault must be of a known kind (cut, reconnect,"),
        ("random@1s:3", "fault must be of a known kind (cut, reconnect,"),
        ("cut@5s", "fault cut must have a duration (+SECONDS), got 'cut@5s'"),
        ("cut@5s+0s", "fault cut must last longer than 0 s, got 'cut@5s+0s'"),
        ("cut@5s+1s:3", "fault cut must have no value, got 'cut@5s+1s:3'"),
        ("gap@5s+1s:3", "fault gap must have no duration, got 'gap@5s+1s:3'"),
        ("gap@5s", "fault gap must have a number of samples of at least 1 as its value, got 'gap@5s'"),
        ("gap@5s:0", "fault gap must have a number of samples of at least 1 as its value, got 'gap@5s:0'"),
        ("reorder@5s:1", "fault reorder must have a number of samples of at least 2 as its value"),
        ("burst@5s+1s:99999999999", "fault burst must have a number of samples of at least 2 as its value"),
        ("clock_step@5s:0s", "fault clock_step must have seconds other than 0 as its value"),
        ("clock_step@5s:nan", "fault clock_step must have seconds other than 0 as its value"),
        ("drift_ppm@0s:1e9", "fault drift_ppm must have ppm in [-100000, 100000] as its value"),
        ("rate@0s+1s:-5", "fault rate must have a rate above 0 Hz as its value"),
        ("nan@1s+1s:C3,,C4", "fault nan must name different channels, separated by commas"),
        ("flat@1s+1s:C3,C3", "fault flat must name different channels, separated by commas"),
        ("rail@1s+1s", "fault rail must have CHANNEL=LEVEL,... or LEVEL as its value"),
        ("rail@1s+1s:C3=high", "fault rail must have CHANNEL=LEVEL,... or LEVEL as its value"),
        ("rail@1s+1s:C3=1,2", "fault rail must have CHANNEL=LEVEL,... or LEVEL as its value"),
        ("cut@9999999999s+1s", "fault must be within 1000000000 s of the first sample"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parse_faults([f"cut@1s+1s;{text}"])
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)
