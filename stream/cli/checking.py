"""``neuroloop check``: all faults of a configuration, then what it would compute."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.loading import Places, dump_config, load_with_places
from neuroloop.config.recommendations import rows_of
from neuroloop.config.source import OwnSourceSettings
from neuroloop.config.tree import Config
from neuroloop.models.classifier import LstmClassifier
from neuroloop.processors.stages.verdict import Verdict
from neuroloop.sinks.guarded import check_sinks
from neuroloop.sinks.stimulator.envelope.assessing import assess_table, assessment_text
from neuroloop.sinks.stimulator.gate.episode import look_warnings
from neuroloop.stream.assembly.build import build
from neuroloop.stream.assembly.bundles import decision_of, load_classifier
from neuroloop.stream.assembly.own_policy import prove_policy
from neuroloop.stream.assembly.own_stages import prove_stages
from neuroloop.stream.assembly.plan import Plan
from neuroloop.stream.assembly.stage_checks import build_stages
from neuroloop.stream.cli.recordings import open_selected
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.publish_plan import publish_plan, publish_plan_lines
from neuroloop.stream.sources.own_source import check_source
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.wire.messages import MAX_CHANNELS, SFREQ_HZ
from neuroloop.stream.worker.snapshot_size import plan_snapshot

_SHAPE = re.compile(r"([0-9]{1,6})x([0-9]{1,9}(?:\.[0-9]{1,9})?)", re.ASCII)


def _stream_of(config: Config, options: argparse.Namespace) -> StreamInfo | None:
    """Return the stream to plan for: the one given, the simulator's, or what the bundle was made for."""
    if options.stream is not None:
        shape = _SHAPE.fullmatch(str(options.stream))
        if shape is not None and not options.stream.exists():
            return _stream_of_shape(int(shape[1]), float(shape[2]))
        return open_selected(options.stream, options, config.source)[1].info
    if config.source.kind == "simulator":
        return Simulator(config.source.simulator).info
    if config.source.kind == "recording":
        return open_selected(Path(str(config.source.path)), options, config.source)[1].info
    bundle = load_classifier(config) if config.classifier and config.classifier.bundle else None
    if bundle is None:
        return None
    expected = bundle.settings.input
    types = ("EEG",) * len(expected.ch_names)
    return StreamInfo(config.name, "EEG", "", expected.sfreq, expected.ch_names, types, expected.ch_units)


def _stream_of_shape(n_channels: int, sfreq: float) -> StreamInfo:
    """Return a stream of EEG of which nothing is known but how large it is."""
    if not (0 < n_channels <= MAX_CHANNELS and SFREQ_HZ[0] <= sfreq <= SFREQ_HZ[1]):
        rule = f"of 1 to {MAX_CHANNELS} channels at {SFREQ_HZ[0]:g} to {SFREQ_HZ[1]:g} Hz"
        raise ConfigError(f"stream must be {rule}, got {n_channels}x{sfreq:g}")
    names = tuple(f"ch{k + 1}" for k in range(n_channels))
    return StreamInfo("shape", "EEG", "", sfreq, names, ("EEG",) * n_channels, ("uV",) * n_channels)


def _prove(config: Config, info: StreamInfo | None) -> tuple[list[tuple[int, str, Verdict]], Verdict | None]:
    """Prove the stages and the policy that are not built in, for the stream or, where none is known, a made one."""
    if info is None:
        info = Simulator(config.source.simulator).info
        print(
            f"note: no stream is known, so the proof is for a made one of {info.n_channels} channels at "
            f"{info.sfreq:g} Hz (--stream RECORDING names yours)",
            file=sys.stderr,
        )
    bundle = load_classifier(config) if config.classifier and config.classifier.bundle else None
    settings = bundle.settings.stages if bundle is not None else config.stages
    stages = build_stages(settings, info)
    found = prove_stages(settings, stages)
    if bundle is None or config.classifier is None:
        return found, None
    feature_info = stages[-1].info_out if stages else info
    classifier = LstmClassifier(bundle, feature_info, mode=config.classifier.mode, name=config.classifier.name)
    return found, prove_policy(decision_of(config, bundle), classifier.info_out)


