"""``neuroloop broker``: the embedded Kafka broker, for one machine and nothing that must survive.

It prints its address, serves on loopback until Ctrl-C or SIGTERM, and keeps all messages in memory.
"""

from __future__ import annotations

import argparse
import signal
import threading

from neuroloop.config.errors import BrokerError, ConfigError
from neuroloop.stream.tools.dev_broker import EmbeddedBroker

_LOOK_S = 0.2


def run_broker(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"port must be in [0, 65535], got {options.port!r}")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with EmbeddedBroker(options.port) as broker:
        print(broker.bootstrap, flush=True)
        while not stopped.is_set():
            code = broker.wait(_LOOK_S)
            if code is not None and not stopped.is_set():
                raise BrokerError(f"broker must stay alive, got its death with exit code {code}")
    return 0
