"""A policy: a class becomes the state when it was the most probable one for some rows."""

import numpy as np

from neuroloop.config.decision import OwnDecisionSettings


class Steady:
    class Settings(OwnDecisionSettings):
        rows: int = 3

    def __init__(self, settings, classes, sfreq):
        self._rows, self._states = settings.rows, (*classes, "unknown")

    def reset(self):
        self._best, self._count, self._state = 0, 0, len(self._states) - 1

    def next_state(self, probabilities, valid, row):
        if not valid:
            self.reset()
            return "unknown"
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        self._count = self._count + 1 if best == self._best else 1
        self._best = best
        if self._count >= self._rows:
            self._state = best
        return self._states[self._state]

    def get_state(self):
        return {"all": np.array([self._best, self._count, self._state])}

    def set_state(self, state):
        self._best, self._count, self._state = (int(one) for one in state["all"])
