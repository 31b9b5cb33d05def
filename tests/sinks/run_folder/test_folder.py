"""The run folder takes events without raising, keeps whole lines, and says what it could not write."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neuroloop.sinks.run_folder.folder import EVENTS_FILE, RunFolder, RunFolderError, event_line
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.contracts.protocols import EventSink


def make(folder: Path) -> RunFolder:
    return RunFolder(folder, config_yaml="name: x\n", provenance={})


def events(*samples: int) -> list[Event]:
    return [Event("marker", "s", sample, 0, 0.0, 0.0, {"label": "x" * 200}) for sample in samples]


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_it_is_an_event_sink_that_writes_each_event_at_once(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    assert isinstance(folder, EventSink)
    folder.write(events(1, 2))
    folder.write([])
    lines = (tmp_path / "run" / EVENTS_FILE).read_text(encoding="utf-8").splitlines()
    assert lines == [event_line(event) for event in events(1, 2)]
    folder.close()
    folder.close()
    folder.check()


def test_a_disk_that_takes_nothing_more_raises_nothing_and_is_said_with_a_count_when_it_is_asked(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path / "run")
    folder.write(events(1))
    with files_of_at_most(500):
        folder.write(events(2, 3))
        folder.write(events(4))
    folder.write(events(5))  # there is room again, but a file with a hole would pass for whole
    folder.close()
    assert (tmp_path / "run" / EVENTS_FILE).read_text(encoding="utf-8").splitlines() == [event_line(events(1)[0])]
    assert folder.n_unwritten == 4
    with pytest.raises(RunFolderError, match=r"out must be a writable folder, got .*: File too large; 4 events"):
        folder.check()


def test_what_comes_after_the_end_is_counted(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    folder.close()
    folder.write(events(1))
    with pytest.raises(RunFolderError, match="it is closed; 1 events are not written"):
        folder.check()
