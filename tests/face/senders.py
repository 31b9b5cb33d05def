"""Senders of live streams for the tests of the face, in threads of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pylsl

from neuroloop.stream.contracts.chunks import FloatArray
from tests.integration import lsl


@dataclass
class Sender:
    """A running sender."""

    name: str
    thread: threading.Thread
    stopped: threading.Event

    def switch_off(self) -> None:
        """Take it off the network."""
        self.stopped.set()
        self.thread.join()


@contextmanager
def sending(name: str, signal: FloatArray, *, sfreq: float = 250.0, labels: tuple[str, ...]) -> Iterator[Sender]:
    """Send a signal again and again, in real time."""
    stopped = threading.Event()

    def send() -> None:
        outlet = lsl.make_outlet(name, n_channels=len(labels), sfreq=sfreq, labels=labels)
        begin, n_sent = time.perf_counter(), 0
        while not stopped.wait(0.02):
            n_due = int((time.perf_counter() - begin) * sfreq)
            if n_due > n_sent:
                rows = np.take(signal, range(n_sent, n_due), axis=0, mode="wrap")
                outlet.push_chunk(rows, pylsl.local_clock())
                n_sent = n_due

    sender = Sender(name, threading.Thread(target=send), stopped)
    sender.thread.start()
    try:
        yield sender
    finally:
        sender.switch_off()
