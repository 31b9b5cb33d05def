"""One non-blocking way in for everything that may ask the stimulator process for something, whatever the thread."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

_TRIAL = signal.SIGURG
"""Ignored by everybody who does not ask for it."""


class Request(NamedTuple):
    """Somebody asks for a stop, or for the end of the process.

    Parameters
    ----------
    verb : str
        ``stop`` or ``end``.
    channel : str
        ``signal``, ``key``, ``marker``, ``file``.
    reason : str
    t_ns : int
        Monotonic, when it came in.
    """

    verb: str
    channel: str
    reason: str
    t_ns: int


class Inbox:
    """Requests from any thread; the loop watches its descriptor."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._requests: deque[Request] = deque()

    def fileno(self) -> int:
        """Return the descriptor that is readable while something waits."""
        return self._fd

    def put(self, verb: str, channel: str, reason: str = "") -> None:
        """Hand over a request; never waits."""
        self._requests.append(Request(verb, channel, reason, time.monotonic_ns()))
        self.wake()

    def wake(self) -> None:
        """Let the loop turn once."""
        if self._fd >= 0:  # otherwise the process ends
            os.eventfd_write(self._fd, 1)

    def take(self) -> list[Request]:
        """Return what waits; never waits."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        taken = []
        while self._requests:
            taken.append(self._requests.popleft())
        return taken

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SignalPipe:
    """Signals as bytes in a pipe: written by the C handler, whichever thread it runs in, 10 us after the signal.

    Parameters
    ----------
    verbs : mapping of int to (verb, channel)
        What each signal asks for. Make it in the main thread.
    """

    def __init__(self, verbs: dict[int, tuple[str, str]]) -> None:
        self._verbs = verbs
        self._held = b""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*verbs, _TRIAL):
            signal.signal(number, _nothing)

    def fileno(self) -> int:
        """Return the descriptor that is readable after a signal."""
        return self._read

    def take(self) -> list[Request]:
        """Return what the signals ask for; never waits."""
        numbers, self._held = self._held + self._bytes(), b""
        now_ns = time.monotonic_ns()
        return [Request(*self._verbs[n], signal.Signals(n).name, now_ns) for n in numbers if n in self._verbs]

    def _bytes(self) -> bytes:
        try:
            return os.read(self._read, 256)
        except BlockingIOError:
            return b""

    def try_out(self) -> str:
        """Send this process a signal that asks for nothing; return why one that stops would not be heard, or ""."""
        for number in self._verbs:
            if signal.getsignal(number) is not _nothing:
                return f"another handler took {signal.Signals(number).name}"
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(self._verbs)
        if blocked:
            return f"{signal.Signals(blocked.pop()).name} is blocked"
        os.kill(os.getpid(), _TRIAL)
        self._held += self._bytes()  # stops among them are kept for the next look
        return "" if _TRIAL in self._held else "a signal to this process did not come"

    def close(self) -> None:
        """Take the pipe out of the signals' way; may be called twice."""
        if self._read >= 0:
            signal.set_wakeup_fd(-1)
            os.close(self._read)
            os.close(self._write)
            self._read = self._write = -1


def _nothing(number: int, _frame: object) -> None:
    """Handle a signal: its byte is in the pipe already."""