def run_check(options: argparse.Namespace) -> int:
    """Print every fault, or the plan."""
    config: Config | None = None
    places: Places | None = None
    plan: Plan | None = None
    classes: tuple[str, ...] | None = None
    stimulation: dict[str, Any] | None = None
    publication: dict[str, Any] | None = None
    snapshot: dict[str, Any] | None = None
    faults: list[str] = []
    proofs: list[tuple[int, str, Verdict]] = []
    of_policy: Verdict | None = None
    try:
        config, places = load_with_places(options.config, options.set)
        check_sinks(config.sinks or ())
        if isinstance(config.source, OwnSourceSettings):
            check_source(config.source)
        info = _stream_of(config, options)
        if options.prove:
            proofs, of_policy = _prove(config, info)
        if info is not None:
            built = build(config, info, for_worker=config.worker is not None)
            plan, classes = built.plan, built.classes
            if config.worker is not None:
                snapshot = plan_snapshot(config, built.pipeline)
            if config.kafka is not None and config.kafka.publish:
                publication = publish_plan(config.kafka, info, stream=config.source.stream_id)
    except NeuroloopError as error:
        faults = [places.locate(fault) if places is not None else fault for fault in error.lines()]
    if config is not None and places is not None and config.stimulation is not None:
        try:
            stimulation = assess_table(config.stimulation, classes)
            for one, row in zip(stimulation["rows"], rows_of(config.stimulation), strict=True):
                ramp_s, window_s = one["numbers"]["ramp_s"], None if plan is None else plan.warmup_s
                one["warnings"] += look_warnings(row, config.stimulation.gate, ramp_s=ramp_s, window_s=window_s)
        except ConfigError as error:
            faults += [places.locate(fault) for fault in error.faults]
    for index, name, verdict in proofs:
        if verdict.verdict == "refused" and config is not None and places is not None:
            rule = f"stages.{index}.kind must hold what every stage holds, got {name!r}: {verdict.reason}"
            faults.append(places.locate(rule))
    if of_policy is not None and of_policy.verdict == "refused" and places is not None:
        faults.append(places.locate(f"decision.kind must hold what every policy holds, got: {of_policy.reason}"))
    if options.json:
        record: dict[str, Any] = {
            "ok": not faults,
            "faults": faults,
            "config": json.loads(config.model_dump_json()) if config is not None else None,
            "plan": plan.as_dict() if plan is not None else None,
            "stimulation": stimulation,
            "publication": publication,
            "snapshot": snapshot,
            "proofs": [{"stage": name, **asdict(verdict)} for _, name, verdict in proofs],
            **({"policy_proof": asdict(of_policy)} if of_policy is not None else {}),
        }
        print(json.dumps(record, indent=2))
    for fault in faults:
        print(f"neuroloop check: {fault}", file=sys.stderr)
    if faults:
        return 1
    if config is not None and not options.json:
        _print_plan(config, plan)
        if stimulation is not None:
            print(assessment_text(stimulation))
        if snapshot is not None:
            print(
                f"worker: a snapshot of at most {snapshot['bytes'] / 1000:.0f} kB, "
                f"{snapshot['refill_s']:.2f} s of signal read again to resume"
            )
        for line in publish_plan_lines(publication) if publication is not None else ():
            print(line)
        for _, name, verdict in proofs:
            print(f"proof of {name!r}: {verdict}")
        if of_policy is not None:
            print(f"proof of the policy: {of_policy}")
    return 0


def _print_plan(config: Config, plan: Plan | None) -> None:
    """Print the plan as a table, or what is known without a stream."""
    print(f"{config.name}: {config.description or 'no description'}")
    if plan is None:
        print(dump_config(config), end="")
        print("rates, delays and memory follow from the stream: add --stream RECORDING")
        return
    stream = plan.stream
    print(f"stream {stream.name!r}: {stream.n_channels} channels at {stream.sfreq:g} Hz")
    print(f"{'stage':<14} {'rows/s':>10} {'columns':>8} {'delay ms':>9} {'warm-up':>8} {'memory':>10}")
    for row in plan.stages:
        print(
            f"{row['name']:<14} {row['sfreq']:>10.4f} {row['n_channels']:>8} {row['delay_s'] * 1e3:>9.2f} "
            f"{row['warmup_samples']:>8} {row['memory_bytes']:>8} B"
        )
        if "own_kind" in row:
            known = Verdict(**row["proof"])
            print(f"  of your own: {row['own_kind']}, code {row['code_sha256'][:12]}, {known}")
        for text in row["left_out"]:
            print(f"  left out: {text}")
    if plan.own_policy:
        own = plan.own_policy
        print(f"policy of your own: {own['own_kind']}, code {own['code_sha256'][:12]}, {Verdict(**own['proof'])}")
    for one in plan.monitors:
        print(
            f"drift monitor {one['name']!r} on {one['tap']}: {one['rule']}, window {one['window_s']:g} s every "
            f"{one['hop_s']:g} s, {one['n_columns']} columns; baseline: {one['baseline']}"
        )
    print(
        f"algorithmic delay {plan.delay_s * 1e3:.2f} ms, warm-up {plan.warmup_s:.3f} s, "
        f"memory {plan.memory_bytes / 1024:.0f} KiB"
    )
    print(f"plan {plan.hash}")
