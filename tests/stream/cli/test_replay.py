"""``neuroloop replay``: the run folder, equal bytes for any chunking, dumps, and one clear line for what is wrong."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from neuroloop.models.bundle import load_bundle, save_bundle
from neuroloop.stream.contracts.events import canonical
from tests.stream.cli.conftest import Command, write_npz

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "stream" / "contracts" / "events.schema.json").read_text(encoding="utf-8"))
DEMO = ROOT / "models" / "bundles" / "demo"


def test_a_replay_writes_a_whole_run_folder(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    done = neuroloop("replay", recording, "--config", "demo", "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.yaml",
        "events.jsonl",
        "latency.json",
        "provenance.json",
        "summary.json",
    ]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    samples = summary["samples"]
    assert samples["in"] == samples["processed"] + sum(samples["counted"].values()) == 5000
    assert samples["balanced"] is True
    assert {"gaps", "backward", "timing", "channels", "warnings"} <= set(summary["quality"])
    assert [channel["finite"] for channel in summary["quality"]["channels"]] == [5000] * summary["stream"]["n_channels"]
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text(encoding="utf-8"))
    assert {"config_sha256", "plan_sha256", "bundle_sha256", "code_sha256", "versions"} <= set(provenance)
    assert "host" not in provenance
    rows = json.loads((tmp_path / "run" / "latency.json").read_text(encoding="utf-8"))["rows"]
    assert {"p50_us", "p95_us", "p99_us", "p99.9_us", "max_us"} <= set(rows["loop"])


def test_what_is_written_of_a_person_is_for_this_account_alone(
    neuroloop: Command, recording: Path, tmp_path: Path
) -> None:
    dump = ("--dump", f"bandpower={tmp_path / 'run' / 'power.npz'}")
    done = neuroloop("replay", recording, "--config", "monitor", "--out", tmp_path / "run", *dump)
    assert done.status == 0, done.err
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert len(modes) >= 6
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    before = os.umask(0)
    os.umask(before)
    assert before == 0o022, "the caller's own setting is left as it was"


def test_every_event_obeys_the_schema_and_the_order(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    neuroloop("replay", recording, "--config", "demo", "--out", tmp_path / "run")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    lines = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert len(events) > 50
    for event in events:
        validator.validate(event)
        assert event["id"].split("/")[-2] == str(event["sample"])
        assert event["age_s"] is event["latency_s"] is event["host"] is event["wall_time"] is None
    assert [event["sample"] for event in events] == sorted(event["sample"] for event in events)
    assert {event["type"] for event in events} == {"stream", "prediction", "state"}


@pytest.mark.parametrize("chunk", ["1", "37", "random:7", "random:8", "100000"])
def test_any_chunking_gives_the_same_bytes(neuroloop: Command, recording: Path, tmp_path: Path, chunk: str) -> None:
    dumps = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for name, dump, options in (("a", dumps[0], []), ("b", dumps[1], ["--chunk", chunk])):
        done = neuroloop(
            "replay", recording, "--config", "demo", "--out", tmp_path / name,
            "--dump", f"bandpower={dump}", *options,
        )  # fmt: skip
        assert done.status == 0, done.err
    assert (tmp_path / "a" / "events.jsonl").read_bytes() == (tmp_path / "b" / "events.jsonl").read_bytes()
    assert dumps[0].read_bytes() == dumps[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("config", ["demo", "monitor"])
def test_a_cpu_with_fewer_features_gives_the_same_bytes(
    neuroloop: Command, recording: Path, tmp_path: Path, config: str
) -> None:
    plain, masked = tmp_path / "plain", tmp_path / "masked"
    arguments = ["replay", str(recording), "--config", config]
    neuroloop(*arguments, "--out", plain, "--dump", f"bandpower={plain}.npz")
    environment = os.environ | {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX2,-AVX,-FMA,-ERMS",
        "NPY_DISABLE_CPU_FEATURES": " ".join(_numpy_features()),
    }
    if config == "demo":  # kernels too, for a CPU of 2008 without AVX and fused multiply-add
        environment |= {
            "NUMBA_CPU_NAME": "nehalem",
            "NUMBA_CPU_FEATURES": "",
            "NEUROLOOP_CACHE": str(tmp_path / "cache"),
        }
    command = [sys.executable, "-W", "ignore", "-m", "neuroloop.stream.cli.main", *arguments]
    done = subprocess.run(
        [*command, "--out", str(masked), "--dump", f"bandpower={masked}.npz"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (plain / "events.jsonl").read_bytes() == (masked / "events.jsonl").read_bytes()
    assert Path(f"{plain}.npz").read_bytes() == Path(f"{masked}.npz").read_bytes()
    hashes = [
        json.loads((run / "provenance.json").read_text(encoding="utf-8"))["plan_sha256"] for run in (plain, masked)
    ]
    assert hashes[0] == hashes[1]


def _numpy_features() -> list[str]:
    """Return the CPU features that this NumPy uses here and can be told not to use."""
    umath = importlib.import_module("numpy._core._multiarray_umath")
    return [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]


def test_a_dump_is_a_recording_again(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    dump = tmp_path / "input.npz"
    neuroloop("replay", recording, "--config", "demo", "--out", tmp_path / "first", "--dump", f"input={dump}")
    again = neuroloop("replay", dump, "--config", "demo", "--out", tmp_path / "second")
    assert again.status == 0, again.err
    first, second = (
        [
            canonical(json.loads(line))
            for line in (tmp_path / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for name in ("first", "second")
    )
    assert [line.replace("input/", "simulated/").replace('"input"', '"simulated"') for line in second] == first
    with np.load(dump) as arrays:
        assert set(arrays) == {
            "data", "timestamps", "valid", "first_sample", "samples", "channels", "sfreq", "units",
        }  # fmt: skip
        assert arrays["data"].shape == (5000, 8)


def test_speed_follows_the_clock(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    done = neuroloop("replay", recording, "--config", "monitor", "--out", tmp_path / "run", "--speed", "40")
    assert done.status == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["elapsed_s"] >= 0.5 * (1 - 256 / 5000)


def test_an_earlier_run_is_never_overwritten(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    neuroloop("replay", recording, "--config", "demo", "--out", tmp_path / "run")
    before = (tmp_path / "run" / "events.jsonl").read_bytes()
    done = neuroloop("replay", recording, "--config", "demo", "--out", tmp_path / "run")
    assert done.status == 1
    assert "out must be a new or empty folder" in done.err
    assert (tmp_path / "run" / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--config", "no-such"], "config must be a preset"),
        (["--config", "seizure"], "classifier.bundle must be the folder of a trained bundle"),
        (["--config", "demo", "--set", "classifier.bundle=/no/such/folder"], "bundle must be"),
        (["--config", "monitor", "--dump", "nothing=x.npz"], "dump must name a stage (input, filter, reference"),
        (["--config", "monitor", "--dump", "filter"], "dump must be STAGE=FILE.npz"),
        (["--config", "monitor", "--dump", "filter=x.csv"], "dump must be a file whose name ends in .npz"),
        (["--config", "monitor", "--dump", "filter=/no/such/x.npz"], "dump must be in a folder that exists"),
        (["--config", "monitor", "--dump", "filter=x.npz", "--dump", "input=x.npz"], "dump must name each file once"),
        (["--config", "monitor", "--set", "source.channels=4"], "source.channels must be the stream's number"),
        (["--config", "monitor", "--chunk", "-3"], "chunking must be"),
        (["--config", "monitor", "--chunk", "0"], "chunking must be"),
        (["--config", "monitor", "--chunk", "random:x"], "chunking must be"),
        (["--config", "monitor", "--speed", "0"], "speed must be 'max' or a number above 0"),
        (["--config", "monitor", "--speed", "fast"], "speed must be 'max' or a number above 0"),
        (["--config", "monitor", "--select", "no-such"], "no-such"),
        (["--config", "monitor", "--set", "stages.0.designs.1.high_hz=200"], "high_hz must be below sfreq/2"),
        (
            ["--config", "demo", "--set", "decision.threshold=0.9"],
            "decision.threshold must agree with the bundle's own (0.6)",
        ),
        (
            ["--config", "demo", "--set", "classifier.hop_samples=3"],
            "classifier.hop_samples must agree with the bundle",
        ),
    ],
)
def test_a_wrong_request_is_one_clear_line_and_leaves_nothing(
    neuroloop: Command, recording: Path, tmp_path: Path, arguments: list[str], rule: str
) -> None:
    done = neuroloop("replay", recording, "--out", tmp_path / "run", *arguments)
    assert done.status == 1
    assert rule in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_one_clear_line(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    done = neuroloop("replay", recording, "--config", "demo", "--out", tmp_path / "file" / "run")
    assert done.status == 1
    assert "out must be a writable folder" in done.err


@pytest.mark.parametrize(
    ("extra", "n_channels", "rule"),
    [
        ({"sfreq": 128.0}, 8, "rate 128.0 Hz in place of 250.0 Hz"),
        ({"units": np.array(["mV"] * 8)}, 8, "mV"),
        ({"channels": np.array([f"X{i}" for i in range(8)])}, 8, "X0"),
        ({}, 5, "5"),
    ],
)
def test_a_stream_that_disagrees_with_the_bundle_is_refused_saying_how(
    neuroloop: Command, tmp_path: Path, extra: dict[str, object], n_channels: int, rule: str
) -> None:
    path = write_npz(tmp_path / "other.npz", np.zeros((500, n_channels)), np.arange(500) / 250.0, **extra)
    done = neuroloop("replay", path, "--config", "demo", "--out", tmp_path / "run")
    assert done.status == 1
    assert rule in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_an_altered_bundle_is_refused(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    bundle = load_bundle(DEMO)
    save_bundle(tmp_path / "mine", bundle.settings, bundle.arrays, "card")
    weights = tmp_path / "mine" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    done = neuroloop(
        "replay", recording, "--config", "demo", "--set", f"classifier.bundle={tmp_path / 'mine'}",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.status == 1
    assert "sha256" in done.err.lower() or "altered" in done.err.lower()


def test_a_burst_of_nan_flags_its_windows_and_the_run_goes_on(
    neuroloop: Command, recording: Path, tmp_path: Path
) -> None:
    with np.load(recording) as arrays:
        data = arrays["data"].copy()
        stamps = arrays["timestamps"]
    data[2000:2050, 3] = np.nan
    path = write_npz(tmp_path / "nan.npz", data, stamps)
    done = neuroloop(
        "replay", path, "--config", "demo", "--out", tmp_path / "run", "--dump", f"bandpower={tmp_path}/b.npz"
    )
    assert done.status == 0, done.err
    with np.load(tmp_path / "b.npz") as arrays:
        assert np.isfinite(arrays["data"]).all()
        assert not arrays["valid"].all()
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    flagged = [event for event in events if event["type"] == "prediction" and not event["valid"]]
    assert flagged
    assert [
        event["state"] for event in events if event["type"] == "state" and event["sample"] == flagged[0]["sample"]
    ] == ["unknown"]


def _lines_of(run: Path, kind: str) -> list[dict[str, object]]:
    """Return the events of one type of a run."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [event for event in events if event["type"] == kind]


