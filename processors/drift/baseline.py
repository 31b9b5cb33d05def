"""Baselines: what a monitor compares with, as numbers and as a file.

A file is JSON: ``{"format": "neuroloop-baseline/1", "monitors": {name: {...}}}``. Every monitor's part carries an
``id``, the SHA-256 of the rest of it; floats are written so that they read back to the same bits. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroloop.config.errors import NeuroloopError
from neuroloop.stream.contracts.chunks import FloatArray, StreamInfo

FORMAT = "neuroloop-baseline/1"
_RATE_TOLERANCE = 1e-6
(
    MEAN,
    STD,
    COUNT,
    TAU_MEAN,
    TAU_SQUARE,
    KURTOSIS,
    MEAN_CENTRE,
    MEAN_SCALE,
    MEAN_RHO,
    LOG_CENTRE,
    LOG_SCALE,
    LOG_RHO,
) = range(12)
FIELDS = (
    "mean",
    "std",
    "count",
    "tau_mean",
    "tau_square",
    "kurtosis",
    "mean_centre",
    "mean_scale",
    "mean_rho",
    "log_std_centre",
    "log_std_scale",
    "log_std_rho",
)
"""Rows of `Baseline.table`; ``mean_centre`` is relative to ``mean``, times are in rows, scales are of whole windows."""
CENTRE, SCALE, RHO = range(3)
COMMON_FIELDS = ("centre", "scale", "rho")
ARMS = ("mean", "log_std")


class BaselineError(NeuroloopError):
    """A baseline is missing, altered or was made for something else."""


@dataclass(frozen=True)
class BaselineFor:
    """What a baseline was made for; another grid or other columns refuse it."""

    tap: str
    watch: str
    sfreq: float
    window: int
    hop: int
    columns: tuple[str, ...]
    units: tuple[str, ...]

    @classmethod
    def of(cls, info: StreamInfo, *, tap: str, watch: str, window: int, hop: int) -> BaselineFor:
        """Return it for rows of this stream."""
        return cls(tap, watch, info.sfreq, window, hop, info.ch_names, info.ch_units)


@dataclass(frozen=True)
class Baseline:
    """Statistics of the rows that count as normal; arrays are read-only.

    Parameters
    ----------
    made_for : BaselineFor
    n_windows : int
        Whole windows without overlap that it is made of.
    table : array, shape (12, n_channels)
        Rows are `FIELDS`.
    common : array, shape (2, 3)
        Centre, scale and lag-1 correlation of the median over the channels, for the mean and the log std.
    """

    made_for: BaselineFor
    n_windows: int
    table: FloatArray
    common: FloatArray

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, its ``id`` first."""
        content = self._content()
        return {"id": _hash(content), **content}

    @property
    def id(self) -> str:
        """SHA-256 of everything it holds."""
        return _hash(self._content())

    def _content(self) -> dict[str, Any]:
        made = self.made_for
        return {
            "tap": made.tap,
            "watch": made.watch,
            "sfreq": made.sfreq,
            "window": made.window,
            "hop": made.hop,
            "columns": list(made.columns),
            "units": list(made.units),
            "n_windows": self.n_windows,
            "statistics": {name: row.tolist() for name, row in zip(FIELDS, self.table, strict=True)},
            "common": {
                arm: dict(zip(COMMON_FIELDS, row.tolist(), strict=True))
                for arm, row in zip(ARMS, self.common, strict=True)
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Baseline:
        """Read what `as_dict` wrote and check its ``id``.

        Raises
        ------
        BaselineError
            If it is not whole, not finite or was altered.
        """
        try:
            made_for = BaselineFor(
                str(content["tap"]),
                str(content["watch"]),
                float(content["sfreq"]),
                int(content["window"]),
                int(content["hop"]),
                tuple(str(name) for name in content["columns"]),
                tuple(str(unit) for unit in content["units"]),
            )
            table = np.array([content["statistics"][name] for name in FIELDS], np.float64)
            common = np.array([[content["common"][arm][name] for name in COMMON_FIELDS] for arm in ARMS], np.float64)
            baseline = cls(made_for, int(content["n_windows"]), table, common)
            stated = content["id"]
        except (KeyError, TypeError, ValueError) as error:
            raise BaselineError(f"baseline must hold all of its statistics, got one without {error}") from error
        if table.shape != (len(FIELDS), len(made_for.columns)) or len(made_for.units) != len(made_for.columns):
            raise BaselineError(f"baseline must have one value per column ({len(made_for.columns)}), got {table.shape}")
        if not (np.isfinite(table).all() and np.isfinite(common).all()):
            raise BaselineError("baseline must be finite, got a value that is not")
        if baseline.id != stated:
            raise BaselineError(f"baseline must have the id it states, {stated!r}, got {baseline.id!r}: it was altered")
        table.setflags(write=False)
        common.setflags(write=False)
        return baseline

    def check(self, wanted: BaselineFor) -> None:
        """Refuse to serve for anything else than it was made for.

        Raises
        ------
        BaselineError
            With every difference, in one line.
        """
        made, differences = self.made_for, []
        for label in ("tap", "watch", "window", "hop", "columns", "units"):
            if getattr(made, label) != getattr(wanted, label):
                differences.append(
                    f"{label} {_short(getattr(made, label))} in place of {_short(getattr(wanted, label))}"
                )
        if abs(made.sfreq - wanted.sfreq) > _RATE_TOLERANCE * wanted.sfreq:
            differences.append(f"rate {made.sfreq!r} Hz in place of {wanted.sfreq!r} Hz")
        if differences:
            raise BaselineError(f"baseline must be made for this tap and grid, got one with {'; '.join(differences)}")


def write_baselines(path: Path, baselines: Mapping[str, Baseline]) -> None:
    """Write a file of baselines by the name of their monitor."""
    record = {"format": FORMAT, "monitors": {name: one.as_dict() for name, one in baselines.items()}}
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_baselines(path: Path) -> dict[str, Baseline]:
    """Read a file of baselines.

    Raises
    ------
    BaselineError
        If there is none, or it is something else or altered.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BaselineError(f"baseline must be a readable file, got {str(path)!r}: {error.strerror}") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BaselineError(f"baseline must be JSON, got {str(path)!r}") from error
    monitors = record.get("monitors") if isinstance(record, dict) else None
    if not isinstance(monitors, dict) or record.get("format") != FORMAT:
        raise BaselineError(f"baseline must be a file of format {FORMAT!r}, got {str(path)!r}")
    found = {}
    for name, content in monitors.items():
        if not isinstance(content, dict):
            raise BaselineError(f"monitors.{name} must be a mapping, got {type(content).__name__}")
        try:
            found[str(name)] = Baseline.from_dict(content)
        except BaselineError as error:
            raise BaselineError(f"{path.name}: {name}: {error}") from error
    return found


def _hash(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
