"""Policies that somebody else has written: how one is made, and what is checked of each state that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.decision import POLICY_KINDS, Decision, DecisionSettings
from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.kinds import told
from neuroloop.models.policy import UNKNOWN, ThresholdPolicy
from neuroloop.stream.contracts.chunks import Chunk, StateDict
from neuroloop.stream.contracts.events import Event

_METHODS = ("next_state", "reset", "get_state", "set_state")
_UNSET, _UNKNOWN = -2, -1
_STATE = "state"
_OWN = "own/"


class PolicyFailed(NeuroloopError):
    """A policy of somebody's own raised an error, or named what is no state."""


@dataclass(frozen=True, slots=True)
class PolicyPlace:
    """Where a policy stands.

    Parameters
    ----------
    classes : tuple of str
        In the order of the probabilities' columns.
    stream : str
        Name of the stream that the events are about.
    sfreq : float
        Rows of probabilities per second.
    delay_s : float
        The pipeline's algorithmic delay up to the probabilities, in seconds.
    newest_sample : callable
        From the row number to the index of the newest raw sample it used.
    position : int
        The policy's place in the pipeline.
    """

    classes: tuple[str, ...]
    stream: str
    sfreq: float
    delay_s: float
    newest_sample: Callable[[int], int]
    position: int


def build_policy(settings: Decision, place: PolicyPlace) -> ThresholdPolicy | OwnPolicy:
    """Make the policy that the settings describe.

    Raises
    ------
    ConfigError
        If the settings name a class that is no policy or refuses; the message begins with the field.
    """
    if isinstance(settings, DecisionSettings):
        return ThresholdPolicy(
            settings,
            classes=place.classes,
            stream=place.stream,
            sfreq=place.sfreq,
            delay_s=place.delay_s,
            newest_sample=place.newest_sample,
            position=place.position,
        )
    policy: Any = POLICY_KINDS.class_of(settings)
    missing = [name for name in _METHODS if not callable(getattr(policy, name, None))]
    if missing:
        raise ConfigError(f"decision.kind must name a policy, got {settings.kind!r} without {', '.join(missing)}")
    try:
        made = policy(settings, place.classes, place.sfreq)
        made.reset()
    except NeuroloopError:
        raise
    except Exception as error:
        raise ConfigError(f"decision.kind must name a policy that can be built, got {told(error)}") from error
    return OwnPolicy(made, settings.kind, place)


class OwnPolicy:
    """Somebody else's policy: it names the state of each row, the events are made here.

    Every row gives a `prediction`, every change of state a `state` event, as `ThresholdPolicy` gives them. The state of
    a flagged row is ``unknown`` whatever the policy says.

    Parameters
    ----------
    policy : object
        Has ``next_state(probabilities, valid, row)``, ``reset()``, ``get_state()`` and ``set_state(state)``.
    kind : str
        For messages.
    place : PolicyPlace
    """

    def __init__(self, policy: Any, kind: str, place: PolicyPlace) -> None:
        self._policy = policy
        self._kind = kind
        self._place = place
        self._known = {UNKNOWN: _UNKNOWN, **{label: index for index, label in enumerate(place.classes)}}
        self._state = _UNSET

    @property
    def state(self) -> str:
        """The present state."""
        return self._label(self._state)

    def decide(self, probabilities: Chunk) -> list[Event]:
        """Return the predictions and changes of state of these rows, in order of the rows.

        Raises
        ------
        PolicyFailed
            If the policy raises, or names what is no state.
        """
        place, events = self._place, []
        times, flags = probabilities.timestamps.tolist(), probabilities.valid.tolist()
        for offset, row in enumerate(probabilities.data.tolist()):
            k, time, valid = probabilities.first_sample + offset, times[offset], flags[offset]
            best = max(range(len(row)), key=row.__getitem__)
            label, confidence = place.classes[best], row[best]
            said = self._call("next_state", tuple(row), valid, k)
            new = self._known.get(said) if isinstance(said, str) else None
            if new is None:
                rule = f"name a state ({', '.join(self._known)}) for every row"
                raise PolicyFailed(f"policy {self._kind!r} must {rule}, got {str(said)[:60]!r}")
            new = new if valid else _UNKNOWN
            values = {"label": label, "confidence": confidence, "probabilities": row, "valid": valid}
            at = (place.stream, place.newest_sample(k), k, time, place.delay_s)
            events.append(Event("prediction", *at, values, place.position))
            if new != self._state:
                previous = None if self._state == _UNSET else self._label(self._state)
                change = {"state": self._label(new), "previous": previous, "confidence": confidence}
                self._state = new
                events.append(Event("state", *at, change, place.position + 1))
        return events

    def _label(self, state: int) -> str:
        return self._place.classes[state] if state >= 0 else UNKNOWN

    def reset(self) -> None:
        """Forget all rows seen; the next row announces its state again."""
        self._call("reset")
        self._state = _UNSET

    def get_state(self) -> StateDict:
        """Return the whole state as a flat dict of new arrays.

        Raises
        ------
        PolicyFailed
            If the policy raises, or gives out something else.
        """
        state = self._call("get_state")
        if not isinstance(state, dict) or not all(
            isinstance(key, str) and isinstance(array, np.ndarray) and not array.dtype.hasobject
            for key, array in state.items()
        ):
            raise PolicyFailed(f"policy {self._kind!r} must give its state as a dict of arrays, got {str(state)[:80]}")
        return {_STATE: np.array([self._state]), **{_OWN + key: array for key, array in state.items()}}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        own = {key.removeprefix(_OWN): array for key, array in state.items() if key.startswith(_OWN)}
        self._call("set_state", own)
        self._state = int(state[_STATE][0])

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method that is not ours."""
        try:
            return getattr(self._policy, method)(*arguments)
        except NeuroloopError:
            raise
        except Exception as error:
            raise PolicyFailed(f"policy {self._kind!r} must do {method}(), got {told(error)}") from error