@pytest.mark.parametrize("extra", [{}, {"first_sample": 700}])
def test_samples_that_a_file_lacks_are_a_gap_and_not_a_silent_shift(
    neuroloop: Command, tmp_path: Path, extra: dict[str, object]
) -> None:
    kept = np.ones(2500, bool)
    kept[1000:1010] = kept[1500:2000] = False
    signal = np.random.default_rng(3).standard_normal((2500, 4))
    path = write_npz(tmp_path / "gaps.npz", signal[kept], 100.0 + np.arange(2500)[kept] / 250.0, **extra)
    done = neuroloop("replay", path, "--config", "monitor", "--out", tmp_path / "run")
    assert done.status == 0, done.err
    first = int(str(extra.get("first_sample", 0)))
    gaps = _lines_of(tmp_path / "run", "gap")
    assert [(gap["sample"], gap["missing"], gap["filled"]) for gap in gaps] == [
        (first + 1010, 10, True),
        (first + 2000, 500, False),
    ]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["samples"]["missing"] == {"filled": 10, "jumped": 500}


def test_a_counter_that_the_recording_lacks_is_refused_in_one_line(neuroloop: Command, tmp_path: Path) -> None:
    rows = "".join(f"{i / 250},{i % 7}\n" for i in range(500))
    (tmp_path / "plain.csv").write_text("time,C3\n" + rows, encoding="utf-8")
    done = neuroloop(
        "replay", tmp_path / "plain.csv", "--config", "monitor", "--set", "source.timing=counter",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.status == 1
    assert done.err.strip().endswith("source.timing must not be 'counter' for 'plain', which has no sample numbers")
    assert not (tmp_path / "run").exists()


def test_a_dump_may_lie_in_the_folder_that_the_run_makes(neuroloop: Command, recording: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = neuroloop(
        "replay", recording, "--config", "monitor", "--out", run,
        "--dump", f"input={run / 'input.npz'}", "--dump", f"filter={run / 'taps' / 'filter.npz'}",
    )  # fmt: skip
    assert done.status == 0, done.err
    with np.load(run / "input.npz") as first, np.load(run / "taps" / "filter.npz") as second:
        assert len(first["data"]) == len(second["data"]) == 5000


def test_a_decision_that_repeats_a_part_of_the_bundles_own_agrees(
    neuroloop: Command, recording: Path, tmp_path: Path
) -> None:
    arguments = ["replay", recording, "--out", tmp_path / "run"]
    done = neuroloop(*arguments, "--config", "demo", "--set", "decision.threshold=0.6")
    assert done.status == 0, done.err
    again = neuroloop("replay", recording, "--out", tmp_path / "again", "--config", tmp_path / "run" / "config.yaml")
    assert again.status == 0, again.err
    assert (tmp_path / "run" / "events.jsonl").read_bytes() == (tmp_path / "again" / "events.jsonl").read_bytes()


def _edf_of_two_rates(path: Path) -> Path:
    """Write EEG at 250 Hz and ECG at 500 Hz."""
    edfio = pytest.importorskip("edfio")
    draw = np.random.default_rng(4)
    eeg = edfio.EdfSignal(draw.standard_normal(2500), 250, label="EEG C3", physical_dimension="uV")
    ecg = edfio.EdfSignal(draw.standard_normal(5000), 500, label="ECG", physical_dimension="uV")
    edfio.Edf([eeg, ecg]).write(path)
    return path


def test_the_stream_that_the_configuration_asks_for_is_taken(neuroloop: Command, tmp_path: Path) -> None:
    path = _edf_of_two_rates(tmp_path / "two.edf")
    taken = []
    for index, options in enumerate(([], ["--set", "source.type=ECG"], ["--set", "source.type=EMG"])):
        done = neuroloop("replay", path, "--config", "monitor", "--out", tmp_path / str(index), *options)
        assert done.status == 0, done.err
        taken.append(_lines_of(tmp_path / str(index), "stream")[0]["content"])
    assert taken == ["EEG", "ECG", "EEG"]
    assert "note: two.edf has no stream of type 'EMG'" in done.err


def test_a_full_disk_is_one_clear_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    command = [sys.executable, "-W", "ignore", "-m", "neuroloop.stream.cli.main", "check", "monitor", "--json"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == ("neuroloop check: files must be readable and writable, got No space left on device")
