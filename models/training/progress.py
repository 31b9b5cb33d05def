"""A progress bar per training, on standard error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from neuroloop.models.training.trainer import Progress as ProgressCallback


@contextmanager
def progress_bars(console: Console | None = None) -> Iterator[ProgressCallback]:
    """Show one bar per training while the block runs, and give the callback that moves them.

    A training that stops early fills its bar.

    Parameters
    ----------
    console : Console, optional
        Where to draw; standard error where it is left out.
    """
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console or Console(stderr=True)) as bars:
        tasks = {}

        def move(label: str, done: int, total: int, values: Mapping[str, float]) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total, figures="")
            figures = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
            bars.update(tasks[label], completed=done, total=total, figures=figures)

        yield move
