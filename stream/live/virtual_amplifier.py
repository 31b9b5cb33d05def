"""A virtual amplifier: simulator or recording, sent over LSL by a process of its own."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from neuroloop.config.errors import NeuroloopError
from neuroloop.config.source import SourceSettings, TimingSettings
from neuroloop.config.tree import Config
from neuroloop.stream.live.child_process import Child, RunFailed, begin, starting, tell
from neuroloop.stream.live.live_source import is_live
from neuroloop.stream.live.placement import ensure_open_files, plan_placement
from neuroloop.stream.playback.feed import Feed, RecordingFeed, SimulatorFeed
from neuroloop.stream.playback.player import Player
from neuroloop.stream.sources.recordings.opening import open_recording
from neuroloop.stream.sources.recordings.recording import select_stream
from neuroloop.stream.sources.simulator import Simulator

_GONE_S = 1.0
"""An amplifier that died does not come back."""


class VirtualAmplifier:
    """Give a configuration whose source is live, whatever kind it asked for.

    A source of kind ``lsl`` or ``kafka``, or of somebody's own, is left alone. For ``simulator`` and ``recording`` a
    process is started that waits for its first consumer and then sends in real time, stamped with this machine's clock.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._child: Child | None = None
        if is_live(config.source):
            return
        ensure_open_files()
        name = f"neuroloop-{config.source.kind}-{os.getpid()}"
        cores = plan_placement(config.process).others
        self._child = Child(_amplify, (config.source, name, cores), "amplifier", is_daemon=True)
        try:
            markers = self._child.wait_until_ready()["markers"]
        except RunFailed as error:
            self.close()
            raise NeuroloopError(f"the amplifier must start, got: {error}") from None
        old = config.source
        source = SourceSettings(
            kind="lsl",
            name=name,
            reconnect_s=_GONE_S,
            units=old.units,
            staleness=old.staleness,
            max_backlog_s=old.max_backlog_s,
            **old.model_dump(include=set(TimingSettings.model_fields)),
        )
        update: dict[str, object] = {"source": source}
        if config.markers.names is None:  # not those of others on the network
            update["markers"] = config.markers.model_copy(
                update={"names": markers, "enabled": config.markers.enabled and bool(markers)}
            )
        self.config = config.model_copy(update=update)

    def close(self) -> None:
        """Switch it off; may be called twice."""
        if self._child is not None:
            self._child.end(0.0)

    def __enter__(self) -> VirtualAmplifier:
        """Return the running amplifier."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_feed(settings: SourceSettings) -> Feed:
    if settings.kind == "simulator":
        return SimulatorFeed(Simulator(settings.simulator))
    recording = open_recording(Path(str(settings.path)), sfreq=settings.csv_sfreq)
    stream = select_stream(recording, settings.select)
    return RecordingFeed(stream, recording.markers_for(stream))


def _amplify(settings: SourceSettings, name: str, cores: frozenset[int], ready: Connection) -> None:
    """Be the amplifier."""
    begin(log=None, on_sigterm=signal.SIG_DFL, cores=cores)
    with starting(ready, ValueError):
        player = Player(_open_feed(settings), name=name, stamps="clock")
    signal.signal(signal.SIGTERM, lambda *_: player.stop())
    tell(ready, "ready", {"markers": player.marker_names})
    if player.wait_for_consumer():
        player.run()
    player.close()
