"""Streams on the network: told apart by name and id, and how steady each one's clock and stamps are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pylsl

from neuroloop.config.errors import StreamLost, StreamMismatch
from neuroloop.stream.contracts.chunks import FloatArray
from neuroloop.stream.sources.lsl.clock_offset import ClockOffset
from neuroloop.stream.sources.lsl.network import FoundStream, list_streams
from neuroloop.stream.sources.lsl.source import LslSource
from neuroloop.stream.tools.doctor.finding import Finding

MOST_STREAMS = 12
"""How many data streams are measured; the rest is named."""
_NONE = "start the sender; if it runs: same network, firewall, LSL session (see 'lsl session' above)?"


@dataclass(frozen=True)
class Listening:
    """What was heard of one data stream.

    Parameters
    ----------
    name : str
    sfreq : float
        Nominal, in Hz; 0 for an irregular stream.
    stamps : array, shape (n_samples,)
        The sender's, in seconds.
    listened_s : float
    offset_s : float, optional
        To add to stamps to get this machine's clock; None where it could not be measured.
    age_s : float, optional
        Middle of (now - stamp - offset) when samples were handed out.
    notes : tuple of str
        What its description lacks.
    fault : str
        Why nothing was heard.
    is_played : bool
        Whether the stamps are those of a recording that is being played.
    """

    name: str
    sfreq: float
    stamps: FloatArray
    listened_s: float
    offset_s: float | None = None
    age_s: float | None = None
    notes: tuple[str, ...] = ()
    fault: str = ""
    is_played: bool = False


def judge_identity(streams: Sequence[FoundStream]) -> list[Finding]:
    """Judge whether the streams on the network can be told apart."""
    data = [one for one in streams if not one.is_monitoring]
    if not streams:
        return [Finding("streams", "note", "none answers", _NONE)]
    findings = [Finding("streams", "ok", f"{len(streams)} on the network: " + ", ".join(repr(s.name) for s in streams))]
    for name, n in Counter(one.name for one in data).items():
        if n > 1:
            where = ", ".join(f"{one.source_id or 'no source_id'} on {one.host}" for one in data if one.name == name)
            cure = "give them different names, or set source.source_id in the configuration"
            findings.append(Finding("stream names", "warn", f"{n} streams are called {name!r} ({where})", cure))
    for source_id, n in Counter(one.source_id for one in data if one.source_id).items():
        if n > 1:
            names = ", ".join(repr(one.name) for one in data if one.source_id == source_id)
            cure = "a lost stream may be taken up again as another one: give each sender an id of its own"
            findings.append(Finding("source ids", "warn", f"{n} streams have the id {source_id!r} ({names})", cure))
    nameless = [repr(one.name) for one in data if not one.source_id]
    if nameless:
        cure = "a sender that restarts is found again more surely with a stable source_id"
        findings.append(Finding("source ids", "note", f"without source_id: {', '.join(nameless)}", cure))
    return findings


def judge_listening(heard: Listening) -> list[Finding]:
    """Judge one data stream by its stamps and clock offset."""
    name = f"stream {heard.name!r}"
    if heard.fault:
        return [Finding(name, "warn", heard.fault, "restart the sender; is its port reachable through the firewall?")]
    findings = [Finding(name, "note", note, "set labels and units in the sender's description") for note in heard.notes]
    n = len(heard.stamps)
    if n < 2:
        found = f"{n} samples in {heard.listened_s:.1f} s"
        if heard.sfreq == 0:
            findings.append(Finding(name, "ok", found + " (irregular)"))
        else:
            findings.append(Finding(name, "warn", found, "the sender offers the stream but does not send"))
        return findings
    steps = np.diff(heard.stamps)
    parts = [f"{n} samples in {heard.listened_s:.1f} s"]
    cures: list[str] = []
    if heard.sfreq > 0 and not heard.is_played:
        line_s = np.polynomial.Polynomial.fit(np.arange(n), heard.stamps, 1)
        jitter_ms = 1e3 * float(np.std(heard.stamps - line_s(np.arange(n))))
        span_s = float(heard.stamps[-1] - heard.stamps[0])
        rate = (n - 1) / span_s if span_s > 0 else float("inf")
        parts.append(f"{rate:.2f} Hz (nominal {heard.sfreq:g}), stamps off the line by {jitter_ms:.2f} ms (std)")
        if abs(rate / heard.sfreq - 1) > 0.02 and span_s > 0.5:
            cures.append("rate and nominal rate differ by more than 2 %: correct the sender, or samples are lost")
        if jitter_ms > 100:
            cures.append("stamps are very uneven: source.timing=bursty, and gap_tolerance_s above their swing")
        if float(steps.max()) > 0.25 + 1 / heard.sfreq:
            cures.append("stamps have holes above 0.25 s: sender overloaded, or Wi-Fi? use a cable")
    if float(steps.min()) < 0:
        cures.append("stamps run backwards: the sender sorts wrongly or two senders share one id")
    if heard.is_played:
        parts.append("a recording's own stamps")
    elif heard.offset_s is None:
        cures.append("no clock offset within 2 s: UDP to the sender's port is blocked, ages stay unknown")
    else:
        parts.append(f"clock offset {heard.offset_s * 1e3:+.3f} ms")
        if heard.age_s is not None:
            parts.append(f"samples {heard.age_s * 1e3:.1f} ms old when read")
            if heard.age_s < -0.005:
                cures.append("samples come from the future: the sender stamps by another clock than LSL's")
            elif heard.age_s > 0.5:
                cures.append("samples are old when they come: large packets, a slow link, or another clock than LSL's")
    findings.append(Finding(name, "warn" if cures else "ok", "; ".join(parts), "; ".join(cures)))
    return findings


def listen(found: FoundStream, seconds: float) -> Listening:
    """Subscribe to one data stream for a while and measure its clock."""
    clock = ClockOffset(found)
    nothing = np.empty(0)
    source: LslSource | None = None
    try:
        source = LslSource(found, buffer_s=10.0, timeout_s=2.0)
        source.open(2.0)
        opened = time.perf_counter()
        offset_s = clock.measure(2.0)
        stamps, ages = [], []
        end = time.perf_counter() + seconds
        while (left_s := end - time.perf_counter()) > 0:
            block = source.read(min(left_s, 0.2))
            if block is not None:
                stamps.append(block.timestamps.copy())
                if offset_s is not None and len(stamps) > 1:  # the first block waited for the offset
                    ages.append(pylsl.local_clock() - float(block.timestamps[-1]) - offset_s)
        return Listening(
            found.name,
            found.sfreq,
            np.concatenate(stamps) if stamps else nothing,
            time.perf_counter() - opened,
            offset_s=offset_s,
            age_s=float(np.median(ages)) if ages else None,
            notes=source.description.notes,
            is_played=source.description.stamps == "recording",
        )
    except (StreamLost, StreamMismatch) as error:
        return Listening(found.name, found.sfreq, nothing, 0.0, fault=str(error))
    finally:
        clock.close()
        if source is not None:
            source.close()


def examine_streams(*, find_s: float, listen_s: float) -> list[Finding]:
    """Look at the streams on the network; all are listened to at once.

    Parameters
    ----------
    find_s : float
        How long to wait for answers.
    listen_s : float
        How long to listen.
    """
    streams = list_streams(find_s)
    findings = judge_identity(streams)
    data = [one for one in streams if one.format != "string" and not one.is_monitoring]
    if data:
        chosen = data[:MOST_STREAMS]
        with ThreadPoolExecutor(len(chosen), thread_name_prefix="neuroloop-doctor") as pool:
            for heard in pool.map(lambda found: listen(found, listen_s), chosen):
                findings += judge_listening(heard)
    if len(data) > MOST_STREAMS:
        found = f"{len(data) - MOST_STREAMS} more data streams were not listened to"
        findings.append(Finding("streams", "note", found, "end those that nobody needs"))
    return findings
