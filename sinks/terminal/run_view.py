"""The terminal view: stream, rates, state, probabilities, events, speed; absent where there is no terminal."""

from __future__ import annotations

import io
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from neuroloop.config.plain_text import clean
from neuroloop.sinks.terminal.stimulation_panel import (
    StimulationPanel,
    StimulationStatus,
    describe_command,
    describe_refusal,
)
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event

_REDRAW_S = 0.1
_BAR = 32
_N_EVENTS = 8
_N_STATES = 60
_FONT_FROM_THE_NET = re.compile(r"@font-face \{.*?\}", re.DOTALL)
_COLOURS = ("green", "cyan", "red", "yellow", "magenta", "blue")


class TerminalView:
    """Show a running pipeline; redraws at most ten times a second.

    Parameters
    ----------
    info : StreamInfo
    title : str
    console : Console, optional
        Standard error otherwise, so that standard output stays for results.
    """

    def __init__(self, info: StreamInfo, *, title: str, console: Console | None = None) -> None:
        self._info = info
        self._title = title
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._events: deque[Event] = deque(maxlen=_N_EVENTS)
        self._history: deque[str] = deque(maxlen=_N_STATES)
        self._counts: Counter[str] = Counter()
        self._classes: dict[str, str] = {}
        self._probabilities: list[float] = []
        self._labels: list[str] = []
        self._state = "unknown"
        self._n_samples = 0
        self._elapsed_s = 0.0
        self._extra: dict[str, str] = {}
        self._stimulation: StimulationPanel | None = None
        self._while_on: Panel | None = None
        self._last_draw = 0.0
        self._is_given_up = False

    @classmethod
    def if_interactive(cls, info: StreamInfo, *, title: str) -> TerminalView | None:
        """Return a view on standard error if that is a terminal, otherwise nothing."""
        console = Console(stderr=True)
        return cls(info, title=title, console=console) if console.is_terminal else None

    def __enter__(self) -> TerminalView:
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the last state and leave it on the screen."""
        if not self._is_given_up:
            self._live.update(self.render(), refresh=True)
        self._live.stop()

    def give_up(self) -> None:
        """Draw nothing any more; the run goes on unseen."""
        self._is_given_up = True
        self._live.stop()

    def set_classes(self, classes: Sequence[str]) -> None:
        """Name the classes whose probabilities come."""
        self._labels = list(classes)
        self._classes = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(classes)}

    def set_stimulation(self, panel: StimulationPanel) -> None:
        """Draw a stimulator too."""
        self._stimulation = panel

    def update(
        self,
        events: Sequence[Event],
        n_samples: int,
        elapsed_s: float,
        extra: dict[str, str] | None = None,
        stimulation: StimulationStatus | None = None,
    ) -> None:
        """Take what happened since the last call and redraw if it is time."""
        if self._stimulation is not None:
            self._stimulation.update(events, stimulation)
        for event in events:
            self._counts[event.type] += 1
            if event.type == "prediction":
                self._probabilities = list(event.values["probabilities"])
                self._history.append(self._state)
                continue
            if event.type == "state":
                self._state = event.values["state"]
            self._events.append(event)
        self._n_samples, self._elapsed_s = n_samples, elapsed_s
        if extra is not None:
            self._extra = extra
        now = time.perf_counter()
        if now - self._last_draw >= _REDRAW_S:
            self._last_draw = now
            view = self.render()
            if stimulation is not None and stimulation.state == "STIMULATING":
                self._while_on = view
            self._live.update(view, refresh=True)

    def save_picture(self, path: Path) -> None:
        """Write the last view as an SVG picture; of a stimulator, the last one with its output on."""
        console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
        console.print(self._while_on or self.render())
        svg = _FONT_FROM_THE_NET.sub("", console.export_svg(title=self._title))
        path.write_text(svg.replace("Fira Code,", ""), encoding="utf-8")

    def _style(self, state: str) -> str:
        return self._classes.get(state, "bright_black")

    def _head(self) -> Table:
        info = self._info
        stream_s = self._n_samples / info.sfreq if info.sfreq else 0.0
        speed = stream_s / self._elapsed_s if self._elapsed_s > 0 else 0.0
        table = Table.grid(padding=(0, 2))
        stream = f"{clean(info.name)}  {clean(info.type)}, {info.n_channels} channels at {info.sfreq:g} Hz"
        table.add_row("stream", Text(stream))
        table.add_row("received", f"{self._n_samples:,} samples, {stream_s:.1f} s of signal, {speed:.3g} x real time")
        for name, value in self._extra.items():
            table.add_row(name, Text(clean(value)))
        return table

    def _state_panel(self) -> Group:
        big = Text(f" {clean(self._state.upper())} ", style=f"bold reverse {self._style(self._state)}")
        rows = Table.grid(padding=(0, 1))
        for label, value in zip(self._labels, self._probabilities, strict=False):
            filled = round(value * _BAR)
            bar = Text("█" * filled, style=self._style(label)) + Text("░" * (_BAR - filled), style="bright_black")
            rows.add_row(Text(clean(label)), bar, f"{value:5.2f}")
        past = Text()
        for state in self._history:
            past.append("▆", style=self._style(state))
        return Group(big, rows, past)

    def render(self) -> Panel:
        """Return the whole view."""
        parts: list[Any] = [self._head()]
        if self._labels:
            parts += [Text(), self._state_panel()]
        if self._stimulation is not None:
            parts += [Text(), self._stimulation.render()]
        log = Table.grid(padding=(0, 2))
        for event in self._events:
            log.add_row(f"{event.time:10.3f} s", event.type, Text(clean(_describe(event))), style="default")
        counts = ", ".join(f"{n:,} {name}" for name, n in sorted(self._counts.items()))
        parts += [Text(), log, Text(counts or "no events yet", style="bright_black")]
        return Panel(Group(*parts), title=Text(clean(self._title)), title_align="left", border_style="bright_black")


def _describe(event: Event) -> str:
    """Say an event in a few words."""
    values = event.values
    if event.type == "state":
        return f"{values['previous'] or 'start'} -> {values['state']}"
    if event.type == "marker":
        return str(values["label"])
    if event.type == "gap":
        return f"{values['missing']} samples missing"
    if event.type == "stream":
        return str(values.get("what", ""))
    if event.type == "command":
        return describe_command(values)
    if event.type == "refusal":
        return describe_refusal(values)
    return ", ".join(f"{key} {value}" for key, value in list(values.items())[:3])
