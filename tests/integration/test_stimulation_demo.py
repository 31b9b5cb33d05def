"""The demonstration that stimulates, and the closed-loop measurement, as a user starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pyxdf

from neuroloop.stream.cli.main import main
from tests.integration.live import SHARING, Start, summary_of

pytestmark = pytest.mark.usefixtures("lsl_session")


def test_the_demo_arms_stimulates_refuses_stops_and_proves_it(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    picture = tmp_path / "demo.svg"
    program = start("demo", "--stimulation", "--seconds", "14", "--out", run, "--picture", picture, *SHARING,
                    "--set", "recorder.enabled=true")  # fmt: skip
    out = program.ends_well()
    proof = out.splitlines()[-1]
    assert proof.startswith("proven: stimulation.jsonl: ")
    assert proof.endswith("all within the limits")
    assert main(["verify", str(run), "--ledger", str(run / "ledger")]) == 0
    assert main(["verify", str(run)]) == 2
    assert f"config.yaml names a ledger: --ledger {str(run / 'ledger')!r}" in capsys.readouterr().err
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    commands = [one for one in events if one["type"] == "command"]
    assert {one["action"] for one in commands} == {"arm", "start", "stop", "disarm"}
    assert [one for one in commands if one["action"] == "stop" and one["reason"] == "operator: socket"]
    beyond = [
        rule for one in events if one["type"] == "refusal" for rule in one["rules"] if rule["rule"] == "shannon_k"
    ]
    assert beyond
    assert all(rule["value"] == pytest.approx(2.0177, abs=1e-4) for rule in beyond)
    assert summary_of(run)["stimulation"]["doses"] >= 1
    assert all(word in picture.read_text(encoding="utf-8") for word in ("STIMULATING", "24&#160;h", "armed"))

    streams, _ = pyxdf.load_xdf(str(run / "signals.xdf"), synchronize_clocks=False, dejitter_timestamps=False)
    (said,) = [one for one in streams if one["info"]["name"][0] == "stimulation-stimulation"]
    markers = [json.loads(text) for (text,) in said["time_series"]]
    expected = [one["id"] for one in events if one["type"] in ("command", "refusal")]
    assert sorted(one["id"] for one in markers) == sorted(expected)
    assert {"arm", "stim_start", "stim_stop", "disarm", "refuse"} == {one["ev"] for one in markers}

    assert main(["export", str(run), "--bids", str(tmp_path / "bids")]) == 0
    (table,) = (tmp_path / "bids").rglob("*_events.tsv")
    assert "\telectrical_stimulation_simulated\t" in table.read_text(encoding="utf-8")


def test_the_closed_loop_is_measured_onset_by_onset(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "measured"
    program = start("latency", "latency", "--events", "6", "--stops", "4", "--null", "0", "--out", out, *SHARING,
                    "--set", "source.simulator.n_channels=8", "--set", "source.simulator.sfreq=250")  # fmt: skip
    program.ends_well()
    record = json.loads((out / "latency.json").read_text(encoding="utf-8"))["pipeline"]
    assert record["onsets"] == 6
    assert record["answered"] + record["missed"] == 6
    assert record["answered"] >= 1
    figures = record["latency"]
    assert figures["system"]["n"] == record["answered"]
    assert 0 < figures["system"]["p50_us"] < figures["onset_to_output"]["p50_us"]
    assert figures["decision"]["n"] > 100
    assert record["stops_asked"] == 4
    assert 0 < figures["stop"]["n"] <= 4
    assert record["algorithmic_delay_s"]["total"] == pytest.approx(0.062, abs=0.01)
    assert (out / "latency.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["latency", "--events", "0"], "events must be in [1, 1000000], got 0"),
        (["demo"], "classifier.bundle must be left out, the network is set by hand, got 'demo'"),
        (
            ["latency", "--loopback-channel", "TRIG"],
            "source.kind must be 'lsl', and stimulation given, for a wired loop",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["latency", *arguments, "--out", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err


def test_a_demo_with_a_script_is_refused_for_a_real_device(capsys: pytest.CaptureFixture[str]) -> None:
    real = [
        "--set",
        "stimulation.device.kind=tcp",
        "--set",
        "stimulation.device.port=9",
        "--set",
        "stimulation.mode=real",
    ]
    assert main(["demo", "--stimulation", *real]) == 1
    assert "stimulation.device.kind must be 'simulated' where a script arms, got 'tcp'" in capsys.readouterr().err


def test_the_two_demos_are_not_shown_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--stimulation", "--kafka"]) == 1
    assert "stimulation must be left out with --kafka" in capsys.readouterr().err
