"""A closed loop that is wired: the stimulator's output comes back on a channel of the amplifier that is decided on.

The output times are the rising edges of that channel, on the stream's own clock, to one sample. A command stands at the
newest sample that its decision used, so the time from that sample to the edge holds everything: transport, decision,
log, device, cable and the amplifier's converter, twice the amplifier's own delay included.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.tree import Config
from neuroloop.sinks.run_folder.folder import EVENTS_FILE
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.live.supervisor import RunOptions, Supervisor
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import RecordedStream, select_stream
from neuroloop.stream.tools.latency.figures import figures
from neuroloop.stream.tools.latency.trace import LoopbackError

_WITHIN_S = 1.0
_LOOK_S = 0.5
_log = logging.getLogger("neuroloop.latency")


def measure_wired(
    config: Config, folder: Path, *, channel: str, n_events: int
) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """Run a configuration on its amplifier until so many doses were given, then find their edges.

    An operator arms the run himself: ``neuroloop operator FOLDER/run arm``.

    Parameters
    ----------
    config : Config
        Its source is a live one.
    folder : Path
        New or empty; the recorded run is made in it.
    channel : str
        Name of the channel that carries the output.
    n_events : int

    Returns
    -------
    record : dict
        Figures as JSON values.
    series : dict of str to array
        Latencies in nanoseconds.

    Raises
    ------
    ConfigError
        If the source is no live one, or nothing stimulates.
    LoopbackError
        If the stream has no such channel, or it never rose.
    """
    if config.source.kind != "lsl" or config.stimulation is None:
        rule = "source.kind must be 'lsl', and stimulation given, for a wired loop"
        raise ConfigError(f"{rule}, got {config.source.kind!r}")
    recorder = config.recorder.model_copy(update={"enabled": True})
    run = folder / "run"
    supervisor = Supervisor(config.model_copy(update={"recorder": recorder}), RunOptions(out=run, show=False))
    counter = _Counter(run, n_events, supervisor)
    try:
        supervisor.run(on_ready=counter.start)
    finally:
        counter.end()
    stream = select_stream(open_recording(run), None)
    latencies_ns, n_doses = wired_latencies(start_samples(run), stream, channel)
    record = {
        "definition": "from the newest sample that a decision used to the rising edge of the loop-back channel, to one "
        "sample of the stream; transport, device, cable and converter included",
        "channel": channel,
        "resolution_us": 1e6 / stream.info.sfreq,
        "doses": n_doses,
        "missed": n_doses - len(latencies_ns),
        "latency": {"wired": figures(latencies_ns)},
    }
    return record, {"wired loop": latencies_ns}


def start_samples(run: Path) -> list[int]:
    """Return the newest sample of each dose's decision, from a run's events."""
    samples = []
    whole = (run / EVENTS_FILE).read_bytes().rpartition(b"\n")[0]  # the last line may be half written
    for line in whole.splitlines():
        record = json.loads(line)
        if record["type"] == "command" and record["action"] == "start":
            samples.append(int(record["sample"]))
    return samples


def wired_latencies(starts: list[int], stream: RecordedStream, channel: str) -> tuple[NDArray[np.int64], int]:
    """Return the time from each start to the first rising edge behind it and before the next start.

    Parameters
    ----------
    starts : list of int
        Sample numbers, ascending.
    stream : RecordedStream
    channel : str

    Returns
    -------
    latencies : array, shape (n_seen,), int64
        In nanoseconds of the stream's stamps.
    n_doses : int

    Raises
    ------
    LoopbackError
        If there is no such channel, or it has no edges.
    """
    if channel not in stream.info.ch_names:
        known = ", ".join(stream.info.ch_names[:32])
        raise LoopbackError(f"loopback-channel must be a channel of the stream ({known}), got {channel!r}")
    first = stream.first_sample
    numbers = stream.sample_numbers if stream.sample_numbers is not None else first + np.arange(stream.n_samples)
    edges = rising_edges(stream.data[:, stream.info.ch_names.index(channel)])
    if not len(edges):
        raise LoopbackError(f"loopback-channel must rise when the output goes on, got no edge on {channel!r}")
    found = []
    for index, start in enumerate(starts):
        row = int(np.searchsorted(numbers, start))
        limit = row + round(_WITHIN_S * stream.info.sfreq)
        if index + 1 < len(starts):
            limit = min(limit, int(np.searchsorted(numbers, starts[index + 1])))
        at = int(np.searchsorted(edges, row, side="right"))
        if row < stream.n_samples and at < len(edges) and edges[at] < limit:
            found.append(round((stream.timestamps[edges[at]] - stream.timestamps[row]) * 1e9))
    return np.asarray(found, np.int64), len(starts)


def rising_edges(values: FloatArray) -> NDArray[np.int64]:
    """Return the rows at which a two-level signal goes up: through the middle, with a hysteresis of a quarter.

    Parameters
    ----------
    values : array, shape (n_samples,)
        NaN counts as no change.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.empty(0, np.int64)
    low, high = float(finite.min()), float(finite.max())
    if not high > low:
        return np.empty(0, np.int64)
    middle, quarter = 0.5 * (low + high), 0.125 * (high - low)
    level = np.zeros(len(values), np.int8)
    level[values > middle + quarter] = 1
    level[values < middle - quarter] = -1
    rows = np.flatnonzero(level)
    signs = level[rows]
    return rows[1:][(signs[1:] > 0) & (signs[:-1] < 0)]


class _Counter:
    """Ends a run when enough doses were given."""

    def __init__(self, run: Path, n_events: int, supervisor: Supervisor) -> None:
        self._run, self._n_events, self._supervisor = run, n_events, supervisor
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="neuroloop-counter", daemon=True)

    def start(self) -> None:
        """Begin."""
        _log.info("waiting for %d doses; arm with: neuroloop operator %s arm", self._n_events, self._run)
        self._thread.start()

    def end(self) -> None:
        """Stop watching; may be called twice."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            if (self._run / EVENTS_FILE).exists() and len(start_samples(self._run)) >= self._n_events:
                self._supervisor.stop()
                return
