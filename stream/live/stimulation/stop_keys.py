"""Single keys of the terminal that a run was started from."""

from __future__ import annotations

import atexit
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_STOP_KEYS = b"sS "
_LOOK_S = 0.2


class StopKeys:
    """Call back when ``s`` or the space bar is pressed.

    The terminal hands keys over at once while this lives; Ctrl-C stays what it is. A killed process leaves the terminal
    so (``stty sane`` helps).

    Parameters
    ----------
    on_stop : callable
        Called from a thread; must not wait.
    fd : int
    """

    def __init__(self, on_stop: Callable[[], None], fd: int) -> None:
        self._on_stop = on_stop
        self._fd = fd
        self._before: list[Any] = termios.tcgetattr(fd)
        tty.setcbreak(fd, termios.TCSANOW)
        atexit.register(self._restore)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="neuroloop-keys", daemon=True)
        self._thread.start()

    @classmethod
    def if_interactive(cls, on_stop: Callable[[], None]) -> StopKeys | None:
        """Listen if standard input is a terminal and this process is in its foreground."""
        try:
            fd = sys.stdin.fileno()
            if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
                return cls(on_stop, fd)
        except (AttributeError, ValueError, OSError, termios.error):  # no standard input, or none that has keys
            pass
        return None

    def _listen(self) -> None:
        while not self._stopped.is_set():
            readable, _, _ = select.select([self._fd], [], [], _LOOK_S)
            if not readable:
                continue
            try:
                keys = os.read(self._fd, 64)
            except OSError:  # the terminal is gone
                return
            if not keys:
                return
            if any(key in _STOP_KEYS for key in keys):
                self._on_stop()

    def _restore(self) -> None:
        """Give the terminal back as it was."""
        with suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._stopped.set()
        self._thread.join()
        self._restore()
        atexit.unregister(self._restore)
