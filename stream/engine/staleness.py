"""What becomes of samples that waited unread too long: a decision when live, a given in replay.

===================  ==================================================================================================
policy               the oldest rows beyond ``max_backlog_s``, of those that one read returned
===================  ==================================================================================================
``process_all``      are processed as any other
``skip_to_newest``   are numbered but not processed: every stage begins anew at the first row after them
``refuse``           are processed but flagged, so that the state is unknown for as long as they matter
===================  ==================================================================================================

A decision is an event (``skip``), which says which rows it was about in the order of their arrival. A replay of the
recorded rows that is told the same decisions gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from neuroloop.config.source import SourceSettings

Policy = Literal["skip_to_newest", "refuse"]
POLICIES: tuple[Policy, ...] = ("skip_to_newest", "refuse")


@dataclass(frozen=True, slots=True)
class Skip:
    """Consecutive raw rows that waited too long.

    Parameters
    ----------
    first_arrival : int
        Number of the first of them among all rows that the source handed over, from 0.
    n : int
        How many, at least 1.
    policy : {'skip_to_newest', 'refuse'}
    """

    first_arrival: int
    n: int
    policy: Policy

    @property
    def end(self) -> int:
        """Number of the row after the last of them."""
        return self.first_arrival + self.n


class Staleness:
    """Decide about each read.

    Parameters
    ----------
    settings : SourceSettings
        Its ``staleness`` and ``max_backlog_s``.
    sfreq : float
        Nominal rate in Hz; at 0 (an irregular stream) nothing is ever too old.
    """

    def __init__(self, settings: SourceSettings, sfreq: float) -> None:
        self._policy = settings.staleness
        self._n_allowed = max(1, round(settings.max_backlog_s * sfreq))
        self._is_on = settings.staleness != "process_all" and sfreq > 0

    def decide(self, first_arrival: int, n_rows: int) -> Skip | None:
        """Return what to do about the oldest rows of a read, nothing where they are within the limit.

        Parameters
        ----------
        first_arrival : int
            Number of the first row of the read.
        n_rows : int
            Rows that the read returned: all that waited.
        """
        if not self._is_on or n_rows <= self._n_allowed:
            return None
        return Skip(first_arrival, n_rows - self._n_allowed, cast(Policy, self._policy))


def skips_of(events: Iterable[Mapping[str, Any]]) -> tuple[Skip, ...]:
    """Return the decisions that the events of a run tell, in the order of arrival, each once.

    Parameters
    ----------
    events : iterable of mapping
        Parsed lines of ``events.jsonl`` or of the recorded events; those of other types are left out.
    """
    found = {}
    for event in events:
        if event.get("type") != "skip" or event.get("policy") not in POLICIES:
            continue
        first, n = event.get("first_arrival"), event.get("n")
        if isinstance(first, int) and isinstance(n, int) and first >= 0 and n > 0:
            found[first] = Skip(first, n, event["policy"])
    return tuple(found[first] for first in sorted(found))
