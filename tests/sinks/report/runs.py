"""Run folders made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LATENCY = {
    "rows": {"loop": {"n": 9, "p50_us": 40.0, "p95_us": 90.0, "p99_us": 120.0, "p99.9_us": 500.0, "max_us": 900}}
}
CLASSES = ("rest", "seizure")


def event(kind: str, sample: int, k: int = 0, **values: Any) -> dict[str, Any]:
    identity = {"id": f"amp/{kind}/{sample}/{k}", "type": kind, "stream": "amp", "sample": sample}
    delivery = {"age_s": None, "latency_s": None, "host": None, "wall_time": None}
    return {**identity, "time": sample / 250, "delay_s": 0.4, **values, **delivery}


def start(n_channels: int = 2) -> dict[str, Any]:
    names = [f"C{index}" for index in range(n_channels)]
    return event("stream", 0, what="start", content="EEG", sfreq=250.0, channels=names, units=["uV"] * n_channels)


def decisions(n: int, *, hop: int = 25) -> Iterator[dict[str, Any]]:
    """Predictions that swing, a state where the label changes."""
    before = None
    for k in range(n):
        p = (k % 40) / 40
        label = CLASSES[p > 0.5]
        yield event(
            "prediction",
            (k + 1) * hop,
            k,
            label=label,
            confidence=max(p, 1 - p),
            probabilities=[1 - p, p],
            valid=k % 97 != 5,
        )
        if label != before:
            yield event("state", (k + 1) * hop, k, state=label, previous=before, confidence=max(p, 1 - p))
            before = label


def losses() -> list[dict[str, Any]]:
    return [
        event("gap", 700, missing=20, duration_s=0.08, first_missing=680, filled=True),
        event("gap", 3000, missing=1000, duration_s=4.0, first_missing=2000, filled=False),
        event("stream", 4000, 1, what="lost"),
        event("stream", 4100, 2, what="found"),
        event("artifact", 4500, first_sample=4300, channels=["C0"]),
        event("skip", 4800, skipped=100),
        event("marker", 500, label="eyes closed", marker_stream="m", marker_time=2.0),
    ]


def write_run(folder: Path, events: Iterable[dict[str, Any]], *, n_samples: int = 5000, **summary: Any) -> Path:
    """Write a whole run folder."""
    folder.mkdir()
    (folder / "config.yaml").write_text("name: monitor\ndescription: by hand\n", encoding="utf-8")
    with (folder / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in events)
    (folder / "latency.json").write_text(json.dumps(LATENCY))
    (folder / "provenance.json").write_text(json.dumps({"config_sha256": "ab" * 32, "versions": {"numpy": "2.4.6"}}))
    books = {
        "stream": {"name": "amp", "type": "EEG", "sfreq": 250.0, "effective_sfreq": 250.01, "n_channels": 2},
        "samples": {
            "in": n_samples,
            "processed": n_samples,
            "counted": {"duplicates": 0},
            "balanced": True,
            "missing": {"filled": 20, "jumped": 1000},
        },
        "quality": {"nonfinite": 3},
        "states": {"rest": 10.0, "seizure": 6.0},
        "notes": ["the file says so"],
        **summary,
    }
    (folder / "summary.json").write_text(json.dumps(books))
    return folder
