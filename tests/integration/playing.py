"""Players in threads of this process, for tests of what listens: the same as ``neuroloop play`` without its start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuroloop.config.loading import load_config
from neuroloop.stream.playback.feed import Feed, RecordingFeed, SimulatorFeed
from neuroloop.stream.playback.player import Player, PlayReport
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import select_stream
from neuroloop.stream.sources.simulator import Simulator
from tests.integration.live import PATIENCE_S


class Playing:
    """One player, which sends from its first consumer on.

    Parameters
    ----------
    feed : Feed
    options
        As `neuroloop.stream.playback.player.Player` takes them.
    """

    def __init__(self, feed: Feed, **options: Any) -> None:
        self._player = Player(feed, **{"linger_s": PATIENCE_S, **options})
        self._reports: list[PlayReport] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._player.wait_for_consumer():
            self._reports.append(self._player.run())
            self._player.close()

    def ends_well(self) -> None:
        """Wait until everything is sent and the last consumer has gone."""
        self._thread.join(PATIENCE_S)
        (report,) = self._reports
        assert report.is_complete

    def close(self) -> None:
        """Leave nothing behind; may be called twice."""
        self._player.stop()
        self._thread.join(PATIENCE_S)
        self._player.close()


Play = Callable[..., Playing]


def simulated(seconds: float | None, **settings: object) -> SimulatorFeed:
    """Return what ``neuroloop play simulator`` sends with these settings, so long or without an end."""
    if seconds is not None:
        settings["duration_s"] = seconds
    overrides = [f"source.simulator.{key}={value}" for key, value in settings.items()]
    return SimulatorFeed(Simulator(load_config("demo", overrides).source.simulator))


def recorded(path: Path) -> RecordingFeed:
    """Return what ``neuroloop play PATH`` sends."""
    recording = open_recording(path)
    stream = select_stream(recording)
    return RecordingFeed(stream, recording.markers_for(stream))


@contextmanager
def playing() -> Iterator[Play]:
    """Hand out a function that starts players; end them all."""
    players: list[Playing] = []

    def play(feed: Feed, **options: Any) -> Playing:
        players.append(Playing(feed, **options))
        return players[-1]

    try:
        yield play
    finally:
        for player in players:
            player.close()
