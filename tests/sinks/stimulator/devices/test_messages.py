from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroloop.sinks.stimulator.devices.messages import (
    LineSplitter,
    answer_message,
    capabilities_message,
    check_meter,
    count_dose,
    decode_line,
    encode_line,
    lease_message,
    read_answer,
    read_capabilities,
    read_lease,
)
from neuroloop.sinks.stimulator.devices.simulator.process import simulated_limits
from neuroloop.sinks.stimulator.records import DeviceAnswer, DeviceError
from tests.sinks.stimulator.devices.leases import make_lease

LIMITS = simulated_limits(0.05)
HELLO = capabilities_message(LIMITS.capabilities, LIMITS.max_charge_per_phase_uc)


def test_a_lease_comes_through_to_the_bit() -> None:
    lease = make_lease(7, slew_ma_s=0.1 + 0.2, duration_s=1 / 3)
    assert read_lease(decode_line(encode_line(lease_message(lease)))) == lease


def test_capabilities_come_through() -> None:
    assert read_capabilities(decode_line(encode_line(HELLO))) == (LIMITS.capabilities, 60.0)


def test_a_device_need_not_say_how_well_its_phases_match() -> None:
    silent = {key: one for key, one in HELLO.items() if key != "imbalance"}
    assert read_capabilities(silent)[0].imbalance is None
    assert read_capabilities({**HELLO, "imbalance": 0.002})[0].imbalance == 0.002


def test_an_answer_comes_through_and_an_unmeasured_charge_as_nan() -> None:
    answer = DeviceAnswer("nack", 3, True, 1.5, "why", "renew", 12)
    assert read_answer(decode_line(encode_line(answer_message(answer, 4)))) == answer
    line = encode_line(answer_message(DeviceAnswer("ack", 3, True, math.nan), 4))
    assert b'"delivered_uc":null' in line
    assert math.isnan(read_answer(decode_line(line)).delivered_uc)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"version": 1},
            r"device must speak version 2 of the protocol, got 1: a lease names slew_ma_s",
        ),
        ({"answer": "ack"}, r"device must answer hello with its capabilities, got \{"),
        ({"timeout_s": None}, r"device capabilities\.timeout_s must be a number above 0, got None"),
        ({"timeout_s": 0}, r"device capabilities\.timeout_s must be a number above 0, got 0"),
        ({"step_ma": -1}, r"device capabilities\.step_ma must be a number of at least 0, got -1"),
        ({"max_amplitude_ma": True}, r"device capabilities\.max_amplitude_ma must be a number above 0, got True"),
        ({"max_amplitude_ma": math.inf}, r"device capabilities\.max_amplitude_ma must be a number above 0, got inf"),
        ({"name": ""}, r"device capabilities\.name must be a text, got ''"),
        ({"waveforms": "sine"}, r"device capabilities\.waveforms must be a list of texts, got 'sine'"),
        ({"ends_by_itself": 1}, r"device capabilities\.ends_by_itself must be true or false, got 1"),
        ({"imbalance": "1 %"}, r"device capabilities\.imbalance must be a share from 0 to 1, or left out, got '1 %'"),
        ({"imbalance": 1.1}, r"device capabilities\.imbalance must be a share from 0 to 1, or left out, got 1\.1"),
        ({"imbalance": -0.1}, r"device capabilities\.imbalance must be a share from 0 to 1, or left out, got -0\.1"),
        ({"max_charge_per_phase_uc": "x"}, r"device capabilities\.max_charge_per_phase_uc must be a number above 0"),
    ],
)
def test_wrong_capabilities_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        read_capabilities({**HELLO, **changes})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, r"lease must be an object, got None"),
        ({"number": 1.0}, r"lease\.number must be a whole number, got 1\.0"),
        ({"waveform": "x"}, r"lease\.waveform must be biphasic, .*, got 'x'"),
        ({"end_ma": "2"}, r"lease\.end_ma must be a number, got '2'"),
        ({"duration_s": None}, r"lease\.duration_s must be a number, got None"),
        ({"charge_uc": 10**400}, r"lease\.charge_uc must be a number"),
    ],
)
def test_a_wrong_lease_is_refused_in_one_line(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_lease(values and {**lease_message(make_lease()), **values})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "yes"}, r"answer must be ack, nack or status, got 'yes'"),
        ({"lease": "1"}, r"lease must be a whole number in \[0, 2\*\*53\), got '1'"),
        ({"is_on": None}, r"is_on must be true or false, got None"),
    ],
)
def test_a_wrong_answer_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_answer({**answer_message(DeviceAnswer("ack", 0, False, 0.0), 1), **changes})


@pytest.mark.parametrize("line", [b"hello", b"[1]", b"\xff\xfe", b"{" * 20_000])
def test_a_line_that_is_no_object_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"a line must be (JSON|a JSON object), got "):
        decode_line(line)


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line and line.strip())), st.data())
def test_lines_do_not_depend_on_how_they_were_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = LineSplitter()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.split(stream[begin:end])
    assert found == lines


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a line must have at most 65536 bytes, got more"):
        LineSplitter().split(b"x" * 65_537)


@pytest.mark.parametrize("said", [0.001, 1000.0, 2.0, -1.0, "1", [], True])
def test_a_meter_in_another_unit_is_found_by_a_known_dose_before_anything_is_given(said: Any) -> None:
    with pytest.raises(DeviceError, match=r"known_dose_uc must be 1 for 10 pulses of 1 mA and 100 us .*another unit"):
        check_meter({**HELLO, "known_dose_uc": said})


def test_a_device_counts_or_says_that_it_does_not() -> None:
    assert check_meter(HELLO)
    assert check_meter({**HELLO, "known_dose_uc": 1.04})
    assert not check_meter({**HELLO, "known_dose_uc": None})
    assert not check_meter({})
    assert count_dose({"waveform": "biphasic", "amplitude_ma": 2.0, "pulse_width_us": 300.0, "pulses": 5}) == 3.0
    assert count_dose("much") is None
