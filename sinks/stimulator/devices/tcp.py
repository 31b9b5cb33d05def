"""A stimulator that speaks JSON lines over a stream socket.

The lines are described in ``docs/devices.md``. A device that speaks them must switch its output off when the
connection ends: cutting it is how this program stops a device that no longer reads its commands.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from neuroloop.sinks.stimulator.devices.device_clock import DeviceClock
from neuroloop.sinks.stimulator.devices.limits import why_not
from neuroloop.sinks.stimulator.devices.messages import (
    CURE,
    KNOWN_DOSE,
    VERSION,
    LineSplitter,
    check_meter,
    decode_line,
    encode_line,
    lease_message,
    read_answer,
    read_capabilities,
    read_clock,
)
from neuroloop.sinks.stimulator.plain_text import plain_text
from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, DeviceError, Lease

_MOST_AT_ONCE = 8_192
"""Bytes that are taken in one call: a device that floods must not hold up who listens to it, nor a stop."""
_MOST_UNASKED = 50
"""Answers a second that nobody asked for; a device that says more is broken, and is cut off."""
_SECOND_NS = 10**9
_MOST_OPEN = 256
"""Commands whose answers are waited for; the oldest is given up for another."""
_UNANSWERED_MS = 1000
"""A command that the other end's system has not confirmed for so long means that the cable is cut."""


MOST_OFF_S = 2.0
"""Longest watchdog time that a configuration may name."""


def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """Connect to a device over TCP.

    Raises
    ------
    DeviceError
        If nobody listens there.
    """
    if port == 0:
        raise DeviceError("device.port must be in [1, 65535] for a tcp device, got 0")
    try:
        link = socket.create_connection((host, port), timeout=timeout_s)
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise DeviceError(
            f"device.host and port must be where the device listens, got {host}:{port} ({why})"
        ) from error
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
    if user_timeout is not None:
        link.setsockopt(socket.IPPROTO_TCP, user_timeout, _UNANSWERED_MS)
    return link


