"""A process of a run that dies: started again at once, then more slowly, and given up in the end; or never."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.stream.live.child_process import Child, RunFailed, starting, tell
from neuroloop.stream.live.watched_child import NEVER, WHILE_THE_RUN_GOES_ON, RestartPolicy, WatchedChild

PATIENCE_S = 120.0


def refuse(ready: Connection) -> None:
    """Be a process that cannot run."""
    with starting(ready):
        raise ConfigError("out must be a folder, got nothing")


def end_as_told(ready: Connection) -> None:
    """Be a process that ends with the status that it is told."""
    tell(ready, "ready", {"pid": os.getpid()})
    os._exit(ready.recv())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_first_death_of_a_row_is_answered_at_once_and_the_pause_doubles_up_to_a_bound() -> None:
    pauses = [WHILE_THE_RUN_GOES_ON.pause_s(n) for n in range(1, 9)]
    assert pauses == [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert WHILE_THE_RUN_GOES_ON.pause_s(10_000) == 1.0


def test_what_keeps_a_process_from_starting_is_told_in_its_own_words() -> None:
    child = Child(refuse, (), "refusing")
    with pytest.raises(RunFailed, match="out must be a folder, got nothing"):
        child.wait_until_ready()
    child.end(PATIENCE_S)
    assert child.process.exitcode == 1


def test_one_that_is_started_again_is_told_the_same_and_is_left_alone_when_its_work_is_done() -> None:
    deaths: list[int] = []
    child = WatchedChild(end_as_told, (), "ending", RestartPolicy(1), on_death=lambda: deaths.append(1))
    child.wait_until_ready(lambda: False)
    child.send(3)
    wait_until(lambda: not child.is_alive)
    child.watch()
    assert child.is_alive
    wait_until(lambda: not child.is_alive)  # it was told 3 too
    child.watch()
    assert (child.n_deaths, child.given_up, len(deaths)) == (2, "exit code 3", 2)
    child.watch()
    assert not child.is_alive


def test_one_that_is_never_started_again_stays_dead() -> None:
    child = WatchedChild(end_as_told, (), "ending", NEVER)
    child.wait_until_ready(lambda: False)
    child.send(3)
    wait_until(lambda: not child.is_alive)
    child.watch()
    child.end(PATIENCE_S)
    assert (child.is_alive, child.exitcode, child.given_up) == (False, 3, "exit code 3")


def test_work_that_is_done_is_no_death() -> None:
    child = WatchedChild(end_as_told, (), "ending", WHILE_THE_RUN_GOES_ON)
    child.wait_until_ready(lambda: False)
    child.send(0)
    wait_until(lambda: not child.is_alive)
    child.watch()
    assert (child.is_alive, child.n_deaths) == (False, 0)


def test_one_whose_end_was_interrupted_is_ended_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    child = WatchedChild(end_as_told, (), "ending", WHILE_THE_RUN_GOES_ON)
    child.wait_until_ready(lambda: False)
    with monkeypatch.context() as patch:
        patch.setattr(Child, "end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            child.end(PATIENCE_S)
    was_alive = child.is_alive
    child.end(0.0)
    child.end(0.0)
    assert (was_alive, child.is_alive, child.n_deaths) == (True, False, 0)


def interrupted(self: Child, grace_s: float) -> None:
    """Stand in for a wait during which somebody pressed Ctrl-C."""
    raise KeyboardInterrupt
