"""From LSL's description of a stream to ours, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal
from xml.etree.ElementTree import Element

import pylsl

from neuroloop.config.json_text import parse_json
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.stream_description import (
    MOST_NAME,
    describe_channels,
    field_text,
    own_info,
    parse_xml,
    short_text,
)

Stamps = Literal["clock", "recording"]
"""Whose stamps a stream carries: the sender's clock, or those of a recording that is being played."""
Counter = Literal["none", "stamps", "channel"]
"""How a played recording's own sample numbers travel: not at all, as stamp times rate, or in a last channel."""
COUNTER_CHANNEL = "sample_number"
_MOST_DIGITS = 15
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


@dataclass(frozen=True)
class Description:
    """What a sender says about its stream.

    Parameters
    ----------
    info : StreamInfo
    notes : tuple of str
        What was missing or odd; a user should be told.
    stamps : {'clock', 'recording'}
    counter : {'none', 'stamps', 'channel'}
        Of a played recording; with ``channel``, the channel is not part of ``info``.
    """

    info: StreamInfo
    notes: tuple[str, ...]
    stamps: Stamps = "clock"
    counter: Counter = "none"
    n_samples: int | None = None
    """How many samples will be sent in all, where the sender says so."""
    first_sample: int = 0
    """Number of the first sample of a played recording that does not begin at 0."""


def describe(lsl: Any) -> Description:
    """Read a full LSL description.

    A stream that our own player sends says which recorded stream it is (``desc/neuroloop``); it then gets exactly that
    stream's description, whatever its name on the network.

    Parameters
    ----------
    lsl : pylsl.StreamInfo
        As ``StreamInlet.info()`` returns it.

    Returns
    -------
    Description
        ``ch1``, ``ch2``, ... where labels are missing, the stream's type where channels have none, an empty unit where
        it is not known.
    """
    notes: list[str] = []
    root = parse_xml(lsl.as_xml())
    if root is None:
        notes.append("its description is not well-formed XML and is not used")
    desc = None if root is None else root.find("desc")
    own = None if desc is None else desc.find("neuroloop")
    stamps: Stamps = "recording" if field_text(own, "stamps") == "recording" else "clock"
    n_channels = lsl.channel_count()
    kind = field_text(own, "counter")
    counter: Counter = "stamps" if kind == "stamps" else "channel" if kind == "channel" else "none"
    played = own_info(field_text(own, "info"), n_channels - (counter == "channel"))
    if played is not None:
        total, first = field_text(own, "n_samples"), field_text(own, "first_sample")
        return Description(
            played,
            tuple(notes),
            stamps,
            counter,
            _whole(total),
            _whole(first) or 0,
        )
    table = describe_channels(desc, n_channels, lsl.type())
    notes.extend(table.notes)
    if n_channels and table.names == tuple(f"ch{i + 1}" for i in range(n_channels)):
        notes.append(f"no channel labels: the {n_channels} channels are called ch1 to ch{n_channels}")
    if not any(table.units):
        notes.append("no channel units: values are taken as they come")
    info = StreamInfo(
        name=short_text(own, "stream_name") or lsl.name()[:MOST_NAME],
        type=lsl.type()[:MOST_NAME],
        source_id=lsl.source_id()[:MOST_NAME],
        sfreq=_number(field_text(own, "sfreq"), lsl.nominal_srate()),
        ch_names=table.names,
        ch_types=table.types,
        ch_units=table.units,
    )
    return Description(info, tuple(notes), stamps)


def make_lsl_info(
    info: StreamInfo,
    *,
    name: str,
    source_id: str,
    value_format: str,
    stamps: Stamps,
    counter: Counter = "none",
    n_samples: int | None = None,
    first_sample: int = 0,
    lsl_type: str | None = None,
) -> Any:
    """Describe a recorded or simulated stream for an outlet, so that `describe` gives back exactly ``info``.

    Parameters
    ----------
    info : StreamInfo
    name, source_id : str
        What the stream is called on the network.
    value_format : str
        ``double64`` or ``float32``.
    stamps : {'clock', 'recording'}
    counter : {'none', 'stamps', 'channel'}
        With ``channel`` the outlet has one more channel, the last one, for sample numbers.
    n_samples : int, optional
        How many samples will be sent in all; a consumer that has them all need not wait for more.
    first_sample : int
        Number of the first sample.
    lsl_type : str, optional
        Type on the network, where that is to be another than the stream's own.

    Returns
    -------
    pylsl.StreamInfo
    """
    rows = list(zip(info.ch_names, info.ch_types, info.ch_units, strict=True))
    if counter == "channel":
        rows.append((COUNTER_CHANNEL, "counter", ""))
    kind_shown = _plain(info.type if lsl_type is None else lsl_type)
    lsl = pylsl.StreamInfo(_plain(name), kind_shown, len(rows), info.sfreq, value_format, source_id)
    desc = lsl.desc()
    desc.append_child_value("manufacturer", "neuroloop")
    channels = desc.append_child("channels")
    for label, kind, unit in rows:
        channel = channels.append_child("channel")
        _append(channel, {"label": label, "unit": unit, "type": kind})
    # As JSON because XML drops blanks at the ends of texts and forbids some characters.
    own = {"stream_name": info.name, "sfreq": repr(info.sfreq), "stamps": stamps, "counter": counter}
    if n_samples is not None:
        own["n_samples"] = str(n_samples)
    if first_sample:
        own["first_sample"] = str(first_sample)
    _append(desc.append_child("neuroloop"), {**own, "info": json.dumps(asdict(info))})
    return lsl


def make_marker_info(*, name: str, source_id: str, stream_name: str, stamps: Stamps, lsl_type: str = "Markers") -> Any:
    """Describe a stream of text markers; ``stream_name`` is what the markers' stream is called in the recording."""
    lsl = pylsl.StreamInfo(_plain(name), lsl_type, 1, pylsl.IRREGULAR_RATE, "string", source_id)
    desc = lsl.desc()
    desc.append_child_value("manufacturer", "neuroloop")
    own = {"stream_name": stream_name, "stamps": stamps, "info": json.dumps({"name": stream_name})}
    _append(desc.append_child("neuroloop"), own)
    return lsl


def marker_stream_name(lsl: Any) -> tuple[str, Stamps]:
    """Return the name that a stream's markers carry, and whose stamps they have."""
    root = parse_xml(lsl.as_xml())
    own: Element | None = None if root is None else root.find("desc/neuroloop")
    stamps: Stamps = "recording" if field_text(own, "stamps") == "recording" else "clock"
    try:
        return str(parse_json(field_text(own, "info"))["name"]), stamps
    except (ValueError, TypeError, KeyError):
        return field_text(own, "stream_name") or lsl.name(), stamps


def _plain(text: str) -> str:
    """Replace characters that XML forbids by blanks: one of them makes a whole description unreadable."""
    return _CONTROL.sub(" ", text)


def _append(element: Any, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        element.append_child_value(key, _plain(value))


def _whole(text: str) -> int | None:
    """Read a count of samples; what is none, or more than any stream has, is not used."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _number(text: str, otherwise: float) -> float:
    """Read a rate in Hz; what a sender wrote wrongly is not used."""
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return value if 0 <= value < float("inf") else otherwise
