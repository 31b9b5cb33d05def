"""Accuracy of a running model where label markers say what was true."""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuroloop.config.drift import AccuracySettings
from neuroloop.config.errors import ConfigError
from neuroloop.stream.contracts.events import Event


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


def check_labels(settings: AccuracySettings, classes: Sequence[str]) -> None:
    """Refuse label rules that no decision could ever meet.

    Raises
    ------
    ConfigError
        If a label stands for no class; one line per fault.
    """
    rule = f"must be a class ({', '.join(classes)}), the index of one, or empty"
    faults = [
        f"accuracy.labels.{label} {rule}, got {meant!r}"
        for label, meant in settings.labels.items()
        if meant and class_of(meant, classes) is None
    ]
    if faults:
        raise ConfigError(*faults)


def class_of(text: str, classes: Sequence[str]) -> str | None:
    """Return the class that a label names: by its name, or by a number that is no class's name, counted from 0.

    Parameters
    ----------
    text : str
        Such as ``rest``, ``1`` or ``1.0``.
    classes : sequence of str

    Returns
    -------
    str or None
        None where there is no such class.
    """
    number = _number(text)
    named = next((name for name in classes if name == text), None)
    named = named or next((name for name in classes if number is not None and _number(name) == number), None)
    if named is None and number is not None and number.is_integer() and 0 <= number < len(classes):
        return classes[int(number)]
    return named


def _number(text: str) -> float | None:
    """Return the number that a label is, None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


class OnlineAccuracy:
    """Match decisions with the labels that markers bring, by stream time.

    A label holds from its marker until the next one. A decision at ``t`` is judged by what held at ``t - delay_s``,
    once the stream is ``wait_s`` past ``t``, so that markers may come late. Flagged decisions are not judged.

    Parameters
    ----------
    settings : AccuracySettings
    classes : sequence of str
        Of the classifier, in its order.

    Attributes
    ----------
    n_judged, n_right : int
        Decisions judged so far, and how many of them were right.
    """

    def __init__(self, settings: AccuracySettings, classes: Sequence[str]) -> None:
        self._settings = settings
        self._classes = tuple(classes)
        self._by_number = {
            number: meant for label, meant in settings.labels.items() if (number := _number(label)) is not None
        }
        self._labels: list[tuple[float, str]] = []
        self._waiting: deque[tuple[float, str]] = deque()
        self._hits: deque[bool] = deque(maxlen=settings.decisions)
        self._pairs: Counter[tuple[str, str]] = Counter()
        self.n_judged = 0
        self.n_right = 0

    @property
    def value(self) -> float | None:
        """Share of right ones among the newest judged decisions; nothing before the first."""
        return sum(self._hits) / len(self._hits) if self._hits else None

    def report(self) -> dict[str, Any]:
        """Return the accuracy and how many decisions were judged, for the books of a run.

        Returns
        -------
        dict
            ``newest``: the share of right ones among the newest; ``judged``, ``right``: how many in all; ``confusion``:
            all judged ones, by true class and then by the class that was decided.
        """
        table = {truth: {said: self._pairs[truth, said] for said in self._classes} for truth in self._classes}
        return {"newest": self.value, "judged": self.n_judged, "right": self.n_right, "confusion": table}

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
        settings, truth = self._settings, self._truth(event.values["label"])
        if truth is None or settings.marker_stream not in (None, event.values["marker_stream"]):
            return
        self._labels.append((event.values["marker_time"], truth))
        self._labels.sort(key=lambda one: one[0])

    def _truth(self, label: str) -> str | None:
        """Return the class that a marker stands for, empty for none, None for a marker that is no label."""
        labels = self._settings.labels
        if not labels:
            return class_of(label, self._classes)
        meant = labels.get(label)
        if meant is None and (number := _number(label)) is not None:
            meant = self._by_number.get(number)
        return class_of(meant, self._classes) if meant else meant

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
                self._pairs[truth, decided] += 1
                self.n_judged += 1
                self.n_right += int(decided == truth)