class JsonLinesDevice:
    """Command a stimulator over a connected stream socket; implements `neuroloop.sinks.stimulator.records.Device`.

    Only opening waits, for the device's capabilities. A command that the socket does not take at once cuts the
    connection, which stops the device, and raises. After that, `answers` says ``lost`` once, and every command but
    `stop` raises. A device that floods the line, or whose clock does not run with ours, is cut off too.

    A lease for a device that has told its clock carries the moment on that clock by which it must be over, whenever it
    comes: counted from when it is handed over.

    Parameters
    ----------
    link : socket
        Connected; owned by this object from now on.
    where : str
        What the device is called in messages.
    timeout_s : float
        How long opening may take.
    off_s : float
        So long after a lease is handed over the output must be off.

    Raises
    ------
    DeviceError
        If the device does not say what it can do.
    """

    def __init__(self, link: socket.socket, where: str, timeout_s: float, *, off_s: float = MOST_OFF_S) -> None:
        self._link = link
        self._off_ns = round(off_s * 1e9)
        self._sent: dict[int, int] = {}
        self._clock: DeviceClock | None = None
        self._unasked_since_ns = 0
        self._n_unasked = 0
        self._where = where
        self._splitter = LineSplitter()
        self._seq = 0
        self._cut: str | None = None
        self._is_told = False
        self._waiting: list[DeviceAnswer] = []
        try:
            link.setblocking(False)
            message = self._greet(timeout_s)
            self._capabilities, self._max_charge_per_phase_uc = read_capabilities(message)
            self._learn_clock(read_clock(message))
            self._is_counting = check_meter(message)
        except DeviceError:
            link.close()
            raise

    def capabilities(self) -> Capabilities:
        """Return what the device said it can do."""
        return self._capabilities

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once ``lost`` has been taken."""
        return self._link.fileno()

    def validate(self, lease: Lease) -> str | None:
        """Return why the device would refuse this, judged from its capabilities."""
        return why_not(lease, self._capabilities, self._max_charge_per_phase_uc)

    def arm(self) -> None:
        """Ask the device to listen to leases. Raises `DeviceError` where it cannot be asked."""
        self._send("arm")

    def disarm(self) -> None:
        """Ask the device to switch off and be deaf. Raises `DeviceError` where it cannot be asked."""
        self._send("disarm")

    def start(self, lease: Lease) -> None:
        """Hand over the first lease of a dose. Raises `DeviceError` where it cannot be handed over."""
        self._send("start", lease)

    def renew(self, lease: Lease) -> None:
        """Hand over the next lease. Raises `DeviceError` where it cannot be handed over."""
        self._send("renew", lease)

    def stop(self) -> str | None:
        """Ask the device to switch off; where it cannot be asked, cut the connection, which says the same."""
        try:
            self._send("stop")
        except DeviceError as error:
            return str(error)
        return None

    def status(self) -> None:
        """Ask how the device is. Raises `DeviceError` where it cannot be asked."""
        self._send("status")

    def answers(self) -> list[DeviceAnswer]:
        """Return what has come in; never waits."""
        if self._cut is None:
            self._read()
        found, self._waiting = self._waiting, []
        if self._cut is not None and not self._is_told:
            self._is_told = True
            self._link.close()
            found.append(DeviceAnswer("lost", 0, False, math.nan, self._cut))
        return found

    def close(self) -> None:
        """Stop the device and cut the connection; may be called twice."""
        if self._link.fileno() == -1:
            return
        if self._cut is None:
            self.stop()
        self._drop("it was closed here")
        self._is_told = True
        self._link.close()

    def _greet(self, timeout_s: float) -> Mapping[str, Any]:
        """Say hello and wait for the answer."""
        self._send("hello", version=VERSION, known_dose=KNOWN_DOSE)
        deadline = time.monotonic() + timeout_s
        while True:
            rest_s = deadline - time.monotonic()
            if rest_s <= 0:
                raise DeviceError(f"{self._where} must say what it can do within {timeout_s:g} s, got no answer")
            select.select([self._link], [], [], rest_s)
            lines = self._lines()
            if lines:
                try:
                    message = decode_line(lines[0])
                    self._waiting += [read_answer(decode_line(line)) for line in lines[1:]]
                except ValueError as error:
                    raise DeviceError(f"{self._where} must speak JSON lines: {error}") from error
                if message.get("answer") == "nack":
                    why = plain_text(str(message.get("reason", "it refuses")))
                    cure = f"; version {VERSION} is spoken here: {CURE}" if "version" in why else ""
                    raise DeviceError(f"{self._where} must be free to be opened: {why}{cure}")
                return message
            if self._cut is not None:
                raise DeviceError(f"{self._where} must say what it can do, got a lost connection ({self._cut})")

    def _send(self, command: str, lease: Lease | None = None, **values: Any) -> None:
        """Hand a command to the system at once, whole, or cut the connection."""
        if self._cut is not None:
            raise DeviceError(f"{self._where} must be connected to {command}, got a lost connection ({self._cut})")
        self._seq += 1
        message: dict[str, Any] = {"command": command, "seq": self._seq, **values}
        sent_ns = time.monotonic_ns()
        if lease is not None:
            deadline = None if self._clock is None else self._clock.not_after_ns(sent_ns + self._off_ns)
            message["lease"] = lease_message(lease, deadline)
        line = encode_line(message)
        self._sent[self._seq] = sent_ns
        if len(self._sent) > _MOST_OPEN:
            del self._sent[next(iter(self._sent))]
        try:
            n_sent = self._link.send(line)
        except BlockingIOError:
            n_sent = 0
        except OSError as error:
            self._drop(_words(error))
            raise DeviceError(f"{self._where} must be connected to {command}, got {_words(error)}") from error
        if n_sent < len(line):
            self._drop("it does not read its commands")
            raise DeviceError(f"{self._where} must read its commands, got a full buffer at {command}; it was cut off")

    def _learn_clock(self, clock_ns: int | None) -> None:
        """Take the device's clock from its answer to hello, which has just come."""
        sent_ns = self._sent.pop(1, None)
        if clock_ns is not None and sent_ns is not None:
            self._clock = DeviceClock()
            self._clock.note(sent_ns, clock_ns, time.monotonic_ns())

    def _read(self) -> None:
        """Take what has come in."""
        try:
            lines = self._lines()
            read_ns = time.monotonic_ns()
            for line in lines:
                self._take(decode_line(line), read_ns)
                if self._n_unasked > _MOST_UNASKED:
                    return
        except ValueError as error:
            self._drop(f"it must speak JSON lines: {error}")

    def _take(self, message: dict[str, Any], read_ns: int) -> None:
        """Take an answer; of those that nobody asked for and that say the same as the one before, only the newest."""
        one, seq = read_answer(message), message.get("seq")
        if not self._is_counting and math.isfinite(one.delivered_uc):
            raise ValueError("delivered_uc must be null from a device that left known_dose_uc out")
        sent_ns = self._sent.pop(seq, None) if isinstance(seq, int) and not isinstance(seq, bool) else None
        if sent_ns is not None:
            self._waiting.append(replace(one, trip_ns=self._trip_ns(sent_ns, one.t_ns, read_ns)))
            return
        if read_ns - self._unasked_since_ns > _SECOND_NS:
            self._unasked_since_ns, self._n_unasked = read_ns, 0
        self._n_unasked += 1
        if self._n_unasked > _MOST_UNASKED:
            self._drop(f"it must say at most {_MOST_UNASKED} things a second unasked, got a flood")
            return
        before = self._waiting[-1] if self._waiting else None
        if before is not None and one.kind == before.kind == "status" and not one.command and not before.command:
            is_same = (one.lease, one.is_on, one.reason) == (before.lease, before.is_on, before.reason)
            if is_same:
                self._waiting.pop()
        self._waiting.append(one)

    def _trip_ns(self, sent_ns: int, acted_ns: int, read_ns: int) -> int:
        """Return how long a command took; by the device's clock what this program itself was late does not count."""
        clock = self._clock
        if clock is None or not acted_ns:
            return max(1, read_ns - sent_ns)
        clock.note(sent_ns, acted_ns, read_ns)
        if not clock.is_steady:
            self._drop("its clock must run as ours does, got one that stands or jumps")
        return max(1, min(read_ns - sent_ns, clock.trip_ns(sent_ns, acted_ns)))

    def _lines(self) -> list[bytes]:
        """Take the lines that have come in; notes a lost connection."""
        try:
            data = self._link.recv(_MOST_AT_ONCE)
        except BlockingIOError:
            return []
        except OSError as error:
            self._drop(_words(error))
            return []
        if not data:
            self._drop("the device closed the connection")
            return []
        try:
            return self._splitter.split(data)
        except ValueError as error:
            self._drop(f"it must speak JSON lines: {error}")
            return []

    def _drop(self, why: str) -> None:
        """End the connection in both directions; the descriptor stays, and is readable, until it is closed."""
        if self._cut is None:
            self._cut = why
            with suppress(OSError):
                self._link.shutdown(socket.SHUT_RDWR)


def _words(error: OSError) -> str:
    """Say what happened to a connection in a few words."""
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return "the device closed the connection"
    return error.strerror or str(error)
