"""The reference stage: subtract the mean of the reference channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import boolean, float64, int64, void
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError
from neuroloop.config.kernels import direct, kernel
from neuroloop.config.stages import ReferenceSettings
from neuroloop.processors.stages.input_guard import (
    FLAGS,
    ROWS,
    VALUES,
    channel_indices,
    hold_chunk,
    hold_row,
    with_channels,
)
from neuroloop.processors.stages.row_stage import RowStage
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StreamInfo

_AVERAGED = ("EEG", "ECoG", "SEEG", "iEEG", "DBS", "LFP")
"""Types that an average is over, the first that the stream has; as MNE chooses them. Of others there must be one."""
_MOST_NAMES = 8
_KEPT_ALL = -1


@kernel(inline=True)
def _subtract_mean(
    x: FloatArray, weights: FloatArray, changed: FloatArray, n_reference: float, dropped: int, out: FloatArray
) -> None:
    """Subtract each row's mean over the weighted channels; eight partial sums, always in the same order.

    ``out`` lacks the column ``dropped``, unless that is -1.
    """
    n_rows, n_channels = x.shape
    before = n_channels if dropped < 0 else dropped
    whole = n_channels - n_channels % 8
    for i in range(n_rows):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for c in range(0, whole, 8):
            s0 += x[i, c] * weights[c]
            s1 += x[i, c + 1] * weights[c + 1]
            s2 += x[i, c + 2] * weights[c + 2]
            s3 += x[i, c + 3] * weights[c + 3]
            s4 += x[i, c + 4] * weights[c + 4]
            s5 += x[i, c + 5] * weights[c + 5]
            s6 += x[i, c + 6] * weights[c + 6]
            s7 += x[i, c + 7] * weights[c + 7]
        for c in range(whole, n_channels):
            s0 += x[i, c] * weights[c]
        mean = (((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))) / n_reference
        for c in range(before):
            out[i, c] = x[i, c] - mean * changed[c]
        for c in range(before + 1, n_channels):
            out[i, c - 1] = x[i, c] - mean * changed[c]


@kernel(void(ROWS, FLAGS, VALUES, VALUES, float64, float64[::1], float64[:, ::1], boolean[::1]))
def _reference_into(
    x: FloatArray,
    valid: BoolArray,
    weights: FloatArray,
    changed: FloatArray,
    n_reference: float,
    held: FloatArray,
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """Hold what is not a number, then reference."""
    if hold_chunk(x, valid, held, out, valid_out):
        _subtract_mean(x, weights, changed, n_reference, -1, out)
    else:
        _subtract_mean(out, weights, changed, n_reference, -1, out)


@kernel(void(ROWS, FLAGS, VALUES, VALUES, float64, int64, float64[::1], float64[:, ::1], float64[:, ::1], boolean[::1]))
def _reference_and_drop_into(
    x: FloatArray,
    valid: BoolArray,
    weights: FloatArray,
    changed: FloatArray,
    n_reference: float,
    dropped: int,
    held: FloatArray,
    row: FloatArray,
    out: FloatArray,
    valid_out: BoolArray,
) -> None:
    """The same, and leave one column out; ``out`` is too narrow to hold values in, so that they are held in ``row``."""
    for i in range(x.shape[0]):
        n_bad = hold_row(x, i, held, row, 0)
        valid_out[i] = valid[i] and n_bad == 0
        _subtract_mean(row, weights, changed, n_reference, dropped, out[i : i + 1])


_reference_directly = direct(_reference_into)
_reference_and_drop_directly = direct(_reference_and_drop_into)


class Reference(RowStage):
    """Subtract the mean of the reference channels.

    An average is over the channels of one type: EEG where the stream has any, else the first type it has of ECoG, SEEG,
    iEEG, DBS and LFP, else the only type there is. It changes those channels and no others; an average over one channel
    changes nothing. Named reference channels are subtracted from every channel of their unit that is not excluded; a
    single one would be zero from then on and is not handed on.

    A value that is not finite is replaced by its channel's last good one, and its row is flagged.

    Parameters
    ----------
    settings : ReferenceSettings
    info : StreamInfo

    Attributes
    ----------
    left_out : tuple of str
        Which channels are handed on unchanged, or not at all, for another reason than that they are excluded.
    frozen : ReferenceSettings
        Settings that mean the same channels whatever types a stream declares for them.

    Raises
    ------
    ConfigError
        If a channel is unknown, named twice, both reference and excluded, no reference channel is left or nothing
        besides it, the reference channels have several units, or an average could be over several types.
    """

    def __init__(self, settings: ReferenceSettings, info: StreamInfo) -> None:
        excluded = channel_indices(settings.exclude, info, "exclude")
        chosen = _averaged(excluded, info) if settings.channels == "average" else _named(settings, info)
        if not chosen:
            raise ConfigError(f"channels must leave at least one reference channel, got {settings.channels!r}")
        if len({info.ch_units[i] for i in chosen}) > 1:
            raise ConfigError(
                f"channels must have one unit to be averaged, got {_by_unit(chosen, info)}: leave some out"
            )
        others = [i for i in range(info.n_channels) if i not in chosen and i not in excluded]
        dropped, notes = _KEPT_ALL, []
        if settings.channels == "average":
            is_alone, untouched = len(chosen) == 1, others
            rule = f"not in the average over {len(chosen)} channels ({_kind(chosen[0], info)})"
            if is_alone:
                rule = (
                    f"not averaged with {info.ch_names[chosen[0]]}, the only channel of type {info.ch_types[chosen[0]]}"
                )
                notes.append(
                    f"the average: over {info.ch_names[chosen[0]]} alone it would leave zeros, nothing is subtracted"
                )
        else:
            is_alone, unit = False, info.ch_units[chosen[0]]
            untouched = [i for i in others if info.ch_units[i] != unit]
            rule = f"not in the unit of the reference ({unit or 'unknown'})"
            if len(chosen) == 1:
                dropped = chosen[0]
                notes.append(f"{info.ch_names[dropped]}: the one reference channel is not handed on, it would be zero")
                if info.n_channels == 1:
                    raise ConfigError(f"channels must leave a channel besides the reference, got {settings.channels!r}")
        if untouched:
            notes.append(f"{_by_kind(untouched, info)}: {rule}, handed on unchanged")
        self.left_out = tuple(notes)
        unchanged = sorted({*excluded, *untouched, *(chosen if is_alone else ())})
        self.frozen = settings.model_copy(
            update={
                "channels": "average" if is_alone else tuple(info.ch_names[i] for i in chosen),
                "exclude": tuple(info.ch_names[i] for i in unchanged if not (is_alone and i in chosen)),
            }
        )
        super().__init__(settings.name, info, info_out=None if dropped == _KEPT_ALL else _without(dropped, info))
        self._dropped = dropped
        self._weights = np.zeros(info.n_channels)
        self._weights[chosen] = 1.0
        self._changed = np.ones(info.n_channels)
        self._changed[unchanged] = 0.0
        self._weights.flags.writeable = self._changed.flags.writeable = False
        self._n_reference = float(len(chosen))
        self._row = np.empty((1, info.n_channels))

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        """Return which channels make the reference and which ones change."""
        return {"weights": self._weights, "changed": self._changed}

    def _run(self, chunk: Chunk, out: FloatArray, valid: BoolArray) -> None:
        data, flags, held = chunk.data, chunk.valid, self._held
        if self._dropped == _KEPT_ALL:
            _reference_directly(data, flags, self._weights, self._changed, self._n_reference, held, out, valid)
        else:
            _reference_and_drop_directly(
                data, flags, self._weights, self._changed, self._n_reference, self._dropped, held, self._row, out, valid
            )


def _averaged(excluded: Sequence[int], info: StreamInfo) -> list[int]:
    """Return the channels that an average is over."""
    left = [i for i in range(info.n_channels) if i not in excluded]
    types = list(dict.fromkeys(info.ch_types[i] for i in left))
    kind = next((one for one in _AVERAGED if one in types), types[0] if len(types) == 1 else None)
    if types and kind is None:
        rule = f"be named where a stream has none of type {', '.join(_AVERAGED)} and several others"
        raise ConfigError(f"channels must {rule} ({', '.join(types)}), got 'average'")
    return [i for i in left if info.ch_types[i] == kind]


def _named(settings: ReferenceSettings, info: StreamInfo) -> list[int]:
    """Return the channels that are the reference by name."""
    chosen = channel_indices(settings.channels, info, "channels")
    for i, name in enumerate(settings.channels):
        if name in settings.exclude:
            raise ConfigError(f"channels.{i} must not be in exclude, got {name!r}")
    return chosen


def _without(channel: int, info: StreamInfo) -> StreamInfo:
    """Return a stream without one of its channels."""
    return with_channels(info, [i for i in range(info.n_channels) if i != channel])


def _kind(channel: int, info: StreamInfo) -> str:
    """Return type and unit of a channel, such as ``EEG, uV``."""
    return ", ".join(text for text in (info.ch_types[channel], info.ch_units[channel]) if text)


def _names(channels: Sequence[int], info: StreamInfo) -> str:
    """Return the names of channels; of many the first ones."""
    names = [info.ch_names[i] for i in channels]
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES + 1 else ""
    return ", ".join(names[:_MOST_NAMES] if rest else names) + rest


def _by_kind(channels: Sequence[int], info: StreamInfo) -> str:
    """Return the names of channels, those of one type and unit together."""
    kinds = dict.fromkeys(_kind(i, info) for i in channels)
    groups = ((kind, [i for i in channels if _kind(i, info) == kind]) for kind in kinds)
    return ", ".join(f"{_names(group, info)} ({kind})" for kind, group in groups)


def _by_unit(channels: Sequence[int], info: StreamInfo) -> str:
    """Return the names of channels, those of one unit together."""
    units = dict.fromkeys(info.ch_units[i] for i in channels)
    groups = ((unit or "an unknown unit", [i for i in channels if info.ch_units[i] == unit]) for unit in units)
    return "; ".join(f"{_names(group, info)} in {unit}" for unit, group in groups)
