"""Stages that somebody else has written: how they are made, and what is checked of each row they give out.

The check costs a microsecond a chunk; without it a wrong shape would be a traceback three stages later.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuroloop.config.errors import ConfigError, NeuroloopError
from neuroloop.config.kinds import told
from neuroloop.config.settings import Settings
from neuroloop.processors.stages.input_guard import wrong_channels
from neuroloop.stream.contracts.chunks import Chunk, StreamInfo
from neuroloop.stream.contracts.protocols import Processor

_FLOAT64, _BOOL = np.dtype(np.float64), np.dtype(np.bool_)


class StageFailed(NeuroloopError):
    """A stage of somebody else raised an error, or gave out what no stage may."""


def build_own_stage(stage: type[Any], settings: Settings, info: StreamInfo) -> Processor:
    """Make a stage of somebody else's class.

    Parameters
    ----------
    stage : type
        Is called with the settings and the stream.
    settings : Settings
    info : StreamInfo

    Raises
    ------
    ConfigError
        If the class refuses, or what it makes is no stage; the message begins with the field.
    """
    missing = [name for name in _METHODS if not callable(getattr(stage, name, None))]
    if missing:
        raise ConfigError(f"kind must name a stage, got {stage.__name__} without {', '.join(missing)}")
    try:
        made = _guarded(stage)(settings, info)
    except NeuroloopError:
        raise
    except Exception as error:
        raise ConfigError(f"kind must name a stage that can be built for this stream, got {told(error)}") from error
    missing = [name for name in _ATTRIBUTES if not hasattr(made, name)]
    if missing:
        raise ConfigError(f"kind must name a stage, got {stage.__name__} without {', '.join(missing)}")
    out = made.info_out
    if not (isinstance(out, StreamInfo) and out.sfreq > 0 and out.n_channels > 0):
        raise ConfigError(f"kind must name a stage whose info_out has a rate and channels, got {out!r}")
    if made.name != getattr(settings, "name", None):
        raise ConfigError(f"kind must name a stage that takes its name from its settings, got {made.name!r}")
    if not (isinstance(made.delay_s, int | float) and math.isfinite(made.delay_s) and made.delay_s >= 0):
        raise ConfigError(f"kind must name a stage whose delay_s is a number >= 0, got {made.delay_s!r}")
    return made  # type: ignore[no-any-return]


_METHODS = ("newest_input", "process", "reset", "get_state", "set_state", "plan_arrays")
_ATTRIBUTES = ("name", "info_in", "info_out", "delay_s", "warmup_samples")
_GUARDED: dict[type[Any], type[Any]] = {}


def _guarded(stage: type[Any]) -> type[Any]:
    """Return the class with a `process` that names its own faults; made once, so that states stay comparable."""
    if stage in _GUARDED:
        return _GUARDED[stage]
    theirs = stage.process

    def process(self: Any, chunk: Chunk) -> Chunk:
        n_channels = chunk.data.shape[1]
        if n_channels != self.info_in.n_channels:
            raise wrong_channels(self.name, self.info_in.n_channels, n_channels)
        try:
            out: Chunk = theirs(self, chunk)
            data, stamps, valid = out.data, out.timestamps, out.valid
            n_out = data.shape[0]
            is_right = (
                data.dtype == _FLOAT64
                and valid.dtype == _BOOL
                and stamps.dtype == _FLOAT64
                and data.shape == (n_out, self.info_out.n_channels)
                and stamps.shape == valid.shape == (n_out,)
                and data.flags.c_contiguous
            )
        except NeuroloopError:
            raise
        except Exception as error:
            raise StageFailed(f"stage {self.name!r} must take every chunk, got {told(error)}") from error
        if not is_right:
            raise StageFailed(
                f"stage {self.name!r} must give out C-ordered float64 rows of {self.info_out.n_channels} columns, "
                f"with a float64 stamp and a bool flag each, got {data.dtype} {data.shape}, "
                f"{stamps.dtype} {stamps.shape}, {valid.dtype} {valid.shape}"
            )
        return out

    _GUARDED[stage] = type(stage.__name__, (stage,), {"process": process, "__module__": stage.__module__})
    return _GUARDED[stage]
