"""The presets that stimulate: what they allow, what they refuse, what they are for."""

from __future__ import annotations

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.config.recommendations import load_table, rows_of
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Envelope
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import load_hard_limits


def settings_of(preset: str, *overrides: str) -> StimulationSettings:
    found = load_config(preset, overrides).stimulation
    assert found is not None
    return found


def envelope_of(settings: StimulationSettings) -> Envelope:
    hard, _ = load_hard_limits(settings.hard_limits_file)
    return Envelope(settings, session_limits(settings, hard), hard.shannon, None)


def test_the_preset_allows_two_rows_and_refuses_the_third_by_density_and_k() -> None:
    settings = settings_of("stimulation")
    low, medium, high = envelope_of(settings).assess_table(rows_of(settings))
    assert low.is_allowed
    assert medium.is_allowed
    found = {check.rule: check.value for check in high.failures}
    assert found["charge_density_uc_cm2"] == pytest.approx(41.6667, abs=1e-4)
    assert found["shannon_k"] == pytest.approx(2.0177, abs=1e-4)


def test_the_presets_rows_are_those_of_the_shipped_table() -> None:
    ours, shipped = rows_of(settings_of("stimulation")), load_table("adaptive_stimulation").states
    for mine, theirs in zip(ours, shipped, strict=True):
        for key in ("frequency_hz", "amplitude_ma", "pulse_width_us", "waveform", "requires_override"):
            assert getattr(mine, key) == getattr(theirs, key)


def test_the_presets_stimulate_nobody() -> None:
    for preset in ("stimulation", "latency"):
        settings = settings_of(preset)
        assert (settings.mode, settings.device.kind) == ("simulate", "simulated")


def test_the_measurements_dose_is_within_its_limits() -> None:
    settings = settings_of("latency")
    (dose,) = envelope_of(settings).assess_table(rows_of(settings))
    assert dose.is_allowed
    assert dose.ramp_s < 1e-3


@pytest.mark.parametrize("kind", ["tcp", "serial", "lsl"])
def test_the_measurements_limits_are_refused_for_every_other_device(kind: str) -> None:
    settings = settings_of("latency", "stimulation.mode=real", f"stimulation.device.kind={kind}",
                           "stimulation.device.port=9", "stimulation.device.path=/dev/ttyS9",
                           "stimulation.subject=S01", "stimulation.electrode=E1",
                           "stimulation.electrode_shape={kind: disc, diameter_mm: 2.76}")  # fmt: skip
    hard, _ = load_hard_limits(settings.hard_limits_file)
    with pytest.raises(ConfigError, match=rf"device\.kind must be one of those .*\(simulated\), got '{kind}'"):
        session_limits(settings, hard)


def test_the_measurements_limits_allow_less_current_than_the_shipped_ones() -> None:
    bench = load_hard_limits("bench")[0].of("custom", "implanted")
    hard = load_hard_limits()[0].of("custom", "implanted")
    for key in ("max_amplitude_ma", "max_pulse_width_us", "max_charge_per_phase_uc", "max_shannon_k",
                "max_session_charge_mc", "max_dose_s", "max_duty"):  # fmt: skip
        assert getattr(bench, key) < getattr(hard, key)
