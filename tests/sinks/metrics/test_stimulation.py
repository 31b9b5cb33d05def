"""Metric families of a run that stimulates, from counters, without a run."""

from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.metrics.run import RunCollector
from neuroloop.sinks.metrics.stimulation import StimulationMetrics
from neuroloop.sinks.stimulator.counting import ENVELOPE_RULES, REFUSAL_RULES, StimulationCounts, stimulation_counters
from neuroloop.sinks.stimulator.envelope.envelope import Envelope
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import load_hard_limits
from neuroloop.sinks.stimulator.gate.machine import STATES
from neuroloop.sinks.stimulator.records import GateOutput
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.ring.counters import CounterBlock

INFO = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))


def make() -> tuple[StimulationCounts, CollectorRegistry]:
    block = CounterBlock.private(stimulation_counters())
    registry = CollectorRegistry()
    registry.register(StimulationMetrics(block, pipeline="p", stream="cap"))
    return StimulationCounts(block), registry


def went(to: str) -> GateOutput:
    return GateOutput("transition", {"from": "INIT", "to": to, "reason": "test"})


def command(action: str, *, is_event: bool = True) -> GateOutput:
    train = {"amplitude_ma": 2.5, "frequency_hz": 20.0, "pulse_width_us": 200.0}
    return GateOutput("command", {"action": action, **train}, None, is_event)


