"""What became of each onset, from files written by hand, and the figures made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.sinks.stimulator.log.chain import Chain
from neuroloop.stream.tools.latency.detector import stream_of
from neuroloop.stream.tools.latency.figures import figures
from neuroloop.stream.tools.latency.measure import stop_latencies
from neuroloop.stream.tools.latency.onsets import OnsetPlan, OnsetSignal
from neuroloop.stream.tools.latency.picture import save_histogram
from neuroloop.stream.tools.latency.sender import SentRows
from neuroloop.stream.tools.latency.trace import Dose, LoopbackError, answer, read_edges, read_trace

SFREQ = 1000.0
BASE_NS = 5_000_000_000_000


def sent_rows(n: int = 400) -> SentRows:
    """Pushed a millisecond apart, row 0 at `BASE_NS`; stamps begin at 77 s."""
    return SentRows(BASE_NS + 1_000_000 * np.arange(n, dtype=np.int64), 77.0, SFREQ)


def pushed(row: int) -> int:
    return BASE_NS + 1_000_000 * row


def write_log(path: Path, records: list[dict[str, Any]]) -> None:
    chain = Chain()
    path.write_bytes(b"".join(chain.add(record) for record in records))


def took(number: int, kind: str, t_ns: int, **values: Any) -> dict[str, Any]:
    return {"in": number, "kind": kind, "t_ns": t_ns, "wall_ns": 0, "lsl_s": 0.0, "values": values}


def started(number: int, lease: int) -> dict[str, Any]:
    train = {"frequency_hz": 20.0, "amplitude_ma": 1.0, "pulse_width_us": 100.0, "waveform": "biphasic"}
    held = {"number": lease, "train": train, "slew_ma_s": 1.0, "duration_s": 0.5, "charge_uc": 1.0}
    return {"out": number, "kind": "command", "values": {"action": "start"}, "lease": held, "event": {}}


def make_run(folder: Path) -> Path:
    folder.mkdir()
    write_log(
        folder / "stimulation.jsonl",
        [
            took(0, "setup", BASE_NS),
            took(1, "event", pushed(110) + 300_000, type="prediction", time=77.110),
            took(2, "event", pushed(120) + 400_000, type="prediction", time=77.120),
            started(2, 1),
            {"act": "start", "of": 2, "t_ns": pushed(120) + 900_000, "lease": 1, "waited_ns": 350_000},
            took(3, "operator", pushed(150), verb="stop"),
            {"act": "stop", "of": 3, "t_ns": pushed(150) + 50_000},
            took(4, "event", pushed(320) + 500_000, type="prediction", time=77.320),
            started(4, 2),
            {"act": "start", "of": 4, "t_ns": pushed(320) + 700_000, "lease": 2},
        ],
    )
    edges = [
        {"what": "edge", "t_ns": pushed(120) + 950_000, "is_on": True, "lease": 1, "ended_by": ""},
        {"what": "edge", "t_ns": pushed(150) + 90_000, "is_on": False, "lease": 1, "ended_by": "stop"},
        {"what": "interval", "t_ns": 0},
        {"what": "edge", "t_ns": pushed(320) + 800_000, "is_on": True, "lease": 2, "ended_by": ""},
        {"what": "edge", "t_ns": pushed(330), "is_on": False, "lease": 2, "ended_by": "lease_over"},
    ]
    (folder / "device.jsonl").write_text("".join(json.dumps(one) + "\n" for one in edges), encoding="utf-8")
    return folder


def test_a_dose_is_followed_from_the_push_of_its_newest_sample_to_the_edge(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    trace = read_trace(run, run / "device.jsonl", sent_rows())
    assert trace.doses == [
        Dose(1, 120, pushed(120) + 400_000, 350_000, pushed(120) + 900_000, pushed(120) + 950_000),
        Dose(2, 320, pushed(320) + 500_000, 0, pushed(320) + 700_000, pushed(320) + 800_000),
    ]
    assert trace.decision_latency_ns(sent_rows()).tolist() == [300_000, 400_000, 500_000]
    assert trace.on_edges_ns == [pushed(120) + 950_000, pushed(320) + 800_000]
    assert trace.off_edges_ns == [pushed(150) + 90_000, pushed(330)]


def test_onsets_without_an_answer_are_missed_and_second_answers_are_false() -> None:
    signal = OnsetSignal(stream_of(1, SFREQ, "bench"), OnsetPlan(4, lead_s=0.1))
    first, second, third, _ = signal.onsets.tolist()
    rows = [(first - 1, 1), (first + 20, 1), (second + 20, 0), (third + 1, 1), (third + 30, 1)]
    doses = [Dose(lease, row, 0, 0, 0, edge) for lease, (row, edge) in enumerate(rows, start=1)]
    found = answer(signal, doses)
    assert {onset: dose.lease for onset, dose in found.doses.items()} == {0: 2, 2: 4}
    assert found.n_missed == 2
    assert found.n_false == 3
    assert answer(signal, doses[:2], n_onsets=1).n_missed == 0


def test_a_stop_counts_to_the_edge_that_follows_and_only_if_the_output_was_on() -> None:
    on, off = [100, 6_000, 9_500, 30_000], [1_400, 6_500, 9_700, 31_000]
    assert stop_latencies([1_000], on, off).tolist() == [400]
    assert stop_latencies([5_000], on, off).tolist() == []  # the next dose ends at 6,500, by itself
    assert stop_latencies([1_000, 5_000, 9_600, 40_000], on, off).tolist() == [400, 100]
    assert stop_latencies([30_500], on, off[:-1]).tolist() == []


def test_a_broken_device_record_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "device.jsonl"
    with pytest.raises(LoopbackError, match=r"device record must be readable lines of JSON, got 'device\.jsonl'"):
        read_edges(path)
    path.write_text('{"what": "edge"}\n', encoding="utf-8")
    with pytest.raises(LoopbackError, match="device record must be readable lines of JSON"):
        read_edges(path)


def test_figures_are_order_statistics_that_no_value_exceeds_too_often() -> None:
    found = figures([1000 * value for value in range(1, 1001)])
    assert found["n"] == 1000
    assert [found[key] for key in ("p50_us", "p95_us", "p99_us", "p99.9_us", "max_us", "min_us")] == [
        500.0, 950.0, 990.0, 999.0, 1000.0, 1.0,
    ]  # fmt: skip
    assert found["iqr_us"] == 500.0
    assert found["jitter_us"] == 490.0
    assert found["mean_us"] == 500.5
    assert found["sd_us"] == pytest.approx(np.arange(1, 1001).std())
    assert figures([7000])["p99.9_us"] == 7.0
    assert figures([]) == {"n": 0}


def test_the_picture_is_one_and_empty_series_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "latency.png"
    values = np.arange(1, 5000, dtype=np.int64) * 1000
    save_histogram(path, {"system": values, "none": values[:0]}, title="closed loop", note="by hand")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
