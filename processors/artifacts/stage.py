"""The artifact stage: which channels cannot be believed, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import direct
from neuroloop.config.stages import ArtifactSettings, BandpassDesign, MuscleLimit
from neuroloop.processors.artifacts import kernel
from neuroloop.processors.artifacts.kernel import KINDS, N_KINDS
from neuroloop.processors.filters.design import HARMONIC_LIMIT, design_cascade, rate_allows
from neuroloop.processors.stages.input_guard import channel_indices
from neuroloop.processors.stages.row_stage import RowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo
from neuroloop.stream.contracts.events import Finding

_OUTPUT = {"keep": kernel.KEEP, "hold": kernel.HOLD, "zero": kernel.ZERO}
_MUSCLE_ORDER = 2
_NOTHING: tuple[Finding, ...] = ()

_mark_directly = direct(kernel.mark_rows)


class Artifacts(RowStage):
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
        left_out: list[str] = []
        watched = _watched(settings, info)
        n_window = max(1, round(info.sfreq))
        self._sos = _muscle_sections(settings.muscle, info.sfreq, left_out)
        self.left_out = tuple(left_out)
        """What the rate does not allow, with the reason."""
        self._parameters = _parameters(settings, info.sfreq)
        self._counts = np.zeros(kernel.N_COUNTS, np.int64)
        self._counts[kernel.C_ONSET] = max(1, round(settings.onset_s * info.sfreq))
        self._counts[kernel.C_RECOVER] = max(1, round(settings.recover_s * info.sfreq))
        flat_s = settings.flat.flat_s if settings.flat is not None else 1.0
        self._counts[kernel.C_BIN] = max(1, round(flat_s * info.sfreq / kernel.N_BINS))
        repeats = settings.rail.repeats if settings.rail is not None else None
        self._counts[kernel.C_REPEATS] = np.iinfo(np.int64).max if repeats is None else repeats
        self._counts[kernel.C_MAX_BAD] = settings.max_bad_channels
        self._counts[kernel.C_OUTPUT] = _OUTPUT[settings.bad_channels]
        for array in (self._sos, self._parameters, self._counts):
            array.flags.writeable = False
        n_channels = info.n_channels
        floats = self._floats = np.zeros((kernel.SECTIONS + 2 * len(self._sos), n_channels))
        floats[[kernel.BIN_LOW, kernel.OLD_LOW]] = np.inf
        floats[[kernel.BIN_HIGH, kernel.OLD_HIGH]] = -np.inf
        self._ints = np.zeros((kernel.N_INT_ROWS, n_channels), np.int64)
        self._ints[kernel.WATCHED, watched] = (1 << N_KINDS) - 1
        self._ring = np.zeros((n_window, n_channels), np.uint8)
        marks = self._kernel_marks = np.zeros(kernel.N_MARKS, np.int64)
        marks[kernel.N_STALE] = n_channels
        marks[kernel.FIRST_OF : kernel.FIRST_OF + N_KINDS] = -1
        self._stamp = np.zeros(1)
        self._closed = np.zeros((N_KINDS, 4), np.int64)
        self._closed_channels = np.zeros((N_KINDS, n_channels), np.int64)
        self._findings: Sequence[Finding] = _NOTHING
        state: dict[str, NDArray[Any]] = {
            "floats": floats,
            "ints": self._ints,
            "faults": self._ring,
            "marks": marks,
            "stamp": self._stamp,
        }
        super().__init__(settings.name, info, state=state, holds=False)

    @property
    def bad(self) -> dict[str, tuple[str, ...]]:
        """Which channels are bad after the last row, and of what."""
        masks = self._ints[kernel.BAD]
        return {
            name: tuple(kind for k, kind in enumerate(KINDS) if masks[c] >> k & 1)
            for c, name in enumerate(self.info_in.ch_names)
            if masks[c]
        }

    def process(self, chunk: Chunk) -> Chunk:
        """Mark the rows, as `RowStage.process` does; `take_findings` has what ended in them."""
        self._findings = _NOTHING
        return super().process(chunk)

    def _run(self, chunk: Chunk, out: FloatArray, valid: BoolArray) -> None:
        n_rows = len(valid)
        if n_rows > 1:
            self._make_room(n_rows)
        n_closed = _mark_directly(
            chunk.data, chunk.valid, chunk.first_sample, self._parameters, self._counts, self._sos, self._floats,
            self._ints, self._ring, self._kernel_marks, out, valid, self._closed, self._closed_channels,
        )  # fmt: skip
        self._stamp[0] = chunk.timestamps[n_rows - 1]
        if n_closed:
            self._findings = self._report(n_closed, chunk)

    def _make_room(self, n_rows: int) -> None:
        """Have a place for every episode that can end within so many rows."""
        needed = N_KINDS * (n_rows // (int(self._counts[kernel.C_RECOVER]) + 1) + 1)
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
        marks = self._kernel_marks
        row = self._next_sample - 1
        episodes = self._ints[kernel.EPISODE]
        return [
            self._finding(
                row,
                float(self._stamp[0]),
                kind,
                int(marks[kernel.FIRST_OF + kind]),
                int(marks[kernel.LAST_OF + kind]),
                (episodes >> kind & 1) != 0,
                is_open=True,
            )
            for kind in range(N_KINDS)
            if marks[kernel.FIRST_OF + kind] >= 0
        ]

    def reset(self) -> None:
        """Forget all samples seen."""
        super().reset()
        self._findings = _NOTHING

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned; which channels are watched stays as the settings say.

        Raises
        ------
        ValueError
            If it is not a state of such a stage.
        """
        watched = self._ints[kernel.WATCHED].copy()
        super().set_state(state)
        self._ints[kernel.WATCHED] = watched
        self._findings = _NOTHING

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the limits in samples and units of the stream, the muscle filter and which channels are watched."""
        return {
            "parameters": self._parameters,
            "counts": self._counts,
            "sos": self._sos,
            "watched": self._ints[kernel.WATCHED].copy(),
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
    parameters = np.zeros(kernel.N_PARAMETERS)
    parameters[[kernel.P_AMPLITUDE, kernel.P_GRADIENT, kernel.P_HIGH, kernel.P_POWER]] = np.inf
    parameters[kernel.P_LOW] = -np.inf
    parameters[kernel.P_FLAT] = -1.0
    if settings.amplitude is not None:
        parameters[kernel.P_AMPLITUDE] = settings.amplitude.limit
        parameters[kernel.P_BASELINE] = 1.0 / max(1, round(settings.amplitude.baseline_s * sfreq))
    if settings.gradient is not None:
        per_sample = 1.0 if settings.gradient.per == "sample" else 1000.0 / sfreq
        parameters[kernel.P_GRADIENT] = settings.gradient.limit * per_sample
    if settings.flat is not None:
        parameters[kernel.P_FLAT] = settings.flat.limit
    if settings.rail is not None:
        parameters[kernel.P_LOW] = -np.inf if settings.rail.low is None else settings.rail.low
        parameters[kernel.P_HIGH] = np.inf if settings.rail.high is None else settings.rail.high
    if settings.muscle is not None:
        parameters[kernel.P_POWER] = settings.muscle.limit * settings.muscle.limit
        parameters[kernel.P_AVERAGE] = 1.0 / max(1, round(settings.muscle.average_s * sfreq))
    return parameters
