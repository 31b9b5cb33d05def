"""The view of a cluster: what each stream is in, what each worker owns, what happened; absent without a terminal."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from neuroloop.config.plain_text import clean

_REDRAW_S = 0.2
_N_NOTES = 6
_N_STATES = 24
_COLUMNS = 2
_COLOURS = ("green", "cyan", "red", "yellow", "magenta", "blue")


@dataclass
class StreamLine:
    """What is known of one stream."""

    state: str = "unknown"
    n_decisions: int = 0
    history: deque[str] = field(default_factory=lambda: deque(maxlen=_N_STATES))


@dataclass
class WorkerLine:
    """What is known of one worker.

    Parameters
    ----------
    status : str
        Such as ``starting``, ``working``, ``killed``.
    n_streams, lag, n_snapshots, n_restored : int
    """

    status: str = "starting"
    n_streams: int = 0
    lag: int = 0
    n_snapshots: int = 0
    n_restored: int = 0


class ClusterView:
    """Show a cluster; redraws at most five times a second.

    Parameters
    ----------
    title : str
    streams : sequence of str
        Ids of the streams.
    classes : sequence of str
        States, each of a colour.
    console : Console, optional
        Standard error otherwise.

    Attributes
    ----------
    streams : dict of str to StreamLine
    workers : dict of str to WorkerLine
    """

    def __init__(
        self, title: str, streams: tuple[str, ...], classes: tuple[str, ...], console: Console | None = None
    ) -> None:
        self._title = title
        self._console = console or Console(stderr=True)
        self._is_shown = self._console.is_terminal
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(classes)}
        self._notes: deque[str] = deque(maxlen=_N_NOTES)
        self._last_draw = 0.0
        self.streams = {name: StreamLine() for name in streams}
        self.workers: dict[str, WorkerLine] = {}

    def __enter__(self) -> ClusterView:
        """Start drawing, where there is a terminal."""
        if self._is_shown:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Draw the last state and leave it on the screen."""
        if self._is_shown:
            self._live.update(self.render(), refresh=True)
            self._live.stop()

    def note(self, text: str) -> None:
        """Say what happened; as a line of its own where there is no terminal."""
        self._notes.append(text)
        if not self._is_shown:
            self._console.print(Text(clean(text)))

    def decide(self, stream: str) -> None:
        """Count a decision about a stream."""
        line = self.streams.get(stream)
        if line is not None:
            line.n_decisions += 1
            line.history.append(line.state)

    def draw(self) -> None:
        """Redraw if it is time."""
        now = time.perf_counter()
        if self._is_shown and now - self._last_draw >= _REDRAW_S:
            self._last_draw = now
            self._live.update(self.render(), refresh=True)

    def render(self) -> Panel:
        """Return the whole view."""
        streams = Table.grid(padding=(0, 2))
        names = list(self.streams)
        n_rows = -(-len(names) // _COLUMNS)
        for row in range(n_rows):
            cells: list[Text | str] = []
            for name in names[row::n_rows]:
                cells += self._stream_cells(name, self.streams[name])
            streams.add_row(*cells)
        workers = Table(box=None, padding=(0, 2), header_style="bright_black")
        for head in ("worker", "", "streams", "frames behind", "snapshots", "taken over"):
            workers.add_column(head, justify="left" if head in ("worker", "") else "right")
        for name, line in self.workers.items():
            style = {"killed": "bold red", "working": "green"}.get(line.status, "yellow")
            numbers = (line.n_streams, line.lag, line.n_snapshots, line.n_restored)
            workers.add_row(Text(clean(name)), Text(line.status, style=style), *map(str, numbers))
        notes = Group(*(Text(clean(note)) for note in self._notes))
        return Panel(
            Group(streams, Text(), workers, Text(), notes),
            title=Text(clean(self._title)), title_align="left", border_style="bright_black",
        )  # fmt: skip

    def _stream_cells(self, name: str, line: StreamLine) -> list[Text | str]:
        past = Text()
        for state in line.history:
            past.append("▆", style=self._colours.get(state, "bright_black"))
        past.append(" " * (_N_STATES - len(line.history)))
        label = Text(f"{clean(line.state):<8}", style=f"bold {self._colours.get(line.state, 'bright_black')}")
        return [Text(clean(name)), label, past, f"{line.n_decisions:>4}"]
