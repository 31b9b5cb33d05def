"""Arrays through a pipeline in the user's hands: the numbers of a run, however they are cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroloop as nl
from neuroloop.stream.contracts.events import canonical

BANDS: dict[str, Any] = {
    "stages": [
        {"kind": "filter", "name": "filter", "designs": [{"kind": "bandpass", "low_hz": 1, "high_hz": 40}]},
        {"kind": "bandpower", "name": "power", "window_s": 0.5, "hop_s": 0.1, "bands": {"alpha": [8, 13]}},
    ]
}


def noise(n_samples: int = 1000, n_channels: int = 3) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(1).normal(size=(n_samples, n_channels))


def cuts(n_samples: int, seed: int) -> list[slice]:
    """Cut an array at random, empty pieces included."""
    sizes, rng = [0], np.random.default_rng(seed)
    while sizes[-1] < n_samples:
        sizes.append(min(n_samples, sizes[-1] + int(rng.integers(0, 300))))
    return [slice(a, b) for a, b in pairwise(sizes)]


def joined(results: list[nl.Result], stage: str) -> tuple[list[str], bytes, bytes, bytes]:
    """Return what all results say of the events and of one stage."""
    outputs = [result.outputs[stage] for result in results]
    return (
        [line for result in results for line in result.canonical_lines()],
        b"".join(one.data.tobytes() for one in outputs),
        b"".join(one.timestamps.tobytes() for one in outputs),
        b"".join(one.valid.tobytes() for one in outputs),
    )


def in_the_run(run: nl.Run, stage: str) -> tuple[list[str], bytes, bytes, bytes]:
    """Return what a run says of them."""
    rows = run.signals(stage)
    lines = [canonical(event) for event in run.events]
    return lines, rows.data.tobytes(), rows.timestamps.tobytes(), rows.valid.tobytes()


def test_an_edf_in_random_pieces_gives_what_its_replay_gives(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "edf" / "motor_T0T1T2_64ch_128Hz.edf"
    run = nl.replay(path, "monitor", out=tmp_path / "run", outputs=["bandpower"], chunking="random:3")
    recording = nl.open_recording(path)
    (stream,) = recording.streams
    with nl.open_pipeline("monitor", stream, outputs=["bandpower"]) as pipeline:
        results = []
        for n, part in enumerate(cuts(stream.n_samples, seed=5)):
            numbers = None if stream.sample_numbers is None else stream.sample_numbers[part]
            markers = () if n else recording.markers_for(stream)
            results.append(
                pipeline.push(stream.data[part], stream.timestamps[part], sample_numbers=numbers, markers=markers)
            )
        results.append(pipeline.finish())
        assert pipeline.plan.hash == run.plan["hash"]
    assert joined(results, "bandpower") == in_the_run(run, "bandpower")
    assert len(run.of_type("marker")) > 10


def test_a_simulated_night_gives_the_states_of_its_replay(tmp_path: Path) -> None:
    stream = nl.simulate(20)
    np.savez(
        tmp_path / "simulator.npz", data=stream.data, timestamps=stream.timestamps, samples=np.arange(stream.n_samples),
        channels=np.array(stream.info.ch_names), sfreq=250.0, units=np.array(stream.info.ch_units),
    )  # fmt: skip
    run = nl.replay(tmp_path / "simulator.npz", "demo", out=tmp_path / "run", outputs=["classifier"])
    with nl.open_pipeline("demo", stream) as pipeline:
        results = [pipeline.push(stream.data[part]) for part in cuts(stream.n_samples, seed=2)]
        results.append(pipeline.finish())
    assert joined(results, "classifier") == in_the_run(run, "classifier")
    assert {event.values["state"] for result in results for event in result.states} >= {"rest", "alpha"}


def test_the_array_stays_the_callers_own() -> None:
    x, stamps = noise(), np.arange(1000) / 250
    before, stamps_before = x.copy(), stamps.copy()
    with nl.open_pipeline(BANDS, sfreq=250, units="uV", outputs=["input", "power"]) as pipeline:
        result = pipeline.push(x, stamps)
        assert x.flags.writeable
        assert stamps.flags.writeable
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(stamps, stamps_before)
        x[:] = stamps[:] = 0.0
        np.testing.assert_array_equal(result.outputs["input"].data, before)
        result.outputs["power"].data[:] = 0.0  # what came back is the caller's too


def test_read_only_float32_and_transposed_arrays_give_the_same() -> None:
    x = noise().astype(np.float32)
    frozen = x.copy()
    frozen.flags.writeable = False
    variants = [x.astype(np.float64), x, frozen, np.asfortranarray(x), x.tolist()]
    with_each = []
    for variant in variants:
        with nl.open_pipeline(BANDS, sfreq=250, units="uV") as pipeline:
            with_each.append(pipeline.push(variant).outputs["power"].data.tobytes())
    assert len(set(with_each)) == 1


def test_chunks_of_an_output_go_into_another_pipeline() -> None:
    info = nl.stream_info(sfreq=250, n_channels=3, units="uV")
    x = noise()
    chunk = nl.Chunk(x, np.arange(1000) / 250, 0, np.ones(1000, np.bool_), info)
    with nl.open_pipeline(BANDS, info) as one, nl.open_pipeline(BANDS, info) as other:
        first, second = one.push(chunk.slice(0, 400)), one.push(chunk.slice(400, 1000))
        both = other.push(x)
    np.testing.assert_array_equal(
        np.concatenate([first.outputs["power"].data, second.outputs["power"].data]), both.outputs["power"].data
    )


def test_missing_samples_are_seen_by_the_callers_own_count() -> None:
    with nl.open_pipeline(BANDS, sfreq=250, units="uV") as pipeline:
        numbers = np.r_[0:500, 520:1000]
        result = pipeline.push(noise(980), sample_numbers=numbers)
    (gap,) = result.of_type("gap")
    assert (gap.sample, gap.values["missing"]) == (520, 20)
    assert result.outputs["filter"].samples.tolist() == list(range(1000))
    assert not result.outputs["filter"].valid[500:520].any()


def test_markers_become_events_at_their_samples() -> None:
    with nl.open_pipeline(BANDS, sfreq=250, units="uV") as pipeline:
        first = pipeline.push(noise(250), markers=[(0.5, "cue"), nl.Marker(3.0, "late")])
        assert [(one.sample, one.values["label"]) for one in first.of_type("marker")] == [(125, "cue")]
        rest = pipeline.finish()
    assert [one.values["label"] for one in rest.of_type("marker")] == ["late"]


def test_a_configuration_may_be_a_file_settings_or_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "name: lab\nstages:\n  - {kind: bandpower, name: power, window_s: 0.5, hop_s: 0.1, bands: {alpha: [8, 13]}}\n",
        encoding="utf-8",
    )
    for config in (tmp_path / "lab.yaml", str(tmp_path / "lab.yaml"), nl.load_config(str(tmp_path / "lab.yaml"))):
        with nl.open_pipeline(config, sfreq=250, units="uV", channels=["C3", "C4"]) as pipeline:
            assert pipeline.stages == ("power",)
            assert pipeline.push(noise(250, 2)).outputs["power"].channels == ("C3:alpha", "C4:alpha")


def test_a_mapping_is_not_changed() -> None:
    settings = {"stages": [{**BANDS["stages"][1]}]}
    with nl.open_pipeline(settings, sfreq=250, units="uV", channels=2) as pipeline:
        assert pipeline.config.name == "pipeline"
    assert settings == {"stages": [BANDS["stages"][1]]}


def test_a_description_fills_in_what_is_left_out() -> None:
    info = nl.stream_info(sfreq=250, n_channels=2, units="µV")
    assert (info.ch_names, info.ch_units, info.ch_types) == (("ch1", "ch2"), ("uV", "uV"), ("misc", "misc"))
    assert nl.stream_info(sfreq=250, channels=["C3", "ECG"]).ch_types == ("EEG", "ECG")
    plain = nl.StreamInfo(name="amp", type="EEG", sfreq=250, ch_names=("C3", "C4"))
    assert (plain.ch_types, plain.ch_units) == (("EEG", "EEG"), ("", ""))
    with nl.open_pipeline(BANDS, plain, units="uV") as pipeline:
        assert pipeline.info.ch_units == ("uV", "uV")


@pytest.mark.parametrize("wanted", [["power"], ["input", "filter"]])
def test_only_the_wanted_outputs_are_kept(wanted: list[str]) -> None:
    with nl.open_pipeline(BANDS, sfreq=250, units="uV", outputs=wanted) as pipeline:
        assert list(pipeline.push(noise()).outputs) == wanted
