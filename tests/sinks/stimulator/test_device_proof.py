"""The device's own record against the limits, from records written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.config.loading import load_config
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.device_proof import DeviceProof, prove_device
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import load_hard_limits

LEASE = {"number": 3, "waveform": "biphasic", "frequency_hz": 20.0, "pulse_width_us": 200.0}


def interval(**changed: Any) -> dict[str, Any]:
    values = {"what": "interval", "on_ns": 0, "off_ns": 400_000_000, "from_ma": 0.0, "to_ma": 2.5, "charge_uc": 4.0,
              "is_granted": True, "reached_ns": 400_000_000, "ended_by": "renewed"}  # fmt: skip
    lease = {key: changed.pop(key) for key in tuple(changed) if key in LEASE}
    return {**values, **changed, "lease": {**LEASE, **lease}}


def edge(is_on: bool) -> dict[str, Any]:
    return {"what": "edge", "is_on": is_on, "lease": 3}


def prove(folder: Path, *lines: dict[str, Any]) -> DeviceProof:
    path = folder / "device.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    settings = load_config("stimulation", []).stimulation
    assert isinstance(settings, StimulationSettings)
    return prove_device(path, settings, session_limits(settings, load_hard_limits()[0]))


def test_a_record_within_the_limits_is_proven_and_counted(tmp_path: Path) -> None:
    proof = prove(
        tmp_path,
        {"what": "opened"},
        edge(True),
        interval(),
        interval(from_ma=2.5, on_ns=400_000_000, off_ns=800_000_000),
        edge(False),
    )
    assert proof.findings == ()
    assert proof.line() == "2 leases, on for 0.8 s, 0.008 mC, all within the limits"


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"to_ma": 5.0, "pulse_width_us": 500.0}, "charge_density_uc_cm2 must be at most 30, got 41.6667"),
        ({"to_ma": 5.0, "pulse_width_us": 500.0}, "shannon_k must be at most 1.5, got 2.01773"),
        ({"to_ma": 11.0, "pulse_width_us": 10.0}, "amplitude_ma must be at most 10, got 11"),
        ({"frequency_hz": 300.0, "pulse_width_us": 10.0}, "frequency_hz must be at most 200, got 300"),
        ({"off_ns": 600_000_000}, "lease_s must be at most 0.5, got 0.6"),
        ({"reached_ns": 200_000_000}, "slew_ma_s must be at most 10, got 12.5"),
        ({"from_ma": 1.0}, "a step must be at most 0.01 mA, one of the device's, got 1"),
        ({"is_granted": False}, "the output must be off without a lease, got on"),
    ],
)
def test_what_is_beyond_a_limit_is_found_with_its_number(tmp_path: Path, changed: dict[str, Any], finding: str) -> None:
    assert f"lease 3: {finding}" in prove(tmp_path, interval(**changed)).findings


def test_a_step_at_a_renewal_is_found(tmp_path: Path) -> None:
    later = interval(on_ns=400_000_000, off_ns=800_000_000, reached_ns=400_000_000, from_ma=3.5, to_ma=3.5)
    assert (
        "lease 3: a step must be at most 0.01 mA, one of the device's, got 1"
        in prove(tmp_path, interval(), later).findings
    )


def test_an_output_left_on_and_too_much_charge_are_found(tmp_path: Path) -> None:
    proof = prove(tmp_path, edge(True), interval(charge_uc=6000.0))
    assert proof.findings == (
        "the output must be off at the end, got on",
        "session_charge_mc must be at most 5, got 6",
    )


def test_a_record_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = load_config("stimulation", []).stimulation
    assert settings is not None
    limits = session_limits(settings, load_hard_limits()[0])
    with pytest.raises(RecordingError, match=r"device record must be lines of JSON, got 'none\.jsonl'"):
        prove_device(tmp_path / "none.jsonl", settings, limits)
