"""Channels as a stream's own XML description declares them; used for XDF headers and live LSL streams alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from neuroloop.config.json_text import parse_json
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.sources.channel_types import is_auxiliary, normal_channel_type
from neuroloop.stream.sources.units import normal_unit

MOST_NAME = 256
"""Characters of a name that a sender or a file gives: what is longer is cut."""
_NAME_TAGS = ("label", "name", "id")
_UNIT_TAGS = ("unit", "units", "scale")
_TYPE_TAGS = ("type", "kind")


@dataclass(frozen=True)
class ChannelTable:
    """Names, types and units of a stream's channels, and what was odd about their description."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    units: tuple[str, ...]
    notes: tuple[str, ...]


def parse_xml(text: str) -> Element | None:
    """Parse a stream's XML; None where it is not well-formed or could define entities that grow without bound."""
    if "<!DOCTYPE" in text:
        return None
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - document types are refused above
    except (ElementTree.ParseError, ValueError, RecursionError):
        return None


def field_text(element: Element | None, *tags: str) -> str:
    """Return the stripped text of the first non-empty child with one of the tags, in the tags' order, or ``""``."""
    if element is None:
        return ""
    for tag in tags:
        for child in element:
            if child.tag.lower() == tag and child.text and child.text.strip():
                return child.text.strip()
    return ""


def short_text(element: Element | None, *tags: str) -> str:
    """Return what `field_text` does, as a name: of bounded length."""
    return field_text(element, *tags)[:MOST_NAME]


def unique_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Number the repetitions of a name (``T8-P8``, ``T8-P8#2``), so that every channel can be named.

    Returns
    -------
    names, notes : tuple of str
    """
    taken, result, notes = set(names), [], []
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        fresh = name
        if seen[name] > 1:
            while fresh in taken:
                fresh = f"{name}#{seen[name]}"
                seen[name] += fresh in taken
            taken.add(fresh)
            notes.append(f"channel name {name!r} is used more than once, another one is called {fresh!r}")
        result.append(fresh)
    return tuple(result), tuple(notes)


def describe_channels(description: Element | None, n_channels: int, stream_type: str) -> ChannelTable:
    """Read labels, types and units of the channels from a ``desc`` element.

    Parameters
    ----------
    description : Element or None
        ``desc`` of an LSL stream; ``channels/channel`` with ``label`` or ``name``, ``unit`` or ``units``, ``type``, in
        any letter case.
    n_channels : int
    stream_type : str
        Stands in for a missing channel type.

    Returns
    -------
    ChannelTable
        ``ch1``, ``ch2``, ... where labels are missing; an unknown unit is an empty string.
    """
    channels = _channel_elements(description)
    notes = []
    if channels and len(channels) != n_channels:
        notes.append(f"describes {len(channels)} channels but has {n_channels}: the description is not used")
        channels = []
    rows: list[Element | None] = list(channels) if channels else [None] * n_channels
    names = [short_text(row, *_NAME_TAGS) or f"ch{i + 1}" for i, row in enumerate(rows)]
    fallback = normal_channel_type(stream_type) or "misc"
    types = [normal_channel_type(short_text(row, *_TYPE_TAGS)) or fallback for row in rows]
    units = [normal_unit(short_text(row, *_UNIT_TAGS)) for row in rows]
    for i, name in enumerate(names):
        if types[i] == "EEG" and is_auxiliary(name):
            types[i] = "misc"
            notes.append(f"channel {name!r} is an auxiliary input by its name: its type is misc, not EEG")
    unique, doubled = unique_names(names)
    return ChannelTable(unique, tuple(types), tuple(units), (*notes, *doubled))


def _channel_elements(description: Element | None) -> list[Element]:
    """Find the channel elements under ``desc``, wherever they stand."""
    if description is None:
        return []
    for holder in description.iter():
        if holder.tag.lower() == "channels":
            found = [child for child in holder if child.tag.lower() in ("channel", "ch")]
            if found:
                return found
    return [child for child in description if child.tag.lower() == "channel"]


def own_info(text: str, n_channels: int) -> StreamInfo | None:
    """Read the exact description that our own player or recorder wrote as JSON; None where there is none that fits."""
    if not text:
        return None
    try:
        fields = parse_json(text)
        tuples = {key: tuple(map(str, fields[key])) for key in ("ch_names", "ch_types", "ch_units")}
        texts = {key: str(fields[key]) for key in ("name", "type", "source_id")}
        info = StreamInfo(sfreq=float(fields["sfreq"]), **texts, **tuples)  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    return info if info.n_channels == n_channels else None
