"""A source: rows of float32 that come as datagrams."""

import socket
import time

import numpy as np

from neuroloop.config.source import OwnSourceSettings
from neuroloop.stream.contracts.chunks import StreamInfo


class Udp:
    class Settings(OwnSourceSettings):
        port: int
        n_channels: int = 4
        rate_hz: float = 250.0

    clock = "perf_counter"

    def __init__(self, settings):
        self._rate, names = settings.rate_hz, tuple(f"ch{i}" for i in range(settings.n_channels))
        self.info = StreamInfo("udp", "EEG", "", settings.rate_hz, names, ch_units=("uV",) * len(names))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", settings.port))

    def read(self, timeout_s):
        self._socket.settimeout(timeout_s)
        try:
            rows = np.frombuffer(self._socket.recv(65536), "<f4").reshape(-1, self.info.n_channels)
        except TimeoutError:
            return None
        return rows, time.perf_counter() + (np.arange(len(rows)) + 1 - len(rows)) / self._rate

    def close(self):
        self._socket.close()
