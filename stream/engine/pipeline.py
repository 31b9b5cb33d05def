"""Stages in a row, then the policy: chunks and markers in, events out; deterministic, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.stream.contracts.chunks import Chunk, StateDict, StreamInfo
from neuroloop.stream.contracts.events import (
    FINDINGS_PER_ROW,
    MAX_STAGES,
    Event,
    Finding,
    Marker,
    end_position,
    in_order,
    monitor_position,
    stage_position,
)
from neuroloop.stream.contracts.protocols import Monitor, Policy, Processor, Reporter, Windowed, newest_sample
from neuroloop.stream.engine.marker_track import MarkerTrack
from neuroloop.stream.engine.monitor_tap import Watcher, drift_score, restore, states_of

INPUT_TAP = "input"
NO_STAGES: Mapping[str, Windowed] = MappingProxyType({})


class StatefulPolicy(Policy, Protocol):
    """A policy whose state can be taken and put back."""

    def get_state(self) -> StateDict:
        """Return the whole state."""
        ...

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a state."""
        ...


class StageTimer(Protocol):
    """Takes the time that each stage spent on a chunk."""

    def add(self, stage: int, nanoseconds: int) -> None:
        """Count one call of the stage with this index."""
        ...


def total_delay_s(stages: Sequence[Processor]) -> float:
    """Return the algorithmic delay of the stages in seconds, on a grid of nanoseconds."""
    return round(sum(round(stage.delay_s * 1e9) for stage in stages)) / 1e9


class _Findings:
    """Turns what one stage finds into events; ``ordinal`` counts such stages.

    Parameters
    ----------
    reporter : Reporter
    stages : sequence of Processor
        All stages up to and with this one.
    stream : str
    ordinal : int
    """

    def __init__(self, reporter: Reporter, stages: Sequence[Processor], stream: str, ordinal: int) -> None:
        self.take = reporter.take_findings
        self._open = reporter.open_findings
        self._stages = tuple(stages)
        self._stream = stream
        self._first_k = ordinal * FINDINGS_PER_ROW
        self._position = stage_position(len(stages) - 1)
        self._delay_s = total_delay_s(stages)

    def events(self, findings: Sequence[Finding]) -> list[Event]:
        """Return the events of findings of the last chunk."""
        return [self._event(one, newest_sample(self._stages, one.row), one.time, self._position) for one in findings]

    def cut_off(self, sample: int, time: float) -> list[Event]:
        """Return the events of what is open when the numbering jumps to this sample."""
        return [self._event(one, sample, time, self._position) for one in self._open()]

    def finish(self) -> list[Event]:
        """Return the events of what is open after the last sample."""
        return [
            self._event(one, newest_sample(self._stages, one.row), one.time, end_position(self._position))
            for one in self._open()
        ]

    def _event(self, finding: Finding, sample: int, time: float, position: int) -> Event:
        values = {
            "first_sample": newest_sample(self._stages, finding.first_row),
            "last_sample": newest_sample(self._stages, finding.last_row),
            **finding.values,
        }
        k = self._first_k + finding.k
        return Event("artifact", self._stream, sample, k, time, self._delay_s, values, position)


