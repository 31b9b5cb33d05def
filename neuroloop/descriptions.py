"""What a stream is, from what a user has in hand: a rate and a unit, a description, a recording, an MNE object."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.channel_types import guess_channel_type, most_common_type, normal_channel_type
from neuroloop.stream.sources.recordings.recording import Recording, select_stream
from neuroloop.stream.sources.units import assume_unit, normal_unit

ARRAY_NAME = "array"
"""What a stream of bare arrays is called."""


def stream_info(
    *,
    sfreq: float,
    n_channels: int | None = None,
    channels: Sequence[str] | int | None = None,
    units: str | Sequence[str] = "",
    types: str | Sequence[str] | None = None,
    name: str = ARRAY_NAME,
) -> StreamInfo:
    """Describe a stream by what is known of it.

    Parameters
    ----------
    sfreq : float
        Sampling rate in Hz.
    n_channels : int, optional
        Number of channels, which are called ``ch1``, ``ch2``, ... as those of a file or sender without names.
    channels : sequence of str or int, optional
        Names of the channels, or their number.
    units : str or sequence of str
        Of all channels or of each, in any usual spelling (``uV``, ``µV``, ``microvolts``); empty where not known.
    types : str or sequence of str, optional
        Of all channels or of each (``EEG``, ``EMG``, ...); guessed from the names otherwise, as for files.
    name : str

    Raises
    ------
    ConfigError
        If the rate is not above 0, or names, number, units and types do not fit each other.
    """
    if not (isinstance(sfreq, (int, float)) and math.isfinite(sfreq) and sfreq > 0):
        raise ConfigError(f"sfreq must be a number above 0 (Hz), got {sfreq!r}")
    names = _names(channels if channels is not None else n_channels)
    if n_channels is not None and len(names) != n_channels:
        raise ConfigError(f"n_channels must be the number of channels ({len(names)}), got {n_channels!r}")
    kinds = (
        tuple(map(guess_channel_type, names))
        if types is None
        else tuple(map(normal_channel_type, _each("types", types, len(names))))
    )
    symbols = tuple(map(normal_unit, _each("units", units, len(names))))
    return StreamInfo(name, most_common_type(kinds), "", float(sfreq), names, kinds, symbols)


def describe(stream: Any) -> StreamInfo | None:
    """Return what a user's object says a stream is; None where there is no object.

    Parameters
    ----------
    stream : StreamInfo, Recording, ``mne.Info``, ``mne.io.Raw``, None, or an object whose ``info`` is a StreamInfo

    Raises
    ------
    ConfigError
        If the object is of another kind.
    """
    if stream is None or isinstance(stream, StreamInfo):
        return stream
    if isinstance(stream, Recording):
        return select_stream(stream).info
    if is_mne(stream, "Info"):
        return _from_mne(stream)
    if is_mne(stream, "Raw"):
        return _from_mne(stream.info)
    info = getattr(stream, "info", None)
    if isinstance(info, StreamInfo):
        return info
    rule = "a StreamInfo, an open LSL stream, a recording, an MNE Raw or Info, or left out for arrays"
    raise ConfigError(f"stream must be {rule}, got {type(stream).__name__}")


def with_units(info: StreamInfo, units: str | Sequence[str] | None) -> StreamInfo:
    """Return the description with these units for the channels that have none.

    Raises
    ------
    ConfigError
        If no channel's unit is known then; ``units=""`` says that there is none.
    """
    if units is None:
        if not any(info.ch_units):
            rule = "units must be given where no channel has one (such as 'uV', or '' where there is none)"
            raise ConfigError(f"{rule}, got none for stream {info.name!r}")
        return info
    if isinstance(units, str):
        return assume_unit(info, units)
    symbols = map(normal_unit, _each("units", units, info.n_channels))
    merged = tuple(own or given for own, given in zip(info.ch_units, symbols, strict=True))
    return StreamInfo(info.name, info.type, info.source_id, info.sfreq, info.ch_names, info.ch_types, merged)


def is_mne(thing: Any, kind: str) -> bool:
    """Say whether an object is MNE's ``Raw`` or ``Info``; MNE is not imported for it."""
    mne = sys.modules.get("mne")
    if mne is None:
        return False
    return isinstance(thing, mne.Info if kind == "Info" else mne.io.BaseRaw)


def _from_mne(info: Any) -> StreamInfo:
    """Take over names, rate, types and units (MNE keeps volts, teslas, ...)."""
    from mne import channel_type
    from mne.io.constants import FIFF

    symbols = {
        FIFF.FIFF_UNIT_V: "V",
        FIFF.FIFF_UNIT_T: "T",
        FIFF.FIFF_UNIT_T_M: "T/m",
        FIFF.FIFF_UNIT_M: "m",
        FIFF.FIFF_UNIT_S: "S",
        FIFF.FIFF_UNIT_CEL: "degC",
    }
    kinds = tuple(normal_channel_type(channel_type(info, index)) for index in range(len(info["chs"])))
    units = tuple(
        "" if kind == "STIM" else symbols.get(one["unit"], "") for kind, one in zip(kinds, info["chs"], strict=True)
    )
    return StreamInfo("mne", most_common_type(kinds), "", float(info["sfreq"]), tuple(info["ch_names"]), kinds, units)


def _names(channels: Sequence[str] | int | None) -> tuple[str, ...]:
    """Return the channels' names, made up where only their number is known."""
    if channels is None:
        raise ConfigError("channels must be given (their names or their number), got nothing")
    names = tuple(f"ch{i + 1}" for i in range(channels)) if isinstance(channels, int) else tuple(channels)
    if isinstance(channels, str) or not names or not all(isinstance(one, str) and one for one in names):
        raise ConfigError(f"channels must be names or a number above 0, got {channels!r}")
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise ConfigError(f"channels must have different names, got {twice[0]!r} twice")
    return names


def _each(label: str, values: str | Sequence[str], n_channels: int) -> tuple[str, ...]:
    """Return one value for each channel."""
    each = (values,) * n_channels if isinstance(values, str) else tuple(values)
    if len(each) != n_channels:
        raise ConfigError(f"{label} must be one for all or one per channel ({n_channels}), got {len(each)}")
    return each
