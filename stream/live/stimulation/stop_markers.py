"""A label on any marker stream of the network that stops stimulation; received by the stimulator process itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pylsl
from pylsl.util import LostError
from pylsl.util import TimeoutError as LslTimeout

from neuroloop.stream.sources.lsl.network import FoundStream, Network

_LOOK_EVERY_S = 0.25
_SLICE_S = 0.2
_ANSWER_S = 2.0
_log = logging.getLogger("neuroloop.stimulator")


class StopMarkers:
    """Listen to every marker stream that there is; monitoring outlets are left out.

    A thread looks for streams, one more per stream waits in liblsl, outside the interpreter lock, for its next marker.

    Parameters
    ----------
    label : str
        What stops: the whole marker, or one of its channels.
    on_stop : callable
        Called from a thread with the name of the stream, or with why no marker can stop any more; must not wait.
    """

    def __init__(self, label: str, on_stop: Callable[[str], None]) -> None:
        self._label = label
        self._on_stop = on_stop
        self._stopped = threading.Event()
        self._heard: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._look, name="neuroloop-stop-markers", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def _look(self) -> None:
        """Be the thread that looks for streams."""
        try:
            network = Network(forget_after_s=2.0)
            while not self._stopped.wait(_LOOK_EVERY_S):
                self._heard = {uid: thread for uid, thread in self._heard.items() if thread.is_alive()}
                for found in network.streams():
                    if found.uid not in self._heard and found.is_markers and not found.is_monitoring:
                        thread = threading.Thread(target=self._listen, args=(found,), daemon=True)
                        self._heard[found.uid] = thread
                        thread.start()
        except Exception:  # noqa: BLE001 (the top of a thread; without this channel nothing may go on)
            _log.exception("the search for marker streams has failed")
            self._on_stop("no marker stream: the search for them has failed")

    def _listen(self, found: FoundStream) -> None:
        """Be the thread of one stream; it ends with it and is started anew where the stream still answers."""
        try:
            inlet: Any = pylsl.StreamInlet(found.handle, max_buflen=36, recover=False)
            inlet.open_stream(timeout=_ANSWER_S)
            while not self._stopped.is_set():
                values, stamp = inlet.pull_sample(timeout=_SLICE_S)
                if stamp is not None and self._is_stop(values):
                    self._on_stop(found.name)
        except (LostError, LslTimeout):
            self._stopped.wait(_LOOK_EVERY_S)
        except Exception:  # noqa: BLE001 (the top of a thread; the stream is listened to again at the next look)
            _log.exception("listening to marker stream %s has failed", found)
            self._stopped.wait(_LOOK_EVERY_S)

    def _is_stop(self, values: list[Any]) -> bool:
        texts = [str(value) for value in values]
        return self._label in texts or self._label == " ".join(texts)

    def close(self) -> None:
        """End all threads within a slice; may be called twice."""
        self._stopped.set()
