"""A stage as a lab would write it, on nothing but the Processor protocol, and copies with one planted fault each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.stages import OwnStageSettings
from neuroloop.stream.contracts.chunks import BoolArray, Chunk, FloatArray, StateDict, StreamInfo, make_chunk


class Smooth:
    """Exponential mean of every channel, row by row; bad values are held and flagged."""

    class Settings(OwnStageSettings):
        """How much of each new row is taken."""

        weight: float = 0.5

    def __init__(self, settings: Settings, info: StreamInfo) -> None:
        self.name = settings.name
        self.info_in = self.info_out = info
        self.delay_s = 1.0 / info.sfreq
        self.warmup_samples = 12
        self._weight = settings.weight
        self.reset()

    def newest_input(self, k: int) -> int:
        return k

    def reset(self) -> None:
        self._mean = np.full(self.info_in.n_channels, np.nan)
        self._since_bad = np.zeros(1, np.int64)

    def process(self, chunk: Chunk) -> Chunk:
        out = np.empty((len(chunk), self.info_in.n_channels))
        valid = np.empty(len(chunk), np.bool_)
        for i in range(len(chunk)):
            self.step(chunk.data, i, out)
            good = bool(chunk.valid[i]) and bool(np.isfinite(chunk.data[i]).all())
            valid[i] = good and self._since_bad[0] >= self.warmup_samples
            self._since_bad[0] = self._since_bad[0] + 1 if good else 0
        return make_chunk(self.finish(out), chunk.timestamps.copy(), chunk.first_sample, valid, self.info_out)

    def step(self, x: FloatArray, i: int, out: FloatArray) -> None:
        row = self.clean(x[i])
        self._mean = np.where(np.isnan(self._mean), row, self._mean + self._weight * (row - self._mean))
        out[i] = np.where(np.isnan(self._mean), 0.0, self._mean)

    def clean(self, row: FloatArray) -> FloatArray:
        return np.where(np.isfinite(row), row, self._mean)

    def finish(self, out: FloatArray) -> FloatArray:
        return out

    def get_state(self) -> StateDict:
        return {"mean": self._mean.copy(), "since_bad": self._since_bad.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._mean = state["mean"].copy()
        self._since_bad = state["since_bad"].copy()

    def plan_arrays(self) -> dict[str, NDArray[Any]]:
        return {"weight": np.array([self._weight])}


class CountsChunks(Smooth):
    _chunks = 0

    def finish(self, out: FloatArray) -> FloatArray:
        self._chunks += len(out) > 0
        return out + self._chunks


class WritesIntoItsInput(Smooth):
    def process(self, chunk: Chunk) -> Chunk:
        if chunk.data.flags.writeable:
            chunk.data[:] *= 2.0
        return super().process(chunk)


class HandsOnItsInput(Smooth):
    def finish(self, out: FloatArray) -> FloatArray:
        return out

    def process(self, chunk: Chunk) -> Chunk:
        done = super().process(chunk)
        return Chunk(done.data, chunk.timestamps, done.first_sample, done.valid, done.info)


class ForgetsItsState(Smooth):
    def get_state(self) -> StateDict:
        return {"since_bad": self._since_bad.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._since_bad = state["since_bad"].copy()


class HandsOutItsState(Smooth):
    def get_state(self) -> StateDict:
        return {"mean": self._mean.copy(), "since_bad": self._since_bad}


class ForgetsToReset(Smooth):
    def reset(self) -> None:
        if not hasattr(self, "_mean"):
            super().reset()


class UsesExp(Smooth):
    def finish(self, out: FloatArray) -> FloatArray:
        return np.exp(np.sin(out / 10.0))


class SumsByChunk(Smooth):
    """Smooths again in closed form, whose rounding depends on where the chunk begins."""

    def reset(self) -> None:
        super().reset()
        self._carry = np.zeros(self.info_in.n_channels)
        self.warmup_samples = 80

    def finish(self, out: FloatArray) -> FloatArray:
        if not len(out):
            return out
        powers = 0.9 ** np.arange(1.0, len(out) + 1)[:, None]
        again = powers * (self._carry + np.cumsum(0.1 * out / powers, axis=0))
        self._carry = again[-1].copy()
        return again

    def get_state(self) -> StateDict:
        return {**super().get_state(), "carry": self._carry.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        super().set_state(state)
        self._carry = state["carry"].copy()


class LooksAhead(Smooth):
    def step(self, x: FloatArray, i: int, out: FloatArray) -> None:
        super().step(np.vstack([x[1:], x[-1:]]), i, out)


class SaysOlderThanItIs(Smooth):
    def newest_input(self, k: int) -> int:
        return k - 3


class SaysNewerThanItIs(Smooth):
    def newest_input(self, k: int) -> int:
        return k + 3


class LiesOnDelay(Smooth):
    def __init__(self, settings: Smooth.Settings, info: StreamInfo) -> None:
        super().__init__(settings, info)
        self.delay_s = 12.0 / info.sfreq


class HidesDelay(Smooth):
    """Hands on what came twenty rows ago and says that it is of now."""

    def __init__(self, settings: Smooth.Settings, info: StreamInfo) -> None:
        self._late = np.zeros((20, info.n_channels))
        super().__init__(settings, info)
        self.delay_s, self.warmup_samples = 0.0, 40

    def reset(self) -> None:
        super().reset()
        self._late = np.zeros((20, self.info_in.n_channels))

    def finish(self, out: FloatArray) -> FloatArray:
        both = np.vstack([self._late, out])
        self._late = both[len(out) :].copy()
        return both[: len(out)].copy()

    def get_state(self) -> StateDict:
        return {**super().get_state(), "late": self._late.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        super().set_state(state)
        self._late = state["late"].copy()


class LetsNanIn(Smooth):
    """A bad value stays in the mean for ever."""

    def step(self, x: FloatArray, i: int, out: FloatArray) -> None:
        start = np.isnan(self._mean) & (self._since_bad[0] == 0)
        self._mean = np.where(start, x[i], self._mean + self._weight * (x[i] - self._mean))
        out[i] = self._mean


class DividesByZero(Smooth):
    def finish(self, out: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.log(out * out)


class FlagsTooLittle(Smooth):
    def process(self, chunk: Chunk) -> Chunk:
        done = super().process(chunk)
        return make_chunk(done.data, done.timestamps, done.first_sample, np.ones(len(done), np.bool_), done.info)


class RemembersForEver(Smooth):
    """Its warm-up is not the whole of it: the first row stays in all others."""

    def __init__(self, settings: Smooth.Settings, info: StreamInfo) -> None:
        super().__init__(settings, info)

    def reset(self) -> None:
        super().reset()
        self._first = np.full(self.info_in.n_channels, np.nan)

    def step(self, x: FloatArray, i: int, out: FloatArray) -> None:
        super().step(x, i, out)
        self._first = np.where(np.isnan(self._first), out[i], self._first)
        out[i] -= self._first

    def get_state(self) -> StateDict:
        return {**super().get_state(), "first": self._first.copy()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        super().set_state(state)
        self._first = state["first"].copy()


class SharesWithOthers(Smooth):
    """Two of them in one process have one mean."""

    shared: FloatArray

    def step(self, x: FloatArray, i: int, out: FloatArray) -> None:
        if self._since_bad[0] or not np.isnan(self._mean).any():
            self._mean = type(self).shared
        super().step(x, i, out)
        type(self).shared = self._mean


class ThrowsDice(Smooth):
    def finish(self, out: FloatArray) -> FloatArray:
        return out + np.random.default_rng().standard_normal(out.shape) * 1e-12


class AsksTheClock(Smooth):
    def finish(self, out: FloatArray) -> FloatArray:
        return out * (1.0 + int(time.time() / 3600) * 1e-9)


class Raises(Smooth):
    def step(self, x: FloatArray, i: int, out: FloatArray) -> None:
        if x[i, 0] > 60.0:
            raise ZeroDivisionError("too much")
        super().step(x, i, out)


class WrongColumns(Smooth):
    def finish(self, out: FloatArray) -> FloatArray:
        return out[:, :1].copy()


class NoStage:
    """Has a constructor and nothing else."""

    def __init__(self, settings: OwnStageSettings, info: StreamInfo) -> None:
        self.name = settings.name


def never(_: BoolArray) -> None:
    """Is no class."""
