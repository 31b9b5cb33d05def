"""What an XDF file says about one stream: its header in front, its footer at the end, both as XML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

ChannelFormat = Literal["double64", "float32", "int64", "string"]
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class XdfStream:
    """Describe one stream of a file.

    Parameters
    ----------
    name, type, source_id : str
    sfreq : float
        Nominal rate in Hz; 0 for an irregular stream.
    ch_names, ch_types, ch_units : tuple of str
        One entry per channel.
    channel_format : {'double64', 'float32', 'int64', 'string'}
    hostname : str
        Computer whose clock the stamps are of.
    created_at : float
        On that clock, in seconds.
    manufacturer, reference : str
        For ``desc``; left out where empty.
    own : mapping of str to str
        Goes into ``desc/neuroloop``, an element for each entry.
    """

    name: str
    type: str
    source_id: str
    sfreq: float
    ch_names: tuple[str, ...]
    ch_types: tuple[str, ...]
    ch_units: tuple[str, ...]
    channel_format: ChannelFormat
    hostname: str = ""
    created_at: float = 0.0
    manufacturer: str = ""
    reference: str = ""
    own: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.ch_names:
            raise ValueError(f"ch_names must have at least one entry, got {self.ch_names!r}")
        for label, values in (("ch_types", self.ch_types), ("ch_units", self.ch_units)):
            if len(values) != len(self.ch_names):
                raise ValueError(f"{label} must have one entry per channel ({len(self.ch_names)}), got {len(values)}")

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.ch_names)

    def header(self) -> bytes:
        """Return the XML of the StreamHeader chunk."""
        info = Element("info")
        _add(info, "name", self.name)
        _add(info, "type", self.type)
        _add(info, "channel_count", str(self.n_channels))
        _add(info, "nominal_srate", repr(self.sfreq) if self.sfreq else "0")
        _add(info, "channel_format", self.channel_format)
        _add(info, "source_id", self.source_id)
        _add(info, "version", "1.1")
        _add(info, "created_at", repr(self.created_at))
        _add(info, "hostname", self.hostname)
        desc = ElementTree.SubElement(info, "desc")
        if self.manufacturer:
            _add(desc, "manufacturer", self.manufacturer)
        if self.reference:
            _add(ElementTree.SubElement(desc, "reference"), "label", self.reference)
        channels = ElementTree.SubElement(desc, "channels")
        for name, kind, unit in zip(self.ch_names, self.ch_types, self.ch_units, strict=True):
            channel = ElementTree.SubElement(channels, "channel")
            _add(channel, "label", name)
            _add(channel, "unit", unit)
            _add(channel, "type", kind)
        own = ElementTree.SubElement(desc, "neuroloop")
        for key, value in self.own.items():
            _add(own, key, value)
        return _xml(info)


@dataclass
class StreamCounts:
    """What a footer tells about a stream; kept while it is written."""

    n_samples: int = 0
    first: float = 0.0
    last: float = 0.0
    offsets: list[tuple[float, float]] = field(default_factory=list)

    def count(self, first: float, last: float, n_samples: int) -> None:
        """Take note of samples with these stamps at the ends."""
        if not self.n_samples:
            self.first = first
        self.last = last
        self.n_samples += n_samples

    def footer(self) -> bytes:
        """Return the XML of the StreamFooter chunk."""
        info = Element("info")
        _add(info, "first_timestamp", repr(self.first))
        _add(info, "last_timestamp", repr(self.last))
        _add(info, "sample_count", str(self.n_samples))
        span_s = self.last - self.first
        _add(info, "measured_srate", repr((self.n_samples - 1) / span_s) if span_s > 0 else "0")
        offsets = ElementTree.SubElement(info, "clock_offsets")
        for when, value in self.offsets:
            offset = ElementTree.SubElement(offsets, "offset")
            _add(offset, "time", repr(when))
            _add(offset, "value", repr(value))
        return _xml(info)


def file_header(datetime_text: str) -> bytes:
    """Return the XML of the FileHeader chunk."""
    info = Element("info")
    _add(info, "version", "1.0")
    _add(info, "datetime", datetime_text)
    return _xml(info)


def _add(parent: Element, tag: str, text: str) -> None:
    """Add an element; characters that XML forbids become blanks: one of them would make all of it unreadable."""
    ElementTree.SubElement(parent, tag).text = _FORBIDDEN.sub(" ", text)


def _xml(element: Element) -> bytes:
    text: bytes = ElementTree.tostring(element, encoding="utf-8", xml_declaration=False)
    return b'<?xml version="1.0"?>' + text
