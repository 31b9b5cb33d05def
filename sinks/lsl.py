"""Monitoring outlets: what a pipeline does, for whoever wants to look; nothing a device may act on.

Every stream says ``monitoring`` in three places: its ``source_id`` begins with ``neuroloop-monitoring-``, its type is
``neuroloop-probabilities`` or ``neuroloop-signal`` (the text stream keeps LSL's ``Markers``), and its description has
``desc/neuroloop/purpose``. Pipelines do not take such streams as input unless they are asked for by name.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pylsl

from neuroloop.sinks.run_folder.folder import event_line
from neuroloop.stream.contracts.chunks import MONITORING_ID, Chunk, StreamInfo
from neuroloop.stream.contracts.events import Event

logger = logging.getLogger("neuroloop.lsl")

STATES = "states"
DEFAULT_EVENTS = frozenset({"state", "command", "refusal", "drift", "gap", "artifact", "stream", "skip"})
# liblsl takes a stamp of 0 for "now" and of -1 for "the one after the last"
_STAND_IN_FOR_ZERO = float(np.finfo(np.float64).tiny)
_STAND_IN_FOR_MINUS_ONE = float(np.nextafter(-1.0, 0.0))


class LslOutlets:
    """Offer events and tapped signals on the network; implements `EventSink` and `Tap`.

    Writing costs a copy into liblsl's queues, of bounded length, whose oldest entries go when a consumer does not keep
    up; without consumers it costs a look. Nothing is raised: what could not be sent is counted in ``n_errors``.

    Parameters
    ----------
    pipeline : str
        Name of the configuration; the streams are called ``<pipeline>-states``, ``<pipeline>-<tap>``.
    stream : str
        Name of the processed stream.
    taps : mapping
        What each offered tap gives out, by the tap's name; each row is sent with its own stamp. ``valid`` is not sent:
        the states say ``unknown`` where rows are flagged.
    classifier : str, optional
        Name of the tap whose rows are probabilities, offered as ``<pipeline>-probabilities``.
    events : collection of str or None
        Types of events that are offered, one JSON line each, as in ``events.jsonl``; None for no such stream.
    plan_hash : str
        Says which plan made the numbers; goes into the description.
    value_format : {'double64', 'float32'}
    max_buffered_s : int
        How much a slow consumer may be behind in seconds.

    Raises
    ------
    ValueError
        If ``classifier`` is no tap, or a tap would have a name that is taken.
    """

    def __init__(
        self,
        pipeline: str,
        *,
        stream: str,
        taps: Mapping[str, StreamInfo],
        classifier: str | None = None,
        events: frozenset[str] | None = DEFAULT_EVENTS,
        plan_hash: str = "",
        value_format: Literal["double64", "float32"] = "double64",
        max_buffered_s: int = 60,
    ) -> None:
        if classifier is not None and classifier not in taps:
            raise ValueError(f"classifier must be one of the taps ({', '.join(taps)}), got {classifier!r}")
        self.n_errors: Counter[str] = Counter()
        """What could not be sent, by stream."""
        self._pipeline = pipeline
        self._stream = stream
        self._plan_hash = plan_hash
        self._format = value_format
        self._max_buffered_s = max_buffered_s
        self._events = events
        self._states: Any = None
        self._outlets: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()
        """Names of the offered streams."""
        if events is not None:
            self._states = self._make_states()
        for tap, info in taps.items():
            self._outlets[tap] = self._make_signal(tap, info, is_probabilities=tap == classifier)

    def write(self, events: Sequence[Event]) -> None:
        """Offer the events of the wanted types, one line each, stamped with the event's own time."""
        if self._states is None or not self._states.have_consumers():
            return
        for event in events:
            if self._events is not None and event.type in self._events:
                try:
                    line = event_line(event)
                except (TypeError, ValueError) as error:  # a value that JSON does not have
                    self._failed(STATES, error)
                    continue
                self._push_line(event, line)

    def write_line(self, event: Event, line: str) -> None:
        """Offer an event whose line is written already; as `write`."""
        if self._states is None or self._events is None or event.type not in self._events:
            return
        if self._states.have_consumers():
            self._push_line(event, line)

    def write_chunk(self, tap: str, chunk: Chunk) -> None:
        """Offer the rows of one tap; a tap that is not offered is ignored."""
        outlet = self._outlets.get(tap)
        if outlet is None or not len(chunk) or not outlet.have_consumers():
            return
        try:
            outlet.push_chunk(chunk.data, list(map(_sendable, chunk.timestamps.tolist())))
        except (RuntimeError, ValueError) as error:
            self._failed(tap, error)

    def close(self) -> None:
        """Take the streams off the network; may be called twice."""
        self._states = None
        self._outlets.clear()

    def _push_line(self, event: Event, line: str) -> None:
        try:
            self._states.push_sample([line], _sendable(event.time))
        except (RuntimeError, ValueError) as error:
            self._failed(STATES, error)

    def _failed(self, what: str, error: Exception) -> None:
        """Count what could not be sent; the first of each stream is logged."""
        self.n_errors[what] += 1
        if self.n_errors[what] == 1:
            logger.warning("outlet %s-%s: could not send (%s)", self._pipeline, what, error)

    def _make_states(self) -> Any:
        lsl = self._lsl_info(STATES, "Markers", 1, pylsl.IRREGULAR_RATE, "string")
        channel = lsl.desc().append_child("channels").append_child("channel")
        channel.append_child_value("label", "event")
        channel.append_child_value("type", "Markers")
        return self._open(lsl)

    def _make_signal(self, tap: str, info: StreamInfo, *, is_probabilities: bool) -> Any:
        suffix, kind = ("probabilities", "neuroloop-probabilities") if is_probabilities else (tap, "neuroloop-signal")
        lsl = self._lsl_info(suffix, kind, info.n_channels, info.sfreq, self._format)
        channels = lsl.desc().append_child("channels")
        for label, unit, ch_type in zip(info.ch_names, info.ch_units, info.ch_types, strict=True):
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", unit)
            channel.append_child_value("type", ch_type)
        return self._open(lsl)

    def _lsl_info(self, suffix: str, kind: str, n_channels: int, sfreq: float, value_format: str) -> Any:
        """Describe an outlet, but for its channels."""
        name = f"{self._pipeline}-{suffix}"
        if name in self.names:
            raise ValueError(f"taps must have names other than {STATES!r} and 'probabilities', got {suffix!r}")
        self.names = (*self.names, name)
        digest = hashlib.sha256("\0".join((self._pipeline, self._stream, suffix)).encode()).hexdigest()
        lsl = pylsl.StreamInfo(name, kind, n_channels, sfreq, value_format, f"{MONITORING_ID}{digest[:16]}")
        desc = lsl.desc()
        desc.append_child_value("manufacturer", "neuroloop")
        own = desc.append_child("neuroloop")
        own.append_child_value("purpose", "monitoring")
        own.append_child_value("pipeline", self._pipeline)
        own.append_child_value("stream", self._stream)
        own.append_child_value("plan_hash", self._plan_hash)
        return lsl

    def _open(self, lsl: Any) -> Any:
        # Without a rate liblsl counts its buffer in hundreds of samples.
        return pylsl.StreamOutlet(lsl, max_buffered=self._max_buffered_s)


def _sendable(stamp: float) -> float:
    """Return a stamp, or the nearest one where it has a meaning of its own to liblsl."""
    if stamp == 0.0:
        return _STAND_IN_FOR_ZERO
    return _STAND_IN_FOR_MINUS_ONE if stamp == -1.0 else stamp
