"""The artifact stage: which channels cannot be believed, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.stages import ArtifactSettings, BandpassDesign, MuscleLimit
from neuroloop.processors.artifacts import kernel as faults
from neuroloop.processors.artifacts.kernel import KINDS, N_KINDS, mark_rows
from neuroloop.processors.filters.design import HARMONIC_LIMIT, design_cascade, rate_allows
from neuroloop.processors.stages.input_guard import Cursor, channel_indices, load_state, wrong_channels
from neuroloop.stream.contracts.chunks import Chunk, FloatArray, StateDict, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Finding

_OUTPUT = {"keep": faults.KEEP, "hold": faults.HOLD, "zero": faults.ZERO}
_MUSCLE_ORDER = 2
_NOTHING: tuple[Finding, ...] = ()


class Artifacts:
    """Mark faulty channels, flag rows with too many of them, and report each episode when it is over.

    The values themselves pass through unchanged (one that is not finite is held, and its row flagged, as in every
    stage), unless ``bad_channels`` says otherwise. Limits are in the unit of the channel they are applied to.

    Parameters
    ----------
    settings : ArtifactSettings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If a channel or type is unknown, or the muscle band does not fit below 0.45 of the rate.

    Notes
    -----
    A channel is bad of a kind from the row at which the kind's fault has lasted ``onset_s`` within the last second
    (amplitude, gradient and flat: from the first faulty row) up to the row that ends ``recover_s`` without the fault.
    An *episode* of a kind lasts as long as any channel is bad of it, and there is one finding per episode, whatever
    number of channels take part: not more than ``1 / recover_s`` per kind and second.
    """

    def __init__(self, settings: ArtifactSettings, info: StreamInfo) -> None:
        self.name = settings.name
        self.info_in = self.info_out = info
        self.delay_s = 0.0
        self.warmup_samples = 0
        left_out: list[str] = []
        watched = _watched(settings, info)
        n_window = max(1, round(info.sfreq))
        self._sos = _muscle_sections(settings.muscle, info.sfreq, left_out)
        self.left_out = tuple(left_out)
        """What the rate does not allow, with the reason."""
        self._parameters = _parameters(settings, info.sfreq)
        self._counts = np.zeros(faults.N_COUNTS, np.int64)
        self._counts[faults.C_ONSET] = max(1, round(settings.onset_s * info.sfreq))
        self._counts[faults.C_RECOVER] = max(1, round(settings.recover_s * info.sfreq))
        flat_s = settings.flat.flat_s if settings.flat is not None else 1.0
        self._counts[faults.C_BIN] = max(1, round(flat_s * info.sfreq / faults.N_BINS))
        repeats = settings.rail.repeats if settings.rail is not None else None
        self._counts[faults.C_REPEATS] = np.iinfo(np.int64).max if repeats is None else repeats
        self._counts[faults.C_MAX_BAD] = settings.max_bad_channels
        self._counts[faults.C_OUTPUT] = _OUTPUT[settings.bad_channels]
        for array in (self._sos, self._parameters, self._counts):
            array.flags.writeable = False
        n_channels = info.n_channels
        self._floats = np.zeros((faults.SECTIONS + 2 * len(self._sos), n_channels))
        self._ints = np.zeros((faults.N_INT_ROWS, n_channels), np.int64)
        self._ints[faults.WATCHED, watched] = (1 << N_KINDS) - 1
        self._ring = np.zeros((n_window, n_channels), np.uint8)
        self._marks = np.zeros(faults.N_MARKS, np.int64)
        self._closed = np.zeros((N_KINDS, 4), np.int64)
        self._closed_channels = np.zeros((N_KINDS, n_channels), np.int64)
        self._cursor = Cursor(settings.name)
        self._last_stamp = 0.0
        self._findings: Sequence[Finding] = _NOTHING
        self.reset()

    @property
    def bad(self) -> dict[str, tuple[str, ...]]:
        """Which channels are bad after the last row, and of what."""
        masks = self._ints[faults.BAD]
        return {
            name: tuple(kind for k, kind in enumerate(KINDS) if masks[c] >> k & 1)
            for c, name in enumerate(self.info_in.ch_names)
            if masks[c]
        }

    def newest_input(self, k: int) -> int:
        """Return ``k``: every row has its own output row."""
        return k

    def process(self, chunk: Chunk) -> Chunk:
        """Mark the rows; the result is new and owned by the caller.

        Raises
        ------
        ValueError
            If the chunk does not continue the one before or has another number of channels.
        """
        data, first, cursor = chunk.data, chunk.first_sample, self._cursor
        n_rows, n_channels = shape = data.shape
        if n_channels != self._ring.shape[1]:
            raise wrong_channels(self.name, self._ring.shape[1], n_channels)
        out, valid = np.empty(shape), np.empty(n_rows, np.bool_)
        self._findings = _NOTHING
        if n_rows:
            if first != cursor.next_sample:
                cursor.start(first)
            if not data.flags.c_contiguous:
                data = np.ascontiguousarray(data)
            if n_rows > 1:
                self._make_room(n_rows)
            n_closed = mark_rows(
                data, chunk.valid, first, self._parameters, self._counts, self._sos, self._floats, self._ints,
                self._ring, self._marks, out, valid, self._closed, self._closed_channels,
            )  # fmt: skip
            if n_closed:
                self._findings = self._report(n_closed, chunk)
            cursor.next_sample = first + n_rows
            self._last_stamp = chunk.timestamps[n_rows - 1]
        return make_chunk(out, chunk.timestamps.copy(), first, valid, self.info_out)

    def _make_room(self, n_rows: int) -> None:
        """Have a place for every episode that can end within so many rows."""
        needed = N_KINDS * (n_rows // (int(self._counts[faults.C_RECOVER]) + 1) + 1)
        if needed > len(self._closed):
            self._closed = np.zeros((needed, 4), np.int64)
            self._closed_channels = np.zeros((needed, self._ring.shape[1]), np.int64)

    def _report(self, n_closed: int, chunk: Chunk) -> list[Finding]:
        """Return the findings that the kernel noted."""
        findings = []
        for (row, kind, first, last), took_part in zip(
            self._closed[:n_closed].tolist(), self._closed_channels[:n_closed], strict=True
        ):
            time = float(chunk.timestamps[row - chunk.first_sample])
            findings.append(self._finding(row, time, kind, first, last, took_part != 0, is_open=False))
        return findings

    def _finding(
        self, row: int, time: float, kind: int, first: int, last: int, took_part: NDArray[np.bool_], *, is_open: bool
    ) -> Finding:
        values = {
            "stage": self.name,
            "kind": KINDS[kind],
            "channels": [name for name, is_part in zip(self.info_in.ch_names, took_part, strict=True) if is_part],
            "duration_s": (last - first + 1) / self.info_in.sfreq,
            "open": is_open,
        }
        return Finding(row, time, kind, first, last, values)

    def take_findings(self) -> Sequence[Finding]:
        """Return the episodes that ended in the rows of the last chunk, in order of row and kind."""
        return self._findings

    def open_findings(self) -> list[Finding]:
        """Return the episodes that have not ended, as they stand after the last row."""
        marks = self._marks
        row = self._cursor.next_sample - 1
        episodes = self._ints[faults.EPISODE]
        return [
            self._finding(
                row,
                float(self._last_stamp),
                kind,
                int(marks[faults.FIRST_OF + kind]),
                int(marks[faults.LAST_OF + kind]),
                (episodes >> kind & 1) != 0,
                is_open=True,
            )
            for kind in range(N_KINDS)
            if marks[faults.FIRST_OF + kind] >= 0
        ]

    def reset(self) -> None:
        """Forget all samples seen."""
        floats, ints, marks = self._floats, self._ints, self._marks
        floats[:] = 0.0
        floats[[faults.BIN_LOW, faults.OLD_LOW]] = np.inf
        floats[[faults.BIN_HIGH, faults.OLD_HIGH]] = -np.inf
        watched = ints[faults.WATCHED].copy()
        ints[:] = 0
        ints[faults.WATCHED] = watched
        self._ring[:] = 0
        marks[:] = 0
        marks[faults.N_STALE] = len(watched)
        marks[faults.FIRST_OF : faults.FIRST_OF + N_KINDS] = -1
        self._cursor.next_sample = -1
        self._last_stamp = 0.0
        self._findings = _NOTHING

    def get_state(self) -> StateDict:
        """Return what the rules remember, the faults of the last second and the position."""
        return {
            "floats": self._floats.copy(),
            "ints": self._ints.copy(),
            "faults": self._ring.copy(),
            "marks": self._marks.copy(),
            "stamp": np.array([self._last_stamp]),
            "position": np.array([self._cursor.next_sample]),
        }

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned.

        Raises
        ------
        ValueError
            If it is not a state of such a stage.
        """
        own = self.get_state()
        load_state(state, own)
        watched = self._ints[faults.WATCHED].copy()
        self._floats[:] = own["floats"]
        self._ints[:] = own["ints"]
        self._ints[faults.WATCHED] = watched
        self._ring[:] = own["faults"]
        self._marks[:] = own["marks"]
        self._last_stamp = float(own["stamp"][0])
        self._cursor.next_sample = int(own["position"][0])
        self._findings = _NOTHING

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the limits in samples and units of the stream, the muscle filter and which channels are watched."""
        return {
            "parameters": self._parameters,
            "counts": self._counts,
            "sos": self._sos,
            "watched": self._ints[faults.WATCHED].copy(),
        }


def _watched(settings: ArtifactSettings, info: StreamInfo) -> list[int]:
    """Return the channels that are looked at."""
    if settings.channels is not None:
        indices = channel_indices(settings.channels, info, "channels")
        if not indices:
            raise ConfigError("channels must name at least one channel, got none")
        return indices
    if settings.types is None:
        return list(range(info.n_channels))
    for i, kind in enumerate(settings.types):
        if kind not in info.ch_types:
            known = ", ".join(dict.fromkeys(info.ch_types))
            raise ConfigError(f"types.{i} must be a channel type of the stream ({known}), got {kind!r}")
    return [c for c, kind in enumerate(info.ch_types) if kind in settings.types]


def _muscle_sections(muscle: MuscleLimit | None, sfreq: float, left_out: list[str]) -> FloatArray:
    """Return the sections of the muscle filter with their unit states, shape (n_sections, 8)."""
    if muscle is None:
        return np.zeros((0, 8))
    if not rate_allows(muscle.when, sfreq, muscle.low_hz, "muscle"):
        left_out.append(f"muscle from {muscle.low_hz:g} Hz: sfreq={sfreq:g} fails {str(muscle.when).strip()}")
        return np.zeros((0, 8))
    highest = HARMONIC_LIMIT * sfreq
    high_hz = highest if muscle.high_hz is None else muscle.high_hz
    if high_hz > highest:
        raise ConfigError(f"muscle.high_hz must be at most {HARMONIC_LIMIT} sfreq={highest!r}, got {high_hz!r}")
    if muscle.low_hz >= high_hz:
        raise ConfigError(f"muscle.low_hz must be below {high_hz!r}, got {muscle.low_hz!r}")
    cascade = design_cascade((BandpassDesign(low_hz=muscle.low_hz, high_hz=high_hz, order=_MUSCLE_ORDER),), sfreq)
    return np.concatenate((cascade.sos, cascade.zi), axis=1)


def _parameters(settings: ArtifactSettings, sfreq: float) -> FloatArray:
    """Return the limits; those of kinds that are not looked for are never exceeded."""
    parameters = np.zeros(faults.N_PARAMETERS)
    parameters[[faults.P_AMPLITUDE, faults.P_GRADIENT, faults.P_HIGH, faults.P_POWER]] = np.inf
    parameters[faults.P_LOW] = -np.inf
    parameters[faults.P_FLAT] = -1.0
    if settings.amplitude is not None:
        parameters[faults.P_AMPLITUDE] = settings.amplitude.limit
        parameters[faults.P_BASELINE] = 1.0 / max(1, round(settings.amplitude.baseline_s * sfreq))
    if settings.gradient is not None:
        per_sample = 1.0 if settings.gradient.per == "sample" else 1000.0 / sfreq
        parameters[faults.P_GRADIENT] = settings.gradient.limit * per_sample
    if settings.flat is not None:
        parameters[faults.P_FLAT] = settings.flat.limit
    if settings.rail is not None:
        parameters[faults.P_LOW] = -np.inf if settings.rail.low is None else settings.rail.low
        parameters[faults.P_HIGH] = np.inf if settings.rail.high is None else settings.rail.high
    if settings.muscle is not None:
        parameters[faults.P_POWER] = settings.muscle.limit * settings.muscle.limit
        parameters[faults.P_AVERAGE] = 1.0 / max(1, round(settings.muscle.average_s * sfreq))
    return parameters
