"""The ways to stop beside the operator's socket and signals: a file, a label on a marker stream, a key."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import select
import struct
import sys
import termios
import threading
import tty
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pylsl
from pylsl.util import LostError
from pylsl.util import TimeoutError as LslTimeout

from neuroloop.stream.sources.lsl.markers import marker_text
from neuroloop.stream.sources.lsl.network import FoundStream, Network

_IN_CLOEXEC, _IN_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_IN_CREATE, _IN_MOVED_TO, _IN_ATTRIB = 0x100, 0x80, 0x4
_EVENT_BYTES = struct.calcsize("iIII") + 256
_LOOK_EVERY_S = 0.25
_SLICE_S = 0.2
_ANSWER_S = 2.0
_STOP_KEYS = b"sS "
_KEY_S = 0.2
_log = logging.getLogger("neuroloop.stimulator")


class StopFile:
    """Watch for a file.

    The kernel says within a millisecond that it was made (inotify, on file systems of this machine). Where it does not
    say so, as on network file systems, the loop looks in every turn: at the latest half a heartbeat later, and the
    time that the file system itself takes to show the file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path)
        self._fd = -1
        library = ctypes.CDLL(None, use_errno=True)
        fd = int(library.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK))
        if fd < 0:
            return
        parent = os.fsencode(path.parent)
        if int(library.inotify_add_watch(fd, parent, _IN_CREATE | _IN_MOVED_TO | _IN_ATTRIB)) < 0:
            os.close(fd)
            return
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor that is readable when something appeared beside the file, -1 where there is none."""
        return self._fd

    def exists(self) -> bool:
        """Look (2 us)."""
        if self._fd >= 0:
            with suppress(BlockingIOError):
                while os.read(self._fd, 16 * _EVENT_BYTES):
                    pass
        return os.path.lexists(self._path)

    def try_out(self) -> str:
        """Make a file beside it, see it and remove it; return why it would not be seen, "" where it would."""
        probe = self._path + b".tried"
        try:
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            is_seen = os.path.lexists(probe)
            os.unlink(probe)
        except OSError as error:
            return f"no file can be made beside it: {error.strerror}"
        return "" if is_seen else "a file that is made beside it is not seen"

    def close(self) -> None:
        """Stop watching; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class StopMarkers:
    """Listen to every marker stream that there is; monitoring outlets are left out.

    A thread looks for streams, one more per stream waits in liblsl, outside the interpreter lock, for its next marker.

    Parameters
    ----------
    label : str
        What stops: the whole marker as the run's events have it, or one of its channels.
    on_stop : callable
        Called from a thread with the name of the stream, or with why no marker can stop any more; must not wait.
    names : collection of str
        Streams that must be there, whatever type they are of.
    """

    def __init__(self, label: str, on_stop: Callable[[str], None], names: Collection[str] = ()) -> None:
        self._label = label
        self._on_stop = on_stop
        self._names = frozenset(names)
        self._open: dict[str, str] = {}
        self._stopped = threading.Event()
        self._heard: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._look, name="neuroloop-stop-markers", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def _look(self) -> None:
        """Be the thread that looks for streams."""
        try:
            network = Network(forget_after_s=2.0)
            while not self._stopped.wait(_LOOK_EVERY_S):
                self._heard = {uid: thread for uid, thread in self._heard.items() if thread.is_alive()}
                for found in network.streams():
                    is_wanted = (found.is_markers and not found.is_monitoring) or found.name in self._names
                    if is_wanted and found.uid not in self._heard:
                        thread = threading.Thread(target=self._listen, args=(found,), daemon=True)
                        self._heard[found.uid] = thread
                        thread.start()
        except Exception:  # noqa: BLE001 (the top of a thread; without this channel nothing may go on)
            _log.exception("the search for marker streams has failed")
            self._on_stop("no marker stream: the search for them has failed")

    def _listen(self, found: FoundStream) -> None:
        """Be the thread of one stream; it ends with it and is started anew where the stream still answers."""
        try:
            inlet: Any = pylsl.StreamInlet(found.handle, max_buflen=36, recover=False)
            inlet.open_stream(timeout=_ANSWER_S)
            self._open[found.uid] = found.name
            while not self._stopped.is_set():
                # one at a time, which waits for no second; as bytes: a label in another encoding must not be an error
                values, _ = inlet.pull_chunk(timeout=_SLICE_S, max_samples=1, as_numpy=True)
                if any(self._is_stop(row) for row in values.tolist()):
                    self._on_stop(found.name)
        except (LostError, LslTimeout):
            self._stopped.wait(_LOOK_EVERY_S)
        except Exception:  # noqa: BLE001 (the top of a thread; the stream is listened to again at the next look)
            _log.exception("listening to marker stream %s has failed", found)
            self._stopped.wait(_LOOK_EVERY_S)
        finally:
            self._open.pop(found.uid, None)

    def _is_stop(self, values: list[Any]) -> bool:
        texts = [marker_text(value) for value in values]
        return self._label in texts or self._label == " ".join(texts)

    @property
    def streams(self) -> list[str]:
        """The names of the streams that are listened to now."""
        return sorted(self._open.copy().values())

    def try_out(self) -> str:
        """Return why a marker would not be heard, "" where streams are looked for and all named ones are open."""
        if not self._thread.is_alive() or self._stopped.is_set():
            return "marker streams are not looked for"
        missing = sorted(self._names - set(self.streams))
        return f"marker stream {', '.join(map(repr, missing))} is not there" if missing else ""

    def close(self) -> None:
        """End all threads within a slice; may be called twice."""
        self._stopped.set()


class StopKeys:
    """Call back when ``s`` or the space bar is pressed.

    The terminal hands keys over at once while this lives; Ctrl-C stays what it is. A killed process leaves the terminal
    so (``stty sane`` helps).

    Parameters
    ----------
    on_stop : callable
        Called from a thread; must not wait.
    fd : int
    on_turn : callable
        Called by the thread again and again while keys can come: the terminal is there, this process in its foreground.
    """

    def __init__(self, on_stop: Callable[[], None], fd: int, on_turn: Callable[[], None] = lambda: None) -> None:
        self._on_stop = on_stop
        self._on_turn = on_turn
        self._fd = fd
        self._before: list[Any] = termios.tcgetattr(fd)
        tty.setcbreak(fd, termios.TCSANOW)
        atexit.register(self._restore)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="neuroloop-keys", daemon=True)
        self._thread.start()

    @classmethod
    def if_interactive(cls, on_stop: Callable[[], None], on_turn: Callable[[], None] = lambda: None) -> StopKeys | None:
        """Listen if standard input is a terminal and this process is in its foreground."""
        try:
            fd = sys.stdin.fileno()
            if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
                return cls(on_stop, fd, on_turn)
        except (AttributeError, ValueError, OSError, termios.error):  # no standard input, or none that has keys
            pass
        return None

    def _listen(self) -> None:
        while not self._stopped.is_set():
            with suppress(OSError):  # no terminal any more
                if os.tcgetpgrp(self._fd) == os.getpgrp():
                    self._on_turn()
            readable, _, _ = select.select([self._fd], [], [], _KEY_S)
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