def refusal(*rules: str) -> GateOutput:
    return GateOutput("refusal", {"what": "start", "rules": [{"rule": rule} for rule in rules]}, None, True)


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    shown = ("action", "rule", "state", "le")
    return {
        " ".join([sample.name, *(sample.labels[key] for key in shown if key in sample.labels)]): sample.value
        for family in parse_text(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_every_action_rule_and_state_is_there_from_the_start() -> None:
    _, registry = make()
    values = scraped(registry)
    for action in ("arm", "disarm", "start", "stop"):
        assert values[f"neuroloop_commands_total {action}"] == 0
    for rule in (*REFUSAL_RULES, "other"):
        assert values[f"neuroloop_refusals_total {rule}"] == 0
    assert [values[f"neuroloop_stimulator_state {state}"] for state in STATES] == [1] + [0] * 8
    assert values["neuroloop_stimulation_charge_coulombs_total"] == 0
    assert values["neuroloop_stimulator_armed_until_timestamp_seconds"] == 0
    assert "neuroloop_stimulator_heartbeat_timestamp_seconds" not in values
    assert "neuroloop_stimulation_day_charge_limit_coulombs" not in values


def test_what_the_gate_does_reaches_the_scrape() -> None:
    counts, registry = make()
    counts.take([went("RAMP_UP"), command("start"), command("renew", is_event=False), command("status")])
    counts.take([command("start"), refusal("shannon_k", "armed"), refusal("a rule of tomorrow"), went("STIMULATING")])
    counts.put(session_uc=1500.0, day_uc=2500.0, day_limit_uc=36_000.0)
    values = scraped(registry)
    assert values["neuroloop_commands_total start"] == 2
    assert values["neuroloop_refusals_total shannon_k"] == 1
    assert values["neuroloop_refusals_total other"] == 1
    assert sum(values[f"neuroloop_commands_total {action}"] for action in ("arm", "disarm", "stop")) == 0
    assert [state for state in STATES if values[f"neuroloop_stimulator_state {state}"]] == ["STIMULATING"]
    assert values["neuroloop_stimulation_charge_coulombs_total"] == pytest.approx(1.5e-3)
    assert values["neuroloop_stimulation_day_charge_coulombs"] == pytest.approx(2.5e-3)
    assert values["neuroloop_stimulation_day_charge_limit_coulombs"] == pytest.approx(36e-3)
    assert values["neuroloop_stimulation_amplitude_amperes"] == pytest.approx(2.5e-3)


def test_entering_the_fault_state_is_counted_and_the_amplitude_is_gone() -> None:
    counts, registry = make()
    counts.take([went("RAMP_UP"), command("start"), went("FAULT"), went("DISARMED"), went("FAULT")])
    values = scraped(registry)
    assert values["neuroloop_stimulator_faults_total"] == 2
    assert values["neuroloop_stimulation_amplitude_amperes"] == 0


def test_what_a_sham_dose_leaves_out_changes_no_number() -> None:
    (real, real_registry), (sham, sham_registry) = make(), make()
    begin = [went("RAMP_UP"), command("start"), command("renew", is_event=False), went("STIMULATING")]
    real.take([*begin, *[command("renew", is_event=False)] * 9, command("stop")])
    sham.take([*begin, command("stop", is_event=False), command("stop")])
    assert scraped(real_registry) == scraped(sham_registry)


@pytest.mark.parametrize("waveform", ["biphasic", "monophasic", "direct", "sine"])
@pytest.mark.parametrize("profile", ["tens", "tdcs", "tacs"])
def test_every_rule_of_the_envelope_has_a_slot(waveform: str, profile: str) -> None:
    row = {"state": "a", "waveform": waveform, "amplitude_ma": 1.0, "duration_s": 10.0}
    row |= {} if waveform == "direct" else {"frequency_hz": 20.0}
    row |= {"pulse_width_us": 100.0} if waveform.endswith("phasic") else {}
    settings = StimulationSettings.model_validate(
        {"electrode_area_cm2": 5.0, "route": "transcutaneous", "profile": profile, "table": [row]}
    )
    hard, _ = load_hard_limits()
    envelope = Envelope(settings, session_limits(settings, hard), hard.shannon, None)
    rules = {check.rule for row in settings.table or () for check in envelope.assess(row).checks}
    assert len(rules) > 8
    assert {rule for rule in rules if not rule.startswith(("quantised_", "device_"))} <= set(ENVELOPE_RULES)


def test_moments_become_unix_times_past_and_to_come() -> None:
    counts, registry = make()
    begin = time.time()
    counts.put(heartbeat_ns=time.monotonic_ns() - 3_000_000_000, armed_until_ns=time.monotonic_ns() + 60_000_000_000)
    values = scraped(registry)
    slack_s = 0.1 + time.time() - begin
    beat, until = (values[f"neuroloop_stimulator_{name}_timestamp_seconds"] for name in ("heartbeat", "armed_until"))
    assert beat == pytest.approx(begin - 3.0, abs=slack_s)
    assert until == pytest.approx(begin + 60.0, abs=slack_s)


def test_latencies_are_cumulative_histograms() -> None:
    counts, registry = make()
    counts.observe_fsync(2e-3)
    counts.observe_command(3e-4)
    counts.observe_command(10.0)
    counts.observe_stop(5e-5)
    values = scraped(registry)
    assert values["neuroloop_stimulator_fsync_seconds_count"] == 1
    assert values["neuroloop_stimulator_command_seconds_bucket 0.00032"] == 1
    assert values["neuroloop_stimulator_command_seconds_bucket +Inf"] == 2
    assert values["neuroloop_stimulator_command_seconds_sum"] == pytest.approx(10.0003)
    assert values["neuroloop_stimulator_stop_seconds_bucket 8e-05"] == 1


def test_both_formats_parse_to_the_same_families() -> None:
    counts, registry = make()
    counts.put(heartbeat_ns=time.monotonic_ns(), day_limit_uc=1.0, session_limit_uc=1.0)
    classic = {family.name for family in parse_text(generate_latest(registry).decode())}
    modern = parse_openmetrics(generate_openmetrics(registry).decode())  # type: ignore[no-untyped-call]
    assert classic == {family.name for family in modern}
    assert len(classic) == 14


@pytest.mark.parametrize("stimulates", [True, False])
def test_a_run_without_stimulation_has_no_family_of_it(stimulates: bool) -> None:
    shared = Shared.make(INFO, stages=["filter"], classes=["rest"], ring_s=1.0)
    block = CounterBlock.private(stimulation_counters())
    families = StimulationMetrics(block, pipeline="p", stream="cap")
    collector = RunCollector(
        shared.counters, pipeline="p", stream="cap", classes=shared.classes, stage_figures=dict,
        ring_status=shared.samples.status, beside=(families,) if stimulates else (),
    )  # fmt: skip
    names = {family.name for family in collector.collect()}
    ours = {name for name in names if "stimul" in name or name in ("neuroloop_commands", "neuroloop_refusals")}
    assert bool(ours) is stimulates
    shared.close()
