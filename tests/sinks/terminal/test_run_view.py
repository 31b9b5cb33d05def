"""The view shows what is on the network, whatever that is called."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from neuroloop.sinks.terminal.run_view import TerminalView
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event

HOSTILE = ["[/]", "[/trial]", "[S1]", "[bold red]x", "\x1b[2J", "a\nb", "x" * 4000, "\ud800"]


def shown(view: TerminalView, console: Console) -> str:
    console.print(view.render())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_labels_are_shown_as_they_are_and_harmlessly(name: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=120)
    view = TerminalView(StreamInfo(name=name, type=name, sfreq=250.0, ch_names=("a",)), title=name, console=console)
    view.set_classes([name])
    events = [
        Event("prediction", name, 8, 0, 0.03, 0.0, {"probabilities": [0.5], "label": name}),
        Event("state", name, 8, 0, 0.03, 0.0, {"state": name, "previous": None}),
        Event("marker", name, 9, 0, 0.04, 0.0, {"label": name}),
    ]
    view.update(events, 9, 1.0, {"stream": name})
    page = shown(view, console)
    assert "\x1b" not in page
    if len(name) < 20 and name.isprintable():
        assert page.count(name) >= 4, "nothing of it is taken for markup"