class Pipeline:
    """Run a chunk through all stages and the policy.

    The first chunk, and every chunk whose ``first_sample`` is not the one expected, begins a segment: all stages and
    the policy are reset before it. Events come out in order, and in the same order however the stream is cut.

    Parameters
    ----------
    info : StreamInfo
        The stream that comes in.
    stages : sequence of Processor
        In order; the last one gives class probabilities where there is a policy.
    policy : StatefulPolicy, optional
    taps : mapping, optional
        Receivers of stage outputs by stage name, ``input`` for what comes in. They see every row once, and must not
        keep the pipeline waiting.
    timer : StageTimer, optional
    monitors : sequence of Monitor
        Each sees the rows of its tap right behind that stage, and changes none.

    Raises
    ------
    ConfigError
        If there are more stages than the order of events has places for.
    """

    def __init__(
        self,
        info: StreamInfo,
        stages: Sequence[Processor],
        policy: StatefulPolicy | None = None,
        *,
        taps: Mapping[str, Callable[[Chunk], None]] | None = None,
        timer: StageTimer | None = None,
        monitors: Sequence[Monitor] = (),
    ) -> None:
        taps = dict(taps or {})
        names = [stage.name for stage in stages]
        unknown = sorted(set(taps) - {INPUT_TAP, *names})
        if unknown:
            raise ValueError(f"tap must be one of {[INPUT_TAP, *names]!r}, got {unknown[0]!r}")
        if len(stages) > MAX_STAGES:
            raise ConfigError(f"stages must be at most {MAX_STAGES}, with the classifier's, got {len(stages)}")
        self.info = info
        self.stages = tuple(stages)
        self._policy = policy
        self._input_tap = taps.get(INPUT_TAP)
        self._reports = self._find_reporters()
        self._watchers = tuple(self._watcher(monitor, ordinal, names) for ordinal, monitor in enumerate(monitors))
        at = {tap: tuple(one for one in self._watchers if one.monitor.tap == tap) for tap in (INPUT_TAP, *names)}
        self._input_watchers = at[INPUT_TAP]
        self._steps = tuple(
            (stage, taps.get(stage.name), self._reports.get(index), at[stage.name])
            for index, stage in enumerate(stages)
        )
        self._timer = timer
        self._delay_s = total_delay_s(stages)
        self._next_sample: int | None = None
        self._markers = MarkerTrack(info)

    def _watcher(self, monitor: Monitor, ordinal: int, names: Sequence[str]) -> Watcher:
        """Put a monitor behind its tap."""
        if monitor.tap not in (INPUT_TAP, *names):
            raise ValueError(f"tap must be one of {[INPUT_TAP, *names]!r}, got {monitor.tap!r}")
        before = self.stages[: names.index(monitor.tap) + 1] if monitor.tap != INPUT_TAP else ()
        return Watcher(
            monitor,
            ordinal,
            stream=self.info.name,
            newest_sample=lambda k: newest_sample(before, k),
            delay_s=total_delay_s(before),
            position=monitor_position(len(before)),
        )

    def _find_reporters(self) -> dict[int, _Findings]:
        """Return the stages that have something to say, by their index."""
        found: dict[int, _Findings] = {}
        for index, stage in enumerate(self.stages):
            if isinstance(stage, Reporter):
                found[index] = _Findings(stage, self.stages[: index + 1], self.info.name, len(found))
        return found

    @property
    def delay_s(self) -> float:
        """Algorithmic delay of all stages in seconds."""
        return self._delay_s

    @property
    def next_sample(self) -> int | None:
        """Index expected next, ``None`` before the first chunk."""
        return self._next_sample

    @property
    def marker_history_samples(self) -> int:
        """How many stamps are kept for markers that come late, at least."""
        return self._markers.history_samples

    def push(self, chunk: Chunk, markers: Sequence[Marker] = ()) -> list[Event]:
        """Process one chunk.

        Parameters
        ----------
        chunk : Chunk
        markers : sequence of Marker
            New ones, of any time. Each becomes an event at the first sample whose stamp reaches its time.

        Returns
        -------
        list of Event
            In order of (newest raw sample, stage position, k).
        """
        if markers:
            self.add_markers(markers)
        n_samples = len(chunk.timestamps)
        if not n_samples:
            return []
        events: list[Event] = []
        if chunk.first_sample != self._next_sample:
            if self._next_sample is None:
                events.append(self._start_event(chunk))
            for report in self._reports.values():
                events.extend(report.cut_off(chunk.first_sample, float(chunk.timestamps[0])))
            self.reset_stages()
        self._next_sample = chunk.first_sample + n_samples
        events.extend(self._markers.place(chunk))
        if self._input_tap is not None:
            self._input_tap(chunk)
        for watcher in self._input_watchers:
            watcher.observe(chunk, events)
        self._run_stages(chunk, events)
        return in_order(events) if len(events) > 1 else events

    def add_markers(self, markers: Sequence[Marker]) -> None:
        """Take markers that wait for their sample."""
        self._markers.add(markers)

    def _run_stages(self, chunk: Chunk, events: list[Event]) -> None:
        """Hand the chunk from stage to stage as long as rows come out."""
        timer = self._timer
        begin = perf_counter_ns() if timer is not None else 0
        for index, (stage, tap, report, watchers) in enumerate(self._steps):
            chunk = stage.process(chunk)
            if timer is not None:
                end = perf_counter_ns()
                timer.add(index, end - begin)
                begin = end
            if report is not None:
                findings = report.take()
                if findings:
                    events.extend(report.events(findings))
            if not len(chunk.timestamps):
                return
            if tap is not None:
                tap(chunk)
            if watchers:
                for watcher in watchers:
                    watcher.observe(chunk, events)
                begin = perf_counter_ns() if timer is not None else 0
        if self._policy is not None:
            events.extend(self._policy.decide(chunk))

    def finish(self) -> list[Event]:
        """Return the events of what is still to say after the last sample; they stand at that sample.

        These are markers later than it, and what stages and monitors have found and not seen the end of.
        """
        found: list[Event] = []
        for report in self._reports.values():
            found += report.finish()
        for watcher in self._watchers:
            found += watcher.finish()
        return [*self._markers.finish(), *in_order(found)]

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        """The monitors, in order."""
        return tuple(watcher.monitor for watcher in self._watchers)

    @property
    def drift_score(self) -> float:
        """The largest score of the monitors, 1 at the threshold; NaN while none has one."""
        return drift_score(watcher.monitor for watcher in self._watchers)

    def reset_stages(self) -> None:
        """Make every stage and the policy forget what they saw."""
        for stage in self.stages:
            stage.reset()
        for watcher in self._watchers:
            watcher.monitor.reset()
        if self._policy is not None:
            self._policy.reset()

    def _start_event(self, chunk: Chunk) -> Event:
        """Say which stream it is, at its first sample."""
        values = {
            "what": "start",
            "content": self.info.type,
            "sfreq": self.info.sfreq,
            "channels": list(self.info.ch_names),
            "units": list(self.info.ch_units),
        }
        time = float(chunk.timestamps[0])
        return Event("stream", self.info.name, chunk.first_sample, 0, time, 0.0, values)

    def get_state(self, *, without: Mapping[str, Windowed] = NO_STAGES) -> StateDict:
        """Return the state of all stages, the policy and the markers as one flat dict.

        Parameters
        ----------
        without : mapping
            Stages by name whose `Windowed.window_arrays` are left out.
        """
        state: StateDict = {}
        parts: list[tuple[str, StateDict]] = [
            (f"stage/{stage.name}", without[stage.name].other_state() if stage.name in without else stage.get_state())
            for stage in self.stages
        ]
        parts.append(("markers", self._markers.get_state()))
        if self._policy is not None:
            parts.append(("policy", self._policy.get_state()))
        for prefix, part in parts:
            state.update({f"{prefix}/{key}": value for key, value in part.items()})
        state.update(states_of(self._watchers))
        state["pipeline/next_sample"] = np.array([-1 if self._next_sample is None else self._next_sample])
        return state

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""

        def part(prefix: str) -> dict[str, NDArray[Any]]:
            return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}

        for stage in self.stages:
            stage.set_state(part(f"stage/{stage.name}/"))
        self._markers.set_state(part("markers/"))
        restore(self._watchers, state)
        if self._policy is not None:
            self._policy.set_state(part("policy/"))
        next_sample = int(state["pipeline/next_sample"][0])
        self._next_sample = None if next_sample < 0 else next_sample
