"""Sample numbers: raw blocks of one stream become chunks with the true ``first_sample``.

The same `Sequencer` runs live, in replay and on workers. Its rules (`neuroloop.stream.engine.sequencer_kernel`) are
recursions over samples: any cutting of the same samples gives the same rows, numbers and events, bit for bit.

===========  ==============================================================================================
timing       a gap is
===========  ==============================================================================================
``counter``  a step of the sample number above 1; a repeated or lower number is dropped
``regular``  a step of the stamp above 1.5 nominal periods; a sample that comes late into such a gap is dropped
``bursty``   a stamp ahead of the line at the effective rate by more than ``gap_tolerance_s``, after a step above 1.5
             periods (a rate that fell makes a lead without one)
``auto``     ``counter`` where there are sample numbers; otherwise judged from the first two seconds of samples,
             ``bursty`` until then, save that a longer step on the grid of periods is a gap where all steps of the
             first half second and since were of one period
===========  ==============================================================================================

``auto`` decides for ``regular`` when every step was within a quarter period of a whole number of periods, at most one
in ten of them longer than one, and their mean within 1 % of the nominal rate. One later step below half a period
disproves it: from there on the stream is ``bursty``. The decision is logged and is an attribute (`Sequencer.mode`).
An irregular stream (``sfreq`` 0) is numbered in order of arrival.

The rate of the stamps is compared with the nominal one every five seconds of samples; a ``stream`` event (``rate``)
says when it is off by more than ``rate_tolerance`` for twenty seconds. With ``dejitter: linear`` the stamps handed on
are those of a line (`neuroloop.stream.engine.dejitter`); numbers still follow from the raw ones.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.kernels import direct
from neuroloop.config.source import TimingSettings
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StateDict, StreamInfo, make_chunk
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.engine import sequencer_kernel as rules
from neuroloop.stream.engine.dejitter import N_PARAMETERS, first_state, smooth_stamps
from neuroloop.stream.engine.gap_fill import FILLS, fill_rows
from neuroloop.stream.engine.sequencer_kernel import IntArray, number_samples

_log = logging.getLogger("neuroloop.timing")

JUDGE_S = 2.0
MIN_JUDGED = 16
_MODES = {
    rules.JUDGING: "bursty",
    rules.COUNTER: "counter",
    rules.REGULAR: "regular",
    rules.BURSTY: "bursty",
    rules.ARRIVAL: "arrival",
}
_COUNTERS = {
    "received": rules.RECEIVED,
    "filled": rules.FILLED,
    "jumped": rules.JUMPED,
    "duplicates": rules.DUPLICATES,
    "backward": rules.BACKWARD,
    "nonfinite": rules.NONFINITE,
    "gaps": rules.GAPS,
    "clock_steps": rules.CLOCK_STEPS,
    "counter_resets": rules.COUNTER_RESETS,
    "bad_stamps": rules.BAD_STAMPS,
}
_FLOAT64 = np.dtype(np.float64)
_number_directly = direct(number_samples)
_NO_NUMBERS: IntArray = np.empty(0, np.int64)
_NO_VALID: BoolArray = np.empty(0, np.bool_)


class Sequencer:
    """Number the samples of one stream, fill or jump over what is missing, report it.

    Parameters
    ----------
    settings : TimingSettings
    info : StreamInfo
        The stream; its nominal rate is the yardstick of every rule.
    position : int
        Number of the first sample.

    Notes
    -----
    A gap is known only at the first sample after it, whose number its event carries. A stream that stalls and then
    delivers late with stamps of arrival looks like a gap while it lasts, if longer than ``gap_tolerance_s``: stamps of
    arrival cannot tell the two apart. Losses below the tolerance in a ``bursty`` stream stay unseen, the number then
    lags the stamps by less than the tolerance. Between packets a loss is counted to within the jitter of the packets.
    Repeated samples are recognised by their numbers under ``counter``, otherwise by stamp and row, both exactly those
    of one of the last 4096 samples: a clock that was set back by whole periods carries old stamps over new rows. Under
    ``bursty`` one sample sent twice in a row stays, as packets may share a stamp, and so do those of a signal that
    stands still; explicit ``regular`` drops every stamp equal to its predecessor. A clock set forward cannot be told
    from a loss without sample numbers.
    """

    def __init__(self, settings: TimingSettings, info: StreamInfo, position: int = 0) -> None:
        if position < 0:
            raise ValueError(f"position must be >= 0, got {position!r}")
        self.info = info
        self._n_channels = info.n_channels
        self.settings = settings
        sfreq = info.sfreq
        history = rules.HISTORY if sfreq > 0 and settings.timing != "counter" else 0
        self._floats: FloatArray = np.zeros(rules.ROW + info.n_channels + 2 * history)
        self._ints: IntArray = np.zeros(rules.N_INTS, np.int64)
        floats, ints = self._floats, self._ints
        period = 1.0 / sfreq if sfreq > 0 else 0.0
        floats[rules.SFREQ] = sfreq
        floats[rules.TOLERANCE] = settings.gap_tolerance_s
        floats[rules.LINE_TOLERANCE] = max(settings.gap_tolerance_s, 0.5 * period)
        floats[rules.LINE_MEMORY] = max(rules.LINE_MEMORY_S * sfreq, 16.0)
        floats[rules.RATE_MEMORY] = max(rules.RATE_MEMORY_S * sfreq, 16.0)
        floats[rules.PERIOD] = floats[rules.RATE_PERIOD] = period
        floats[rules.RATE_TOLERANCE] = settings.rate_tolerance
        floats[rules.LINE_PRIOR] = max(rules.LINE_PRIOR_S * sfreq, 2.0)
        ints[rules.AUTO] = settings.timing == "auto"
        ints[rules.N_JUDGE] = max(round(JUDGE_S * sfreq), MIN_JUDGED)
        ints[rules.N_TOLERANCE] = round(settings.gap_tolerance_s * sfreq)
        ints[rules.N_RESET] = round(settings.reset_after_s * sfreq)
        ints[rules.N_BLOCK] = max(round(rules.RATE_BLOCK_S * sfreq), rules.MIN_RATE_BLOCK)
        ints[rules.START] = ints[rules.NEXT] = position
        ints[rules.MODE] = self._first_mode()
        self._said = int(ints[rules.MODE])
        self._fill = FILLS[settings.fill]
        self._smoothing = first_state(sfreq) if settings.dejitter == "linear" and sfreq > 0 else None
        self._next = position
        self._events: list[Event] = []
        self._notes: IntArray = np.empty(256, np.int64)
        self._rates: FloatArray = np.empty(256)

    def _first_mode(self) -> int:
        if self.settings.timing == "counter":
            return rules.COUNTER
        if self.info.sfreq == 0:
            return rules.ARRIVAL
        return {"auto": rules.JUDGING, "regular": rules.REGULAR, "bursty": rules.BURSTY}[self.settings.timing]

    @property
    def mode(self) -> str:
        """The rule in force: ``counter``, ``regular``, ``bursty`` or ``arrival`` (irregular streams)."""
        return _MODES[int(self._ints[rules.MODE])]

    @property
    def is_decided(self) -> bool:
        """Whether ``auto`` has come to its decision; true for any other timing."""
        return int(self._ints[rules.MODE]) != rules.JUDGING

    @property
    def effective_sfreq(self) -> float:
        """Rate of the stamps over about the last five minutes, in Hz; 0 for an irregular stream."""
        period = float(self._floats[rules.RATE_PERIOD])
        return 1.0 / period if period > 0 else 0.0

    @property
    def next_sample(self) -> int:
        """Number of the sample that would follow without a gap."""
        return self._next

    @property
    def start(self) -> int:
        """Number of the first sample; ``next_sample - start == received + filled + jumped``, always."""
        return int(self._ints[rules.START])

    @property
    def counters(self) -> dict[str, int]:
        """What happened so far.

        ``received`` (rows handed on), ``filled`` and ``jumped`` (missing samples), ``duplicates`` (rows dropped: they
        were repeated or too late for their place; with ``received`` all rows pushed), ``backward`` (stamps below
        their predecessor), ``nonfinite`` (rows), ``gaps``, ``clock_steps``, ``counter_resets``, ``bad_stamps`` (not
        finite).
        """
        return {name: int(self._ints[index]) for name, index in _COUNTERS.items()}

    def take_events(self) -> list[Event]:
        """Return the events since the last call, in order, and forget them."""
        events, self._events = self._events, []
        return events

    def push(
        self,
        data: FloatArray,
        timestamps: FloatArray,
        sample_numbers: IntArray | None = None,
        valid: BoolArray | None = None,
    ) -> list[Chunk]:
        """Number the samples.

        Parameters
        ----------
        data : array, shape (n_samples, n_channels)
            Owned by the caller, who may reuse it after the call.
        timestamps : array, shape (n_samples,)
            The sender's raw stamps in seconds. One that is not finite is replaced by what the line predicts.
        sample_numbers : array of int64, shape (n_samples,), optional
            Unwrapped; what rules under ``counter``.
        valid : array of bool, shape (n_samples,), optional
            Rows that the source knows to be bad are False.

        Returns
        -------
        list of Chunk
            New arrays; none for an empty block or one of repeated samples only, more than one where a gap was longer
            than ``reset_after_s``: the number of the chunk after it jumps.

        Raises
        ------
        ValueError
            If a shape is wrong, or sample numbers are missing where they rule.
        """
        n_samples = len(timestamps)
        if data.shape != (n_samples, self._n_channels):
            raise ValueError(f"data must have shape ({n_samples}, {self._n_channels}), got {data.shape!r}")
        if n_samples == 0:
            return []
        numbers = _NO_NUMBERS
        if sample_numbers is not None or self._said == rules.COUNTER:
            numbers = self._check_numbers(sample_numbers, n_samples)
        flags = _NO_VALID if valid is None else np.ascontiguousarray(valid, np.bool_)
        if valid is not None and valid.shape != (n_samples,):
            raise ValueError(f"valid must have shape ({n_samples},), got {valid.shape!r}")
        if data.dtype is not _FLOAT64 or not data.flags.c_contiguous:
            data = np.ascontiguousarray(data, np.float64)
        if timestamps.dtype is not _FLOAT64 or not timestamps.flags.c_contiguous:
            timestamps = np.ascontiguousarray(timestamps, np.float64)
        if n_samples > len(self._notes):
            self._notes = np.empty(2 * n_samples, np.int64)
            self._rates = np.empty(2 * n_samples)
        rows = np.empty(data.shape)
        stamps = np.empty(n_samples)
        good = np.empty(n_samples, np.bool_)
        first = self._next
        n_special = _number_directly(
            data, timestamps, numbers, flags, self._floats, self._ints, rows, stamps, good, self._notes, self._rates
        )
        if self._smoothing is not None:
            smooth_stamps(stamps, self._notes, int(self._ints[rules.N_RESET]), self._smoothing)
            if n_special == 0:
                self._floats[rules.LAST_STAMP] = stamps[-1]
        if n_special == 0:
            self._next = first + n_samples
            return [make_chunk(rows, stamps, first, good, self.info)]
        return self._assemble(rows, stamps, good, numbers)

    def _check_numbers(self, sample_numbers: IntArray | None, n_samples: int) -> IntArray:
        """Return what the kernel reads as sample numbers; let ``auto`` decide for them at the first sample."""
        ints = self._ints
        if sample_numbers is not None and ints[rules.AUTO] and not ints[rules.STARTED]:
            ints[rules.MODE] = self._said = rules.COUNTER
            _log.info("%s: timing 'counter' (the source gives sample numbers)", self.info.name)
        if ints[rules.MODE] != rules.COUNTER:
            return _NO_NUMBERS
        if sample_numbers is None:
            raise ValueError("sample_numbers must be given with timing 'counter', got None")
        if sample_numbers.shape != (n_samples,):
            raise ValueError(f"sample_numbers must have shape ({n_samples},), got {sample_numbers.shape!r}")
        return np.ascontiguousarray(sample_numbers, np.int64)

    def _assemble(self, rows: FloatArray, stamps: FloatArray, good: BoolArray, numbers: IntArray) -> list[Chunk]:
        """Cut at jumps, fill gaps, write events; the rare way."""
        self._log_mode()
        n_samples = len(stamps)
        advances = self._notes[:n_samples] >> 2
        remarks = self._notes[:n_samples] & 3
        n_reset = int(self._ints[rules.N_RESET])
        chunks: list[Chunk] = []
        index, begin = self._next, 0
        before = float(self._floats[rules.LAST_STAMP])
        first = index
        for i in range(n_samples):
            advance = int(advances[i])
            if advance == 0:
                continue
            stamp = float(stamps[i])
            missing = advance - 1
            if missing > n_reset:
                chunks += self._cut(rows, stamps, good, advances, begin, i, first)
                begin, first = i, index + missing
                advances[i] = 1
            index += missing
            if missing:
                self._events.append(self._gap_event(index, missing, before, stamp, filled=missing <= n_reset))
            if remarks[i] == rules.CLOCK_STEP:
                self._events.append(self._stream_event(index, stamp, {"what": "clock_step", "step_s": stamp - before}))
            elif remarks[i] == rules.COUNTER_RESET:
                values = {"what": "counter_reset", "number": int(numbers[i])}
                self._events.append(self._stream_event(index, stamp, values))
            elif remarks[i] == rules.OFF_RATE:
                self._events.append(self._stream_event(index, stamp, self._rate_values(i)))
            index += 1
            before = stamp
        chunks += self._cut(rows, stamps, good, advances, begin, n_samples, first)
        self._next = int(self._ints[rules.NEXT])
        return chunks

    def _cut(
        self,
        rows: FloatArray,
        stamps: FloatArray,
        good: BoolArray,
        advances: IntArray,
        begin: int,
        end: int,
        first: int,
    ) -> list[Chunk]:
        """Make one chunk of the block's rows ``begin:end``, gaps filled; nothing if all were dropped."""
        length = int(advances[begin:end].sum())
        if length == 0:
            return []
        data, timestamps, valid = np.empty((length, rows.shape[1])), np.empty(length), np.empty(length, np.bool_)
        part = slice(begin, end)
        fill_rows(
            rows[part], stamps[part], good[part], advances[part], self._fill, self._floats, data, timestamps, valid
        )
        return [make_chunk(data, timestamps, first, valid, self.info)]

    def _gap_event(self, index: int, missing: int, before: float, after: float, *, filled: bool) -> Event:
        """Report a gap at the first sample after it; its duration is the missing samples' share of the stamps' step."""
        values = {
            "missing": missing,
            "duration_s": (after - before) * missing / (missing + 1),
            "filled": filled,
            "first_missing": index - missing,
        }
        return Event("gap", self.info.name, index, 0, after, 0.0, values)

    def _stream_event(self, index: int, stamp: float, values: Mapping[str, Any]) -> Event:
        return Event("stream", self.info.name, index, 0, stamp, 0.0, values)

    def _rate_values(self, row: int) -> dict[str, Any]:
        """Say by how much the effective rate is off, in an event and in the log."""
        effective, nominal = float(self._rates[row]), self.info.sfreq
        _log.warning("%s: the effective rate is %.5g Hz, not the nominal %.5g Hz", self.info.name, effective, nominal)
        return {"what": "rate", "effective_sfreq": effective, "nominal_sfreq": nominal}

    def _log_mode(self) -> None:
        """Say what ``auto`` decided, if it just did."""
        mode, said = int(self._ints[rules.MODE]), self._said
        if mode == said:
            return
        self._said = mode
        if said == rules.JUDGING:
            detail = f"judged from {int(self._ints[rules.N_JUDGE])} stamps"
        else:
            detail = "a step below half a period disproved 'regular'"
        _log.info(
            "%s: timing %r (%s, effective rate %.4g Hz, nominal %.4g Hz)",
            self.info.name,
            _MODES[mode],
            detail,
            self.effective_sfreq,
            self.info.sfreq,
        )

    def get_state(self) -> StateDict:
        """Return the whole state as new arrays; events not yet taken are not part of it."""
        return {name: part.copy() for name, part in self._state_parts().items()}

    def _state_parts(self) -> dict[str, NDArray[Any]]:
        """Return views of what changes."""
        parts: dict[str, NDArray[Any]] = {
            "floats": self._floats[rules.N_FLOAT_PARAMETERS :],
            "ints": self._ints[rules.N_INT_PARAMETERS :],
        }
        if self._smoothing is not None:
            parts["smoothing"] = self._smoothing[N_PARAMETERS:]
        return parts

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` of a sequencer with equal settings returned.

        Raises
        ------
        ValueError
            If an array has another shape.
        """
        parts = self._state_parts()
        for name, own in parts.items():
            if state[name].shape != own.shape:
                raise ValueError(f"{name} must have shape {own.shape!r}, got {state[name].shape!r}")
        for name, own in parts.items():
            own[:] = state[name]
        self._next = int(self._ints[rules.NEXT])
        self._said = int(self._ints[rules.MODE])
        self._events = []
