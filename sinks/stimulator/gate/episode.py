"""One stay in a state: how long its output may go on unseen, how often it may begin, what of its dose is left.

While the output is on, the window of a decision may reach back over its pulses: what is decided then may be about the
output's own artefact, and a classifier that takes it for the state would keep it on. So every ``look_every_s`` the gate
looks: it ramps down, lets the signal settle, waits for one whole window without output in it, and decides anew. A look
is an ordinary end and an ordinary start: every rule of a start holds for what follows it.
"""

from __future__ import annotations

from neuroloop.config.stimulation import GateSettings, RecommendationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Check


def is_blind(row: RecommendationSettings, gate: GateSettings, window_s: float) -> bool:
    """Return whether no decision during a dose of a row can be free of its pulses.

    Parameters
    ----------
    row : RecommendationSettings
    gate : GateSettings
        ``pulse_blanking_s`` of 0 says that pulses do not disturb decisions.
    window_s : float
        How far back a decision looks.
    """
    if gate.pulse_blanking_s == 0:
        return False
    is_continuous = row.waveform in ("direct", "sine")
    return is_continuous or row.frequency_hz * (window_s + gate.pulse_blanking_s) >= 1


def look_warnings(
    row: RecommendationSettings, gate: GateSettings, *, ramp_s: float, window_s: float | None
) -> list[str]:
    """Return what looks mean for a row, for who writes the table.

    Parameters
    ----------
    row : RecommendationSettings
    gate : GateSettings
    ramp_s : float
        As planned.
    window_s : float or None
        How far back a decision looks; None where it is not known.
    """
    found = []
    least_s = least_dose_s(gate, ramp_s)
    if least_s > gate.look_every_s:
        found.append(
            f"gate.look_every_s must be at least {least_s:.4g} for its ramps, got {gate.look_every_s:g}: refused"
        )
    elif row.duration_s > gate.look_every_s:
        most_s = min(row.duration_s, gate.look_every_s * gate.starts_per_episode)
        found.append(
            f"given in parts: off for a look after {gate.look_every_s:g} s of output, at most "
            f"{gate.starts_per_episode} times, {most_s:g} of {row.duration_s:g} s, while the state lasts"
        )
    if window_s is not None and is_blind(row, gate, window_s):
        bound_s = min(row.duration_s, gate.look_every_s)
        found.append(
            f"no decision during its dose can be free of its pulses (window {window_s:.3g} s): it cannot end with its "
            f"state, only by a look, after {bound_s:g} s"
        )
    return found


def least_dose_s(gate: GateSettings, ramp_s: float) -> float:
    """Return the shortest dose: both ramps, each as late as the disk allows, and a heartbeat or two to notice."""
    return 2.0 * (ramp_s + 2.0 * gate.heartbeat_s + gate.watchdog_s)


class Episode:
    """Count the starts, and what was given, since a state began.

    It ends when an accepted decision says something else.

    Parameters
    ----------
    gate : GateSettings
    """

    def __init__(self, gate: GateSettings) -> None:
        self._gate = gate
        self._state: str | None = None
        self._n_starts = 0
        self._given_s = 0.0

    def accept(self, label: str) -> None:
        """Take an accepted decision."""
        if label != self._state:
            self._state, self._n_starts, self._given_s = None, 0, 0.0

    def judge(self, row: RecommendationSettings, ramp_s: float) -> list[Check]:
        """Return the rules for a start now."""
        n = 1 + (self._n_starts if row.state == self._state else 0)
        least_s, look_s, most = least_dose_s(self._gate, ramp_s), self._gate.look_every_s, self._gate.starts_per_episode
        return [
            Check("starts_per_episode", n, most, n <= most),
            Check("look_every_s", least_s, look_s, least_s <= look_s),
        ]

    def left_s(self, row: RecommendationSettings) -> float:
        """Return how much of a row's dose is left."""
        return row.duration_s - (self._given_s if row.state == self._state else 0.0)

    def started(self, state: str) -> None:
        """Note a start."""
        self.accept(state)
        self._state = state
        self._n_starts += 1

    def is_used_up(self, row: RecommendationSettings, on_s: float, ramp_s: float) -> bool:
        """Return whether, behind a dose that lasted so long, neither a start nor room for one more is left."""
        if row.state != self._state:
            return False
        left_s = row.duration_s - self._given_s - on_s
        return self._n_starts >= self._gate.starts_per_episode or left_s < least_dose_s(self._gate, ramp_s)

    def ended(self, state: str, on_s: float, *, is_full: bool) -> None:
        """Note the end of a dose; what comes behind one that was given in full begins anew."""
        if state == self._state:
            self._given_s = 0.0 if is_full else self._given_s + on_s
