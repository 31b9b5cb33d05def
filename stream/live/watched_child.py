"""One process of a run as its supervisor keeps it: started, watched, started again as its policy says, ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuroloop.stream.live.child_process import Child, RunFailed

_log = logging.getLogger("neuroloop.run")


@dataclass(frozen=True)
class RestartPolicy:
    """Whether a process that died is started again, how soon, and how often.

    Parameters
    ----------
    most_deaths : int
        Deaths in a row after which it is given up; 0 for a process that is never started again.
    quick_s : float
        A process that lived longer than this begins a new row, in seconds.
    longest_pause_s : float
        The first death of a row is answered at once; the pause then doubles from 50 ms up to this, in seconds.
    """

    most_deaths: int
    quick_s: float = 60.0
    longest_pause_s: float = 1.0

    def pause_s(self, n_deaths: int) -> float:
        """Return how long to wait after so many deaths in a row, in seconds."""
        return min(self.longest_pause_s, 0.05 * 2.0 ** min(n_deaths - 2, 30)) if n_deaths > 1 else 0.0


NEVER = RestartPolicy(most_deaths=0)
"""Of the hot process, without which there is no run; the stimulator's guard keeps the same rule by itself."""
WHILE_THE_RUN_GOES_ON = RestartPolicy(most_deaths=20)
"""Of processes that read the rings: they go on where the one before has stopped."""


class WatchedChild:
    """One process after the other, for one task of one run.

    Parameters
    ----------
    target : callable
    arguments : tuple
        As `neuroloop.stream.live.child_process.Child` takes them; may be set anew for the next start.
    name : str
    policy : RestartPolicy
    has_to : str
        What the rings keep for it, in a word.
    consequence : str
        What it means that it is given up, said then; without it nothing is said here.
    on_death : callable, optional
        Called at each death.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        name: str,
        policy: RestartPolicy,
        *,
        has_to: str = "write",
        consequence: str = "",
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self.arguments = arguments
        self.name = name
        self.n_deaths = 0
        self.given_up: str | None = None
        """Why it died, of one that is not started again."""
        self._target = target
        self._policy = policy
        self._has_to = has_to
        self._consequence = consequence
        self._on_death = on_death
        self._in_row = 0
        self._due: float | None = None
        self._message: Any = None
        self._is_ending = self._is_ended = False
        self._child: Child
        self._start()

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._child.is_alive

    @property
    def exitcode(self) -> int | None:
        """How it ended: 0 when its work was done; None while it runs."""
        return self._child.process.exitcode

    @property
    def sentinel(self) -> int:
        """What becomes ready when it ends, for `multiprocessing.connection.wait`."""
        return self._child.process.sentinel

    @property
    def n_deaths_in_row(self) -> int:
        """Deaths since one has lived long."""
        return self._in_row

    def wait_until_ready(self, is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        """Wait for its answer and return it; as `neuroloop.stream.live.child_process.Child.wait_until_ready`."""
        answer = self._child.wait_until_ready(is_cancelled)
        self._is_ready = True
        return answer

    def send(self, message: Any) -> None:
        """Tell it something, and whoever takes its place too."""
        self._message = message
        self._child.send(message)

    def kill(self) -> None:
        """End it at once."""
        self._child.process.kill()

    def watch(self) -> None:
        """Start it again if it died and the policy says so; does not wait, call it again and again."""
        if self.is_alive or self.exitcode == 0 or self.given_up is not None:
            return
        now = time.perf_counter()
        if self._due is None:
            self._count_death(now)
        if self._due is not None and now >= self._due:
            self._start_again()

    def end(self, grace_s: float, *, has_begun: bool = True) -> None:
        """Let it finish, at most so long; may be called twice.

        Parameters
        ----------
        grace_s : float
        has_begun : bool
            Whether there is anything to finish; if it died meanwhile, the next one finishes it.
        """
        if self._is_ended:
            return
        if not has_begun:
            self.kill()
        elif not (self.is_alive or self._is_ending):  # one that had to be killed here is not started again
            self.watch()
            if self._due is not None:
                self._start_again()
        self._is_ending = True
        self._child.end(grace_s)  # who is interrupted here comes again
        self._is_ended = True

    def _count_death(self, now: float) -> None:
        """Count it, say it, and say when the next one is due, if ever."""
        why = self._why_it_died()
        self._on_death()
        self.n_deaths += 1
        self._in_row = self._in_row + 1 if now - self._started < self._policy.quick_s else 1
        if self._in_row > self._policy.most_deaths:
            self.given_up = why
            if self._consequence:
                _log.error(
                    "the %s process must stay alive, got %d deaths in a row (%s); %s",
                    self.name, self._in_row, why, self._consequence,
                )  # fmt: skip
            return
        self._due = now + self._policy.pause_s(self._in_row)
        _log.warning(
            "the %s process died (%s), starting it again; the rings keep what it has to %s",
            self.name, why, self._has_to,
        )  # fmt: skip

    def _start(self) -> None:
        self._due = None
        self._is_ready = False
        self._started = time.perf_counter()
        self._child = Child(self._target, self.arguments, self.name)

    def _start_again(self) -> None:
        dead = self._child
        self._start()
        dead.release()
        if self._message is not None:
            self._child.send(self._message)

    def _why_it_died(self) -> str:
        """Return what it has said of its end, else its exit code."""
        if not self._is_ready:
            try:
                self._child.wait_until_ready()  # it is dead: this does not wait
            except RunFailed as error:
                return str(error)
        return f"exit code {self.exitcode}"
