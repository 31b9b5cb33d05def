"""Accuracy of a running model where label markers say what was true."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from config.drift import AccuracySettings
from stream.contracts.events import Event


def reference_accuracy(bundle_folder: Path) -> float | None:
    """Return the accuracy that a bundle's training reported; nothing where it has no report.

    Parameters
    ----------
    bundle_folder : Path
        Where the bundle lies.
    """
    try:
        report = json.loads((bundle_folder / "training" / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = report.get("accuracy") if isinstance(report, dict) else None
    return float(value) if isinstance(value, int | float) else None


class OnlineAccuracy:
    """Match decisions with the labels that markers bring, by stream time.

    A label holds from its marker until the next one. A decision at ``t`` is judged by what held at ``t - delay_s``,
    once the stream is ``wait_s`` past ``t``, so that markers may come late. Flagged decisions are not judged.

    Parameters
    ----------
    settings : AccuracySettings

    Attributes
    ----------
    n_judged, n_right : int
        Decisions judged so far, and how many of them were right.
    """

    def __init__(self, settings: AccuracySettings) -> None:
        self._settings = settings
        self._labels: list[tuple[float, str]] = []
        self._waiting: deque[tuple[float, str]] = deque()
        self._hits: deque[bool] = deque(maxlen=settings.decisions)
        self.n_judged = 0
        self.n_right = 0

    @property
    def value(self) -> float | None:
        """Share of right ones among the newest judged decisions; nothing before the first."""
        return sum(self._hits) / len(self._hits) if self._hits else None

    def report(self) -> dict[str, float | int | None]:
        """Return the accuracy and how many decisions were judged, for the books of a run."""
        return {"newest": self.value, "judged": self.n_judged, "right": self.n_right}

    def add(self, events: Sequence[Event]) -> None:
        """Take events in their order; only predictions and markers count."""
        for event in events:
            if event.type == "marker":
                self._add_marker(event)
            elif event.type == "prediction":
                if event.values["valid"]:
                    self._waiting.append((event.time, event.values["label"]))
                self._judge(event.time - self._settings.wait_s)

    def finish(self) -> None:
        """Judge what still waits: no marker will come."""
        self._judge(float("inf"))

    def _add_marker(self, event: Event) -> None:
        settings, label = self._settings, event.values["label"]
        if label not in settings.labels or settings.marker_stream not in (None, event.values["marker_stream"]):
            return
        self._labels.append((event.values["marker_time"], settings.labels[label]))
        self._labels.sort(key=lambda one: one[0])

    def _judge(self, until: float) -> None:
        """Judge all decisions up to a time and forget labels that no later one can need."""
        while self._waiting and self._waiting[0][0] <= until:
            time, decided = self._waiting.popleft()
            about = time - self._settings.delay_s
            while len(self._labels) > 1 and self._labels[1][0] <= about:
                del self._labels[0]
            if not self._labels or self._labels[0][0] > about:
                continue
            truth = self._labels[0][1]
            if truth:
                self._hits.append(decided == truth)
                self.n_judged += 1
                self.n_right += int(decided == truth)
