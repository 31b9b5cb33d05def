"""Hard limits, session limits, and the verdict on every row."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.stimulation import LimitSettings
from neuroloop.sinks.stimulator.envelope import profiles
from neuroloop.sinks.stimulator.envelope.assessing import assess_table, assessment_text
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Envelope
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import (
    HARD_LIMITS_FILE,
    HARD_LIMITS_SHA256,
    file_sha256,
    load_hard_limits,
)
from tests.sinks.stimulator.rig import CAPABILITIES, EXAMPLE, HARD, SHIPPED, row, settings


def assess(one: Any, **values: Any) -> Assessment:
    chosen = settings(**values)
    return Envelope(chosen, session_limits(chosen, HARD), HARD.shannon, CAPABILITIES).assess(one)


def rules(found: Assessment) -> list[str]:
    return [check.rule for check in found.failures]


def test_the_example_is_refused_on_a_small_contact_with_both_numbers() -> None:
    low, medium, high = (assess(one) for one in EXAMPLE)
    assert low.is_allowed
    assert medium.is_allowed
    assert rules(high) == ["charge_density_uc_cm2", "shannon_k"]
    assert high.reason == (
        "charge_density_uc_cm2 must be at most 30, got 41.67; shannon_k must be at most 1.5, got 2.018"
    )


def test_the_example_is_harmless_on_a_large_pad() -> None:
    found = [assess(one, electrode_area_cm2=25.0, route="transcutaneous") for one in EXAMPLE]
    assert all(one.is_allowed for one in found)
    assert found[2].numbers["shannon_k"] < 0
    assert found[2].numbers["rms_density_ma_cm2"] == pytest.approx(0.063, abs=0.001)


def test_a_k_between_the_default_and_the_hard_limit_can_be_asked_for_and_warns() -> None:
    strong = row(amplitude_ma=6.5)  # 1.3 uC on .05 cm2: k = 1.529
    assert rules(assess(strong, electrode_area_cm2=0.05)) == ["shannon_k"]
    found = assess(strong, electrode_area_cm2=0.05, limits={"max_shannon_k": 1.7})
    assert found.is_allowed
    assert [check.rule for check in found.checks if check.warns] == ["shannon_k"]


@pytest.mark.parametrize(
    ("values", "failing"),
    [
        ({"waveform": "monophasic"}, ["waveform", "net_dc_ua"]),
        ({"amplitude_ma": 10.01, "pulse_width_us": 100.0}, ["device_amplitude_ma", "amplitude_ma"]),
        ({"pulse_width_us": 600.0, "amplitude_ma": 1.0}, ["pulse_width_us"]),
        ({"frequency_hz": 250.0}, ["device_frequency_hz", "frequency_hz"]),
        ({"frequency_hz": 200.0, "pulse_width_us": 400.0, "amplitude_ma": 0.5}, ["duty"]),
        ({"duration_s": 3601.0}, ["dose_s"]),
        ({"duration_s": 2.0}, ["ramps_s"]),
        ({"amplitude_ma": 0.009}, ["quantised_amplitude_ma"]),
    ],
)
def test_each_rule_refuses_alone(values: dict[str, Any], failing: list[str]) -> None:
    assert rules(assess(row(**values))) == failing


@pytest.mark.parametrize(
    ("limits", "failing"),
    [
        ({"max_charge_per_phase_uc": 0.39}, "charge_per_phase_uc"),
        ({"max_charge_density_uc_cm2": 6.6}, "charge_density_uc_cm2"),
        ({"max_shannon_k": 0.4}, "shannon_k"),
        ({"max_current_density_ma_cm2": 33.0}, "current_density_ma_cm2"),
        ({"max_rms_ma": 0.28}, "rms_ma"),
        ({"max_rms_density_ma_cm2": 4.7}, "rms_density_ma_cm2"),
        ({"max_duty": 0.019}, "duty"),
        ({"max_pulse_energy_mj": 0.00039}, "pulse_energy_mj"),
        ({"min_ramp_s": 1.1}, "ramp_s"),
        ({"max_session_s": 59.0}, "dose_session_s"),
        ({"max_session_charge_mc": 1.1}, "dose_session_charge_mc"),
        ({"max_day_charge_mc": 1.1}, "dose_day_charge_mc"),
    ],
)
def test_each_limit_of_the_session_refuses_alone(limits: dict[str, float], failing: str) -> None:
    assert assess(row()).is_allowed
    assert rules(assess(row(), limits=limits)) == [failing]


def test_a_voltage_that_the_stated_impedance_needs_is_refused_above_its_limit() -> None:
    limits = session_limits(settings(), HARD).model_copy(update={"max_voltage_v": 0.99})
    found = Envelope(settings(), limits, HARD.shannon, CAPABILITIES).assess(row())
    assert found.numbers["voltage_v"] == 1.0
    assert rules(found) == ["voltage_v"]


def test_a_value_on_a_limit_is_allowed() -> None:
    on = row(amplitude_ma=9.0, pulse_width_us=200.0)  # 1.8 uC on .06 cm2: 30 uC/cm2 to the last digit
    found = assess(on, limits={"max_shannon_k": 1.75})
    assert found.numbers["charge_density_uc_cm2"] == 30.0
    assert found.is_allowed


def test_what_is_judged_is_what_the_device_can_be_set_to() -> None:
    found = assess(row(amplitude_ma=2.5067, pulse_width_us=200.9, frequency_hz=50.04))
    assert (found.train.amplitude_ma, found.train.pulse_width_us, found.train.frequency_hz) == (2.5, 200.0, 50.0)
    assert found.numbers["charge_per_phase_uc"] == 0.5


def test_a_ramp_is_as_long_as_the_slew_limit_needs() -> None:
    assert assess(row(), limits={"max_slew_ma_s": 0.5}).ramp_s == 4.0
    assert assess(row()).ramp_s == 1.0


def test_alternating_current_near_the_eyes_needs_an_override() -> None:
    sine = row(waveform="sine", frequency_hz=10.0, pulse_width_us=0.0, amplitude_ma=1.0)
    place = {"electrode_area_cm2": 25.0, "route": "transcutaneous", "profile": "tacs", "gate": {"ramp_s": 5.0}}
    assert rules(assess(sine, **place)) == ["requires_override"]
    assert "requires_override must be true from 5 to 30 Hz, got False" in assess(sine, **place).reason
    assert assess(sine.model_copy(update={"requires_override": True}), **place).is_allowed


def test_the_three_maxima_of_direct_current_are_separate() -> None:
    place: dict[str, Any] = {"electrode_area_cm2": 25.0, "route": "transcutaneous", "profile": "tdcs"}
    direct = row(waveform="direct", frequency_hz=0.0, pulse_width_us=0.0, amplitude_ma=2.0, duration_s=1800.0)
    assert assess(direct, **place, gate={"ramp_s": 30.0}).is_allowed
    tight = {"max_session_charge_mc": 3000.0}
    assert rules(assess(direct, **place, gate={"ramp_s": 30.0}, limits=tight)) == ["dose_session_charge_mc"]
    assert rules(assess(direct, **{**place, "electrode_area_cm2": 20.0}, gate={"ramp_s": 30.0})) == [
        "current_density_ma_cm2"
    ]


def test_a_micro_electrode_has_the_lower_charge_per_phase() -> None:
    tiny = row(amplitude_ma=0.05)
    assert "charge_per_phase_uc" in rules(assess(tiny, electrode_area_cm2=1e-5))


CUSTOM = HARD.of("custom", "implanted")


@pytest.mark.parametrize(
    "key", [key for key in LimitSettings.model_fields if key != "min_ramp_s" and getattr(CUSTOM, key) is not None]
)
def test_no_limit_can_be_loosened(key: str) -> None:
    hard = getattr(CUSTOM, key)
    looser = hard + 1 if isinstance(hard, int) else min(hard * 1.01, 1.0) if key == "max_duty" else hard * 1.01
    chosen = settings(limits={key: looser})
    with pytest.raises(ConfigError, match=rf"^stimulation\.limits\.{key} must be at most .*, got {looser!r}$"):
        session_limits(chosen, HARD)
    tighter = hard - 1 if isinstance(hard, int) else hard * 0.5
    assert getattr(session_limits(settings(limits={key: tighter}), HARD), key) == tighter


def test_a_shorter_ramp_than_the_hard_one_is_a_fault() -> None:
    place: dict[str, Any] = {"electrode_area_cm2": 25.0, "route": "transcutaneous", "profile": "tdcs"}
    with pytest.raises(ConfigError, match=r"stimulation\.limits\.min_ramp_s must be at least 10, got 1\.0"):
        session_limits(settings(limits={"min_ramp_s": 1.0}, **place), HARD)


def test_all_loose_limits_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        session_limits(settings(limits={"max_amplitude_ma": 99.0, "max_shannon_k": 1.8}), HARD)
    assert len(caught.value.faults) == 2


def test_k_is_never_configurable_above_the_damage_threshold() -> None:
    with pytest.raises(ValueError, match=r"less than or equal to 1\.85"):
        LimitSettings(max_shannon_k=1.86)
    for routes in HARD.profiles.values():
        if routes.implanted is not None:
            assert (routes.implanted.max_shannon_k or 9) <= 1.75
            assert routes.implanted.waveforms == ("biphasic",)


def test_a_profile_has_only_its_routes() -> None:
    with pytest.raises(ConfigError, match=r"stimulation\.route must be 'transcutaneous' for profile 'tdcs'"):
        session_limits(settings(profile="tdcs"), HARD)


def test_the_shipped_limits_are_the_known_ones() -> None:
    assert file_sha256(HARD_LIMITS_FILE) == HARD_LIMITS_SHA256
    assert load_hard_limits()[1] == HARD_LIMITS_SHA256


@pytest.mark.parametrize("named", [None, "hard", "path"])
def test_altered_shipped_limits_are_not_taken_by_whatever_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    altered = tmp_path / "hard.yaml"
    altered.write_text(HARD_LIMITS_FILE.read_text("utf-8").replace("30.0", "60.0"), "utf-8")
    monkeypatch.setattr(profiles, "LIMITS_FOLDER", tmp_path)
    monkeypatch.setattr(profiles, "HARD_LIMITS_FILE", altered)
    with pytest.raises(ConfigError, match=r"hard\.yaml must be the one that was shipped"):
        load_hard_limits(str(altered) if named == "path" else named, file_sha256(altered))


def test_a_file_of_ones_own_is_taken_only_with_its_hash(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(HARD_LIMITS_FILE.read_text("utf-8").replace("30.0", "60.0"), "utf-8")
    sha256 = hashlib.sha256(own.read_bytes()).hexdigest()
    for pinned, got in ((None, "nothing"), ("0" * 64, "0" * 64), (HARD_LIMITS_SHA256, HARD_LIMITS_SHA256)):
        with pytest.raises(ConfigError, match=rf"^stimulation\.hard_limits_sha256 must be .* {sha256}, .*, got {got}$"):
            load_hard_limits(str(own), pinned)
    assert load_hard_limits(str(own), sha256)[0].of("custom", "implanted").max_charge_density_uc_cm2 == 60.0


def test_a_pin_holds_for_the_shipped_files_too() -> None:
    assert load_hard_limits("hard", HARD_LIMITS_SHA256)[1] == HARD_LIMITS_SHA256
    for named in (None, "hard", "bench"):
        with pytest.raises(ConfigError, match=r"^stimulation\.hard_limits_sha256 must be that of "):
            load_hard_limits(named, "0" * 64)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_shannon_k: 1.75", "max_shannon_k: 1.9", r"max_shannon_k must be less than or equal to 1\.85, got 1\.9"),
        ("waveforms: [biphasic]", "waveforms: [monophasic]", r"implanted\.waveforms must be \['biphasic'\]"),
        ("max_net_dc_ua: 0.1 ", "# ", r"implanted\.max_net_dc_ua must be given"),
        ("version: 1", "version: 2", r"version must be 1, got 2"),
        ("\ngate:", "\nshannons:", r"gate must be given, got nothing"),
        ("arming_s: 3600.0", "arming_s: 1.0e+10", r"gate\.at_most\.arming_s must be .* 86400, got 10000000000\.0"),
        ("max_missing: 0.2 ", "max_missing: 0.99 ", r"gate\.at_most\.max_missing must be .* 0\.5, got 0\.99"),
        ("    confirm_n: 2", "    # ", r"gate\.at_least\.confirm_n must be given, got nothing"),
    ],
)
def test_a_file_of_ones_own_cannot_allow_everything(tmp_path: Path, old: str, new: str, message: str) -> None:
    own = tmp_path / "own.yaml"
    text = HARD_LIMITS_FILE.read_text("utf-8")
    assert old in text
    own.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(ConfigError, match=message):
        load_hard_limits(str(own))


def test_a_missing_file_of_limits_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stimulation\.hard_limits_file must be a readable file"):
        load_hard_limits(str(tmp_path / "none.yaml"))


def test_the_table_is_assessed_as_json_and_as_text() -> None:
    found = assess_table(settings(), classes=("low", "high"))
    assert [one["verdict"] for one in found["rows"]] == ["allowed", "allowed", "refused"]
    assert [one["is_asked_for"] for one in found["rows"]] == [True, False, True]
    text = assessment_text(found)
    assert "refused: charge_density_uc_cm2 must be at most 30, got 41.67" in text
    assert "refused: shannon_k must be at most 1.5, got 2.018" in text
    assert "never asked for" in text


@pytest.mark.parametrize(
    ("area_cm2", "place", "said"),
    [
        (6.0, {}, r"from 1e-06 to 0\.3 cm2 \(0\.0001 to 30 mm2\) for profile 'custom' and route 'implanted', "
         r"got 6 cm2, which are 600 mm2: is it 6 mm2, 0\.06 cm2\?$"),
        (6000.0, {}, r"got 6000 cm2, which are 600000 mm2$"),
        (6.0, {"profile": "dbs"}, r"from 0\.005 to 0\.2 cm2 \(0\.5 to 20 mm2\) for profile 'dbs' .*: is it 6 mm2"),
        (0.0006, {"profile": "dbs"}, r"got 0\.0006 cm2, which are 0\.06 mm2$"),
        (2500.0, {"profile": "tdcs", "route": "transcutaneous"}, r"got 2500 cm2, .*: is it 2500 mm2, 25 cm2\?$"),
        (0.25, {"profile": "tdcs", "route": "transcutaneous"}, r"got 0\.25 cm2, which are 25 mm2$"),
    ],
)  # fmt: skip
def test_an_area_that_no_electrode_has_is_refused_in_both_units(
    area_cm2: float, place: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=r"^stimulation\.electrode_area_cm2 must be ") as caught:
        session_limits(settings(electrode_area_cm2=area_cm2, **place), HARD)
    assert len(caught.value.faults) == 1
    assert caught.match(said)


def test_square_millimetres_for_square_centimetres_are_plausible_nowhere_but_for_micro_electrodes() -> None:
    for profile, routes in HARD.profiles.items():
        for route, one in (("implanted", routes.implanted), ("transcutaneous", routes.transcutaneous)):
            if one is not None and (profile, route) != ("custom", "implanted"):
                assert one.max_area_cm2 < 100 * one.min_area_cm2


@pytest.mark.parametrize("load_ohm", [1e-6, 99.0, 1.1e6])
def test_an_impedance_that_no_electrode_has_is_refused(load_ohm: float) -> None:
    with pytest.raises(ConfigError, match=r"^stimulation\.impedance_ohm must be from 100 to 1e\+06 for .*, got "):
        session_limits(settings(impedance_ohm=load_ohm), HARD)
    assert session_limits(settings(impedance_ohm=100.0), HARD)
    assert session_limits(settings(impedance_ohm=1e6), HARD)


REAL: dict[str, Any] = {"mode": "real", "device": {"kind": "tcp", "port": 9}, "subject": "S01", "electrode": "E1",
                        "electrode_shape": {"kind": "cylinder", "diameter_mm": 1.27, "length_mm": 1.5}}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("electrode_shape", r"given for a device of kind 'tcp' and an implanted contact: .*, got nothing"),
        ("subject", r"named for a device of kind 'tcp': charge is counted by name, got 'unnamed'"),
        ("electrode", r"named for a device of kind 'tcp': charge is counted by name, got 'unnamed'"),
    ],
)
def test_a_device_that_is_not_simulated_needs_names_and_a_shape(key: str, fault: str) -> None:
    assert session_limits(settings(**REAL), HARD)
    with pytest.raises(ConfigError, match=rf"^stimulation\.{key} must be {fault}$"):
        session_limits(settings(**{name: one for name, one in REAL.items() if name != key}), HARD)


def test_a_pad_on_the_skin_needs_no_shape() -> None:
    pad = REAL | {"electrode_shape": None, "route": "transcutaneous", "electrode_area_cm2": 25.0}
    assert session_limits(settings(**pad), HARD)


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("arming_s", 1e10, "most 3600"),
        ("arming_s", 3600.1, "most 3600"),
        ("armed_total_s", 86400.1, "most 86400"),
        ("watchdog_s", 1.1, "most 1"),
        ("max_age_s", 1.1, "most 1"),
        ("max_missing", 0.99, "most 0.2"),
        ("missing_window_s", 1e9, "most 10"),
        ("max_clock_step_s", 1e9, "most 0.05"),
        ("blanking_s", 2.1, "most 2"),
        ("pulse_blanking_s", 0.11, "most 0.1"),
        ("blanking_s", 0.09, "least 0.1"),
        ("hold_off_s", 0.9, "least 1"),
        ("confirm_n", 1, "least 2"),
        ("refractory_s", 0.0, "least 1"),
        ("lockout_s", 59.0, "least 60"),
    ],
)
def test_a_setting_of_the_gate_is_bounded_by_the_hard_limits(key: str, value: float, bound: str) -> None:
    with pytest.raises(ConfigError) as caught:
        session_limits(settings(gate={key: value}), SHIPPED)
    assert caught.value.faults == (f"stimulation.gate.{key} must be at {bound}, got {value!r}",)


def test_the_gates_defaults_and_its_bounds_themselves_are_within_the_hard_limits() -> None:
    assert session_limits(settings(), SHIPPED)
    on = {"arming_s": 3600.0, "watchdog_s": 1.0, "max_age_s": 1.0, "max_missing": 0.2, "missing_window_s": 10.0,
          "max_clock_step_s": 0.05, "blanking_s": 2.0, "pulse_blanking_s": 0.1, "hold_off_s": 1.0, "confirm_n": 2,
          "refractory_s": 1.0, "lockout_s": 60.0}  # fmt: skip
    assert session_limits(settings(gate=on), SHIPPED)


def test_once_a_day_stimulation_waits_half_a_day_after_a_whole_dose() -> None:
    pad: dict[str, Any] = {"electrode_area_cm2": 25.0, "route": "transcutaneous", "profile": "tdcs"}
    with pytest.raises(ConfigError, match=r"^stimulation\.gate\.lockout_s must be at least 43200, got 600\.0$"):
        session_limits(settings(gate={"lockout_s": 600.0}, **pad), SHIPPED)


def test_a_row_that_asks_for_too_little_confidence_is_refused() -> None:
    chosen = settings()
    envelope = Envelope(chosen, session_limits(chosen, SHIPPED), SHIPPED.shannon, CAPABILITIES)
    assert envelope.assess(row(min_confidence=0.5)).is_allowed
    found = envelope.assess(row(min_confidence=0.49))
    assert found.reason == "row_min_confidence must be at least 0.5, got 0.49"


def with_imbalance(stated: float | None, **values: Any) -> list[str]:
    """Return by which rules 20 uC a second fail on a device that says this of itself."""
    chosen = settings(**values)
    device = replace(CAPABILITIES, imbalance=stated)
    return rules(Envelope(chosen, session_limits(chosen, HARD), HARD.shannon, device).assess(row()))


def test_a_device_whose_phases_do_not_match_is_refused_by_its_net_current() -> None:
    assert with_imbalance(0.005) == []  # 2 mA * 200 us * 50 Hz * 0.5 % are 0.1 uA, which is the limit
    assert with_imbalance(0.0051) == ["net_dc_ua"]


def test_a_device_of_which_nothing_is_known_has_the_imbalance_of_the_limits() -> None:
    assert with_imbalance(None) == ["net_dc_ua"]  # 1 % of 20 uA
    assert with_imbalance(None, device={"kind": "simulated", "imbalance": 0.001}) == []


def test_of_two_statements_about_imbalance_the_larger_counts() -> None:
    assert with_imbalance(0.0, device={"kind": "simulated", "imbalance": 0.0051}) == ["net_dc_ua"]
    assert with_imbalance(0.0051, device={"kind": "simulated", "imbalance": 0.0}) == ["net_dc_ua"]


def test_before_the_device_is_opened_a_real_one_has_the_imbalance_of_the_limits() -> None:
    assert assess_table(settings())["imbalance"] == 0.001
    assert assess_table(settings(**REAL))["imbalance"] == 0.01
    named = REAL | {"device": {"kind": "tcp", "port": 9, "imbalance": 0.002}}
    assert assess_table(settings(**named))["imbalance"] == 0.002


@pytest.mark.parametrize(("profile", "area_cm2"), [("tacs", 12.5), ("custom", 12.5)])
def test_a_sine_that_is_direct_current_for_minutes_is_refused(profile: str, area_cm2: float) -> None:
    place: dict[str, Any] = {"electrode_area_cm2": area_cm2, "route": "transcutaneous", "profile": profile}
    slow = row(waveform="sine", frequency_hz=0.0005, pulse_width_us=0.0, amplitude_ma=2.0, duration_s=2000.0)
    for hertz in (0.0005, 0.49):
        one = slow.model_copy(update={"frequency_hz": hertz})
        chosen = settings(gate={"ramp_s": 5.0}, **place)
        envelope = Envelope(chosen, session_limits(chosen, HARD), HARD.shannon, None)
        failing = rules(envelope.assess(one))
        assert {"min_frequency_hz", "charge_per_phase_uc"} <= set(failing)  # 2 mA / pi / 0.49 Hz are 1299 uC


def test_a_slow_oscillation_of_half_a_hertz_is_allowed() -> None:
    place: dict[str, Any] = {"electrode_area_cm2": 25.0, "route": "transcutaneous", "profile": "tacs"}
    sine = row(waveform="sine", frequency_hz=0.5, pulse_width_us=0.0, amplitude_ma=2.0, duration_s=1000.0)
    assert assess(sine, gate={"ramp_s": 5.0}, **place).is_allowed


def test_limits_that_allow_sines_must_say_how_slow(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(HARD_LIMITS_FILE.read_text("utf-8").replace("min_frequency_hz: 0.5", "# "), "utf-8")
    with pytest.raises(ConfigError, match=r"transcutaneous\.min_frequency_hz must be given where sines are allowed"):
        load_hard_limits(str(own), file_sha256(own))
