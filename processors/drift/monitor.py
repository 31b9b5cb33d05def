"""The drift monitor: watches one tap, says when its mean or spread leaves the baseline, and when it comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.drift import DriftMonitorSettings
from neuroloop.config.errors import ConfigError
from neuroloop.processors.drift.baseline import FIELDS, Baseline, BaselineFor
from neuroloop.processors.drift.collecting import BaselineCollector
from neuroloop.processors.drift.episodes import EpisodeTracker
from neuroloop.processors.drift.judge import Judge
from neuroloop.processors.drift.model_signals import ModelSignals
from neuroloop.processors.drift.moments import RollingMoments
from neuroloop.processors.drift.river_detectors import RIVER_RULES, river_drift
from neuroloop.processors.stages.input_guard import load_state
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StateDict, StreamInfo
from neuroloop.stream.contracts.events import Finding

MAX_COLUMNS = 2048
_TELL_BASELINE, _TELL_REBASELINE = 0, 1
_ARMS = ("common", "channels")
_STATISTICS = ("mean", "std")


class DriftMonitor:
    """Compare the rolling mean and standard deviation of a tap with a frozen baseline.

    Checks stand at the multiples of the hop on the global row index; everything is the same however the rows are cut.
    Without a baseline the first ``baseline.minutes`` become one. It is never replaced but by `rebaseline`.

    Parameters
    ----------
    settings : DriftMonitorSettings
    info : StreamInfo
        The rows of the tap.
    baseline : Baseline, optional
    threshold : float
        ``watch: model``: below it a decision is rejected.

    Attributes
    ----------
    score : float
        Of the newest check, 1 at the threshold; NaN before the first.

    Raises
    ------
    ConfigError
        If the grid or the tap does not allow a monitor.
    BaselineError
        If the baseline was made for something else.
    """

    def __init__(
        self,
        settings: DriftMonitorSettings,
        info: StreamInfo,
        baseline: Baseline | None = None,
        *,
        threshold: float = 0.0,
    ) -> None:
        self._signals = ModelSignals(info, threshold) if settings.watch == "model" else None
        self.info = self._signals.info_out if self._signals is not None else info
        self.name, self.tap, self.settings = settings.name, settings.tap or "input", settings
        if self.info.n_channels > MAX_COLUMNS:
            raise ConfigError(f"tap must have at most {MAX_COLUMNS} columns to be watched, got {self.info.n_channels}")
        if settings.rule in RIVER_RULES:
            river_drift()
        hop, self._n_blocks = _grid(settings, self.info.sfreq)
        self._hop = hop
        self.made_for = BaselineFor.of(
            self.info, tap=self.tap, watch=settings.watch, window=hop * self._n_blocks, hop=hop
        )
        self._n_baseline = round(settings.baseline.minutes * 60.0 * self.info.sfreq)
        if self._n_baseline < self.made_for.window and baseline is None:
            rule = f"at least one window of {self.made_for.window / self.info.sfreq:g} s"
            raise ConfigError(f"baseline.minutes must hold {rule}, got {settings.baseline.minutes!r}")
        if baseline is not None:
            baseline.check(self.made_for)
        self._given = baseline
        self._trackers = tuple(
            EpisodeTracker(leave=settings.leave, n_confirm=settings.n_confirm, n_blocks=self._n_blocks) for _ in _ARMS
        )
        self._last_row, self._last_time = -1, float("nan")
        self._newest: Chunk | None = None
        self._is_asked = False
        self.score = float("nan")
        self._begin(baseline)

    def _begin(self, baseline: Baseline | None) -> None:
        """Start with a baseline, or start to collect one."""
        anchor = baseline.table[0] if baseline is not None else None
        self._moments = RollingMoments(
            self.info.n_channels, hop=self.made_for.hop, n_blocks=self._n_blocks, anchor=anchor
        )
        self._judge: Judge | None = None
        self._collector: BaselineCollector | None = None
        self._is_told = False
        if baseline is not None:
            self._freeze(baseline)
        else:
            self._collector = BaselineCollector(self.made_for, self._n_baseline)

    def _freeze(self, baseline: Baseline) -> None:
        self._judge = Judge(self.settings, baseline, self._moments.anchor)
        self._collector = None

    @property
    def baseline(self) -> Baseline | None:
        """The frozen baseline."""
        return self._judge.baseline if self._judge is not None else None

    @property
    def is_armed(self) -> bool:
        """Whether an alarm may begin."""
        return self._judge is not None and self._judge.limits.armed

    @property
    def is_alarm(self) -> bool:
        """Whether an alarm is going on, in either arm."""
        return any(tracker.is_alarm for tracker in self._trackers)

    @property
    def parts(self) -> FloatArray:
        """Scores by statistic (mean, std) and channel, signed; a view, valid until the next call."""
        return self._judge.scores[:, :-1] if self._judge is not None else np.full((2, self.info.n_channels), np.nan)

    def collected(self) -> Baseline | None:
        """Return the frozen baseline, or what the rows so far make one; nothing where they fill no window."""
        if self._collector is None:
            return self.baseline
        return self._collector.finish(self._moments.anchor)

    def rebaseline(self) -> None:
        """Take a new baseline from the next rows on; an alarm ends with it. The only way to replace one."""
        self._is_asked = True

    def observe(self, chunk: Chunk) -> Sequence[Finding]:
        """Take the rows of the tap and return what became known at them, in order."""
        n = len(chunk.timestamps)
        if not n:
            return ()
        if self._signals is not None:
            chunk = self._signals.process(chunk)
        elif not chunk.data.flags.c_contiguous:
            chunk = dataclasses.replace(chunk, data=np.ascontiguousarray(chunk.data))
        self._newest = chunk
        if self._is_told and not self._is_asked and chunk.first_sample % self._hop + n < self._hop:
            self._moments.add(chunk.data, chunk.valid, chunk.first_sample, 0)  # the usual case: no block ends
            return ()
        return self._observe(chunk, n)

    def _observe(self, chunk: Chunk, n: int) -> list[Finding]:
        """Take rows that end a block, or are part of a baseline."""
        data, valid, first, hop = chunk.data, chunk.valid, chunk.first_sample, self._hop
        findings: list[Finding] = self._take_rebaseline(chunk) if self._is_asked else []
        if self._collector is not None:
            self._collector.add_rows(data, valid, first)
        elif not self._is_told:
            findings.append(self._tell_baseline(first, float(chunk.timestamps[0])))
        row = 0
        while row < n:
            row = self._moments.add(data, valid, first, row)
            if (first + row) % hop == 0:
                collector = self._collector
                self._check((first + row) // hop - 1, float(chunk.timestamps[row - 1]), findings)
                if self._collector is not None and self._collector is not collector:
                    self._collector.add_rows(data[row:], valid[row:], first + row)
        return findings

    def _end_of_rows(self) -> tuple[int, float]:
        """Return number and stamp of the newest row."""
        newest = self._newest
        if newest is None:
            return self._last_row, self._last_time
        return newest.next_sample - 1, float(newest.timestamps[-1])

    def _check(self, block: int, time: float, findings: list[Finding]) -> None:
        """A block ended: go on with the baseline, or judge the window."""
        if self._collector is not None:
            if (block + 1) % self._n_blocks == 0:
                self._add_to_baseline(block)
            if self._collector.is_over((block + 1) * self.made_for.hop):
                self._end_of_baseline(block, time, findings)
            return
        judge = self._judge
        if judge is None or not judge.score(self._moments.window(block), block):
            return
        common, channels = judge.common_score, judge.channel_score
        self.score = max(common, channels) if common >= 0.0 else channels
        if not judge.limits.armed:
            return
        for arm, tracker, score in zip(range(2), self._trackers, (common, channels), strict=True):
            # what moves all channels is said once: the channels wait until the common arm is quiet
            may_begin = arm == 0 or not (common > 1.0 or self._trackers[0].is_alarm)
            told = tracker.step(block, score, may_begin=may_begin)
            if told == "onset":
                findings.append(self._onset(arm, block, time, score))
            elif told == "end":
                findings.append(self._end(arm, self._last_row_of(block), time, "quiet"))

    def _add_to_baseline(self, block: int) -> None:
        if self._collector is not None:
            window = self._moments.window(block)
            if (window[0] > 0.0).any():
                self._collector.add_window(window)

    def _end_of_baseline(self, block: int, time: float, findings: list[Finding]) -> None:
        """Freeze what was collected; without one full window go on collecting."""
        collector = self._collector
        baseline = collector.finish(self._moments.anchor) if collector is not None else None
        if baseline is not None:
            self._freeze(baseline)
            findings.append(self._tell_baseline(self._last_row_of(block), time))
        else:
            self._collector = BaselineCollector(self.made_for, self._n_baseline)

    def _last_row_of(self, block: int) -> int:
        return (block + 1) * self.made_for.hop - 1

    def _common_values(self, what: str) -> dict[str, Any]:
        return {"monitor": self.name, "what": what, "tap": self.tap, "rule": self.settings.rule}

    def _tell_baseline(self, row: int, time: float) -> Finding:
        """Say which baseline is used from here on, and whether alarms are possible."""
        self._is_told = True
        judge = self._judge
        assert judge is not None
        values = self._common_values("baseline") | {
            "baseline": judge.baseline.id,
            "windows": judge.baseline.n_windows,
            "armed": judge.limits.armed,
        }
        if judge.limits.why:
            values["why"] = judge.limits.why
        return Finding(row, time, _TELL_BASELINE, row, row, values)

    def _onset(self, arm: int, block: int, time: float, score: float) -> Finding:
        """Say that an alarm began, with the channels that are farthest away."""
        judge, settings = self._judge, self.settings
        assert judge is not None
        worst = judge.worst(settings.top_k)
        if arm == 0:
            magnitude = np.abs(judge.scores[:, -1])
            statistic = _STATISTICS[1 if magnitude[1] > magnitude[0] else 0]
        else:
            statistic = _STATISTICS[worst[0][1]]
        row = self._last_row_of(block)
        first_row = max(0, (self._trackers[arm].first_block + 1) * self.made_for.hop - self.made_for.window)
        values = self._common_values("onset") | {
            "arm": _ARMS[arm],
            "statistic": statistic,
            "score": score,
            "channels": [self.info.ch_names[c] for c, _, _ in worst],
            "scores": [one for _, _, one in worst],
            "effect": settings.effect,
            "hold": settings.effect == "hold",
            "window_s": self.made_for.window / self.info.sfreq,
            "baseline": judge.baseline.id,
        }
        return Finding(row, time, 2 + 2 * arm, first_row, row, values)

    def _end(self, arm: int, row: int, time: float, why: str) -> Finding:
        """Say that an alarm is over, and why."""
        tracker = self._trackers[arm]
        onset_row = self._last_row_of(tracker.onset_block)
        values = self._common_values("end") | {
            "arm": _ARMS[arm],
            "score": tracker.peak,
            "duration_s": (row - onset_row) / self.info.sfreq,
            "effect": self.settings.effect,
            "hold": False,
            "why": why,
        }
        return Finding(row, time, 3 + 2 * arm, onset_row, row, values)

    def _take_rebaseline(self, chunk: Chunk) -> list[Finding]:
        """Drop the baseline at the first row of a chunk."""
        row, time = chunk.first_sample, float(chunk.timestamps[0])
        findings = [
            self._end(arm, row, time, "rebaselined") for arm, tracker in enumerate(self._trackers) if tracker.is_alarm
        ]
        for tracker in self._trackers:
            tracker.clear()
        findings.append(Finding(row, time, _TELL_REBASELINE, row, row, self._common_values("rebaseline")))
        self._is_asked = False
        self._given, self.score = None, float("nan")
        self._begin(None)
        return sorted(findings, key=lambda one: one.k)

    def open_findings(self) -> Sequence[Finding]:
        """Return the ends of alarms that the end of the stream would cut off."""
        row, time = self._end_of_rows()
        return [
            self._end(arm, row, time, "stream over") for arm, tracker in enumerate(self._trackers) if tracker.is_alarm
        ]

    def reset(self) -> None:
        """Forget the rows seen, as after a gap; the baseline, one in the making and an alarm stay."""
        self._moments.reset()
        for tracker in self._trackers:
            tracker.interrupt()
        if self._judge is not None:
            self._judge.reset()
        self.score = float("nan")

    def get_state(self) -> StateDict:
        """Return everything as a flat dict of new arrays."""
        row, time = self._end_of_rows()
        n_windows = self._judge.baseline.n_windows if self._judge is not None else -1
        state: StateDict = {
            "marks": np.array([row, self._is_asked, self._is_told, n_windows], np.int64),
            "newest": np.array([self.score, time]),
        }
        state.update(_under("moments", self._moments.get_state()))
        for arm, tracker in zip(_ARMS, self._trackers, strict=True):
            place, peak = tracker.arrays
            state[f"{arm}/place"], state[f"{arm}/peak"] = place.copy(), peak.copy()
        if self._collector is not None:
            state.update(_under("collector", self._collector.get_state()))
        if self._judge is not None:
            state.update(_under("judge", self._judge.get_state()))
            state["baseline/table"] = self._judge.baseline.table.copy()
            state["baseline/common"] = self._judge.baseline.common.copy()
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such a monitor.
        """
        marks, newest = np.empty(4, np.int64), np.empty(2)
        load_state({key: state[key] for key in ("marks", "newest")}, {"marks": marks, "newest": newest})
        n_windows = int(marks[3])
        self._begin(None)
        self._newest, self._last_row = None, int(marks[0])
        self.score, self._last_time = (float(value) for value in newest)
        self._is_asked, self._is_told = bool(marks[1]), bool(marks[2])
        self._moments.set_state(_part(state, "moments"))
        if n_windows >= 0:
            n_channels = self.info.n_channels
            table, common = np.empty((len(FIELDS), n_channels)), np.empty((2, 3))
            load_state(_part(state, "baseline"), {"table": table, "common": common})
            table.setflags(write=False)
            common.setflags(write=False)
            self._freeze(Baseline(self.made_for, n_windows, table, common))
            assert self._judge is not None
            self._judge.set_state(_part(state, "judge"))
        elif self._collector is not None:
            self._collector.set_state(_part(state, "collector"))
        for arm, tracker in zip(_ARMS, self._trackers, strict=True):
            place, peak = tracker.arrays
            load_state(_part(state, arm), {"place": place, "peak": peak})

    @property
    def memory_bytes(self) -> int:
        """Bytes of its state, most of them those of a baseline in the making."""
        return sum(array.nbytes for array in self.get_state().values())

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the grid and the baseline that was given, for the plan's hash."""
        arrays: dict[str, NDArray[Any]] = {"grid": np.array([self.made_for.window, self.made_for.hop])}
        if self._given is not None:
            arrays |= {"baseline": self._given.table, "common": self._given.common}
        return arrays


def _grid(settings: DriftMonitorSettings, sfreq: float) -> tuple[int, int]:
    """Turn seconds into the rows of a hop and the hops of a window, once, by ``round``."""
    hop_s = settings.hop_s if settings.hop_s is not None else settings.window_s / 4.0
    hop = round(hop_s * sfreq)
    if hop < 1:
        raise ConfigError(f"hop_s must be at least one row at {sfreq:g} rows/s, got {hop_s!r}")
    return hop, max(1, round(settings.window_s * sfreq / hop))


def _under(prefix: str, state: StateDict) -> StateDict:
    return {f"{prefix}/{key}": value for key, value in state.items()}


def _part(state: Mapping[str, NDArray[Any]], prefix: str) -> StateDict:
    start = len(prefix) + 1
    return {key[start:]: value for key, value in state.items() if key.startswith(f"{prefix}/")}
