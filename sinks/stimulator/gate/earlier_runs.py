"""What earlier runs on the subject's electrode left: what the ledger says at the begin of a run, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neuroloop.sinks.stimulator.gate.inputs import number, number_or_none, texts

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Given:
    """What a row has given since the last lockout.

    Parameters
    ----------
    on_s, charge_uc : float
    """

    on_s: float
    charge_uc: float


@dataclass(frozen=True)
class EarlierRuns:
    """What earlier runs left; ages by the clock of the ledger that says less.

    Parameters
    ----------
    day_uc : float
        Charge of the last 24 h.
    session_s, session_uc : float
        Time with the output on and charge that count for the session: of the last 24 h.
    lockout_left_s : float
    start_ages_s : tuple of float
        Of the doses of the last 24 h.
    given : mapping
        By state, of the last 24 h.
    last_state : str or None
        Whose recommendation was given last, ever.
    successors : tuple of str or None
        What that row let follow; None for anything.
    last_on_s, last_ended_s : float or None
        How long that dose was, and how long ago it ended.
    """

    day_uc: float
    session_s: float = 0.0
    session_uc: float = 0.0
    lockout_left_s: float = 0.0
    start_ages_s: tuple[float, ...] = ()
    given: Mapping[str, Given] = field(default_factory=dict)
    last_state: str | None = None
    successors: tuple[str, ...] | None = None
    last_on_s: float | None = None
    last_ended_s: float | None = None


def read_earlier_runs(values: Mapping[str, Any]) -> EarlierRuns:
    """Read what the ledger said. Raises ValueError, TypeError or AttributeError where it is not as agreed.

    Whose row let nobody say what may follow, as in a ledger of an older program: nothing else may, for a day.
    """
    last_state, ended_s = values.get("last_state"), number_or_none(values, "last_ended_s")
    if not isinstance(last_state, (str, type(None))):
        raise ValueError(f"last_state must be text, got {last_state!r}")
    successors: tuple[str, ...] | None = None
    if "last_successors" not in values:
        successors = () if last_state is not None and (ended_s is None or ended_s < _DAY_S) else None
    elif values["last_successors"] is not None:
        successors = texts(values, "last_successors")
    given = {
        state: Given(number(sums, "on_s"), number(sums, "charge_uc")) for state, sums in values.get("given", {}).items()
    }
    return EarlierRuns(
        day_uc=number(values, "day_charge_uc"),
        session_s=number_or_none(values, "session_s") or 0.0,
        session_uc=number_or_none(values, "session_charge_uc") or 0.0,
        lockout_left_s=number_or_none(values, "lockout_left_s") or 0.0,
        start_ages_s=tuple(float(age) for age in values.get("start_ages_s", ())),
        given=given,
        last_state=last_state,
        successors=successors,
        last_on_s=number_or_none(values, "last_on_s"),
        last_ended_s=ended_s,
    )
