"""One process of a live run, from both sides.

`Child` is the side that starts it: with the signals held back, asked whether it is ready, ended for good. `begin` and
`starting` are what every process of a run does first: take its signals, follow its parent, log, go to its cores, and
say whether it is ready or why it cannot run.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.live.placement import follow_parent, settle
from neuroloop.stream.live.process_logs import LogKind, set_up_logs
from neuroloop.stream.sources.lsl.library import quiet_library

_START_S = 180.0
_POLL_S = 0.2
_HELD = (signal.SIGINT, signal.SIGTERM)


class RunFailed(NeuroloopError):
    """A process of the run died, or could not do its work."""


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while a process is made.

    The child inherits the mask, so that a Ctrl-C of the terminal cannot end it with a traceback while it still imports;
    `neuroloop.stream.live.placement.follow_parent` lifts it there. Here a signal that came is handled afterwards.
    """
    resource_tracker.ensure_running()  # its first start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def tell(ready: Connection, kind: str, value: Any) -> None:
    """Answer whoever started this process, if it still lives."""
    with suppress(BrokenPipeError, ConnectionResetError):
        ready.send((kind, value))


def begin(
    *,
    log: LogKind | None,
    on_sigterm: Callable[[int, FrameType | None], object] | signal.Handlers | None = signal.SIG_IGN,
    cores: frozenset[int] | None = None,
    is_realtime: bool = False,
) -> dict[str, Any]:
    """Do what every process of a run does before anything else; call it first, in its main thread.

    Parameters
    ----------
    log : {'human', 'json'} or None
        How it logs; None leaves logs alone.
    on_sigterm : callable, signal.Handlers or None
        By default SIGTERM is ignored: the end of the rings ends those who read them. None leaves it alone.
    cores : frozenset of int, optional
        Where it and its threads run; without them it `neuroloop.stream.live.placement.settle`s later.
    is_realtime : bool

    Returns
    -------
    dict
        What was reached, as `neuroloop.stream.live.placement.settle` says it.
    """
    if on_sigterm is not None:
        signal.signal(signal.SIGTERM, on_sigterm)
    follow_parent()
    quiet_library()
    if log is not None:
        set_up_logs(log)
    return settle(cores, realtime=is_realtime) if cores is not None else {}


@contextmanager
def starting(ready: Connection, *also: type[Exception]) -> Iterator[None]:
    """Open what a process needs; what cannot be had is told to whoever started it, and ends it with status 1.

    Parameters
    ----------
    ready : Connection
    also : exception types
        What else but a `neuroloop.config.errors.NeuroloopError` is an answer and no fault.
    """
    answers: tuple[type[Exception], ...] = (NeuroloopError, *also)
    try:
        yield
    except answers as error:
        tell(ready, "error", str(error))
        sys.exit(1)


class Child:
    """A started process.

    Parameters
    ----------
    target : callable
        Takes ``arguments`` and a connection, over which it `tell`s ``ready`` and a dict, or ``error`` and a message.
    arguments : tuple
    name : str
        As in messages.
    is_daemon : bool
        Whether it may be ended without a word when this process exits.
    """

    def __init__(
        self, target: Callable[..., None], arguments: tuple[Any, ...], name: str, *, is_daemon: bool = False
    ) -> None:
        context = get_context("spawn")
        self.name = name
        self._connection, theirs = context.Pipe()
        self.process = context.Process(
            target=target, args=(*arguments, theirs), name=f"neuroloop-{name}", daemon=is_daemon
        )
        with signals_held():
            self.process.start()
        theirs.close()

    def wait_until_ready(self, is_cancelled: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Wait for its answer and return it.

        Parameters
        ----------
        is_cancelled : callable
            Asked while waiting; if it says True, `KeyboardInterrupt` is raised.

        Raises
        ------
        RunFailed
            If the process dies before it is ready, says why it cannot run, or does not answer.
        """
        connection = self._connection
        deadline = time.perf_counter() + _START_S
        while time.perf_counter() < deadline:
            wait([connection, self.process.sentinel], timeout=_POLL_S)
            if connection.poll():
                try:
                    kind, value = connection.recv()
                except (EOFError, ConnectionResetError):
                    self.process.join(_POLL_S)
                    break
                if kind == "error":
                    raise RunFailed(value)
                return dict(value)
            if not self.process.is_alive():
                break
            if is_cancelled():
                raise KeyboardInterrupt
        else:
            raise RunFailed(f"the {self.name} process must be ready within {_START_S:g} s, got no answer")
        raise RunFailed(f"the {self.name} process must start, got its death with exit code {self.process.exitcode}")

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.is_alive()

    def send(self, message: Any) -> None:
        """Tell it something, if it still lives; it looks when it likes."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(message)

    def release(self) -> None:
        """Give back what a dead process still holds here; may be called twice."""
        self._connection.close()
        self.process.close()

    def end(self, grace_s: float) -> None:
        """Wait so long for it to end by itself, then ask it with SIGTERM, then kill it; may be called again."""
        process = self.process
        process.join(grace_s)
        if process.is_alive():
            process.terminate()
            process.join(1.5)
        if process.is_alive():
            process.kill()
            process.join()
