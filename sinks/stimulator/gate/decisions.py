"""What the pipeline decided last, how long it has lasted, and how often in a row it was said with enough confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from neuroloop.config.stimulation import UNKNOWN_STATE, RecommendationSettings
from neuroloop.sinks.stimulator.gate.inputs import Place, Prediction, StateChange


@dataclass(frozen=True)
class Moment:
    """Where the newest decision stands."""

    sample: int = 0
    time: float | None = None
    delay_s: float = 0.0


@dataclass
class Decisions:
    """The newest decision and its history.

    Parameters
    ----------
    rows : dict
        The table by state.
    delay_s : float
        Said before the first decision.
    """

    rows: Mapping[str, RecommendationSettings]
    delay_s: float

    def __post_init__(self) -> None:
        self.moment = Moment(delay_s=self.delay_s)
        self.state = UNKNOWN_STATE
        self.since_ns = 0
        """When the state began."""
        self.newest_ns: int | None = None
        """When the newest prediction came."""
        self.accepted_ns: int | None = None
        """When the newest one came that was not blanked."""
        self.label = ""
        self.confidence: float | None = None
        self.n_in_a_row = 0
        """Decisions up to the newest that asked for ``label`` with its row's confidence."""

    def place(self, place: Place) -> None:
        """Note where a decision stands; older ones change nothing."""
        if place.sample >= self.moment.sample:
            delay = place.delay_s
            self.moment = Moment(place.sample, place.time, self.delay_s if delay is None else delay)

    def predict(self, one: Prediction, now_ns: int, *, is_blanked: bool) -> bool:
        """Take a prediction; return whether its rows were good.

        A blanked one counts neither for nor against a state. One that is flagged begins the count anew.
        """
        label, confidence = one.label, one.confidence
        self.place(one.place)
        self.newest_ns = now_ns
        if not is_blanked:
            self.accepted_ns = now_ns
        if not one.is_valid or confidence is None:
            self.forget()
            return False
        if is_blanked:
            return True
        row = self.rows.get(label)
        is_enough = row is not None and confidence >= row.min_confidence
        self.n_in_a_row = (self.n_in_a_row + 1 if label == self.label else 1) if is_enough else 0
        self.label, self.confidence = label, confidence
        return True

    def enter(self, one: StateChange, now_ns: int) -> None:
        """Take a change of state."""
        self.place(one.place)
        if one.state != self.state:
            self.state, self.since_ns = one.state, now_ns

    def forget(self) -> None:
        """Begin the count anew."""
        self.n_in_a_row, self.label, self.confidence = 0, "", None

    def supports(self, state: str, confidence: float) -> bool:
        """Return whether state and newest decision ask for a state with at least this confidence."""
        return (
            self.state == state
            and self.label == state
            and self.confidence is not None
            and self.confidence >= confidence
        )
