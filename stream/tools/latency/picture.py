"""A histogram of latencies as a picture; matplotlib is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroloop.config.errors import ConfigError

_COLOURS = ("#1b6ca8", "#c1440e", "#4f8a3d", "#7a4fa3", "#8a8a8a")
_BINS = 160


def check_pictures() -> None:
    """Find out early whether `save_histogram` will be able to.

    Raises
    ------
    ConfigError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        rule = "matplotlib must be installed for a picture (pip install matplotlib, or leave --picture out)"
        raise ConfigError(f"{rule}, got none") from error


def save_histogram(path: Path, series: Mapping[str, NDArray[np.int64]], *, title: str, note: str) -> None:
    """Draw the distributions, on logarithmic axes, with p50, p99 and the largest value of each.

    Parameters
    ----------
    path : Path
        ``.png`` or ``.svg``.
    series : mapping of str to array, shape (n,)
        Durations in nanoseconds by name; empty ones are left out.
    title, note : str
        Above and below.
    """
    from matplotlib.figure import Figure  # without pyplot: no window system, no global state

    drawn = {name: np.sort(np.maximum(values, 1)) / 1e3 for name, values in series.items() if len(values)}
    figure = Figure(figsize=(9.0, 4.8), dpi=130, layout="constrained")
    axes = figure.subplots()
    if drawn:
        low = min(float(values[0]) for values in drawn.values())
        high = max(float(values[-1]) for values in drawn.values())
        edges = np.geomspace(0.9 * low, 1.1 * high, _BINS)
        for colour, (name, values) in zip(_COLOURS, drawn.items(), strict=False):
            p50, p99 = (values[max(0, int(np.ceil(share * len(values))) - 1)] for share in (0.5, 0.99))
            label = f"{name}: n {len(values):,}, p50 {p50:.0f}, p99 {p99:.0f}, max {values[-1]:.0f} us"
            axes.hist(values, edges.tolist(), histtype="step", color=colour, linewidth=1.4, label=label)
            axes.axvline(p99, color=colour, linestyle=":", linewidth=1.0)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.legend(fontsize=8, loc="upper right")
    axes.set_xlabel("microseconds (dotted: p99)")
    axes.set_ylabel("events")
    axes.set_title(title, fontsize=11)
    figure.supxlabel(note, fontsize=7)
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else None)
