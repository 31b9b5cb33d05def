"""``neuroloop worker``: one of a group that shares the streams of a Kafka cluster.

It works until SIGTERM or Ctrl-C, keeps the state of its streams and leaves the group. Whatever ends it, another worker
goes on where it was, and the events are those of an uninterrupted replay.
"""

from __future__ import annotations

import argparse
import signal
from types import FrameType
from typing import NoReturn

from neuroloop.config.loading import load_config
from neuroloop.stream.cli.shared_options import live_config
from neuroloop.stream.live.process_logs import set_up_logs


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Leave before anything was begun."""
    raise SystemExit(0)


def run_worker_command(options: argparse.Namespace) -> int:
    """Work until told to end."""
    signal.signal(signal.SIGTERM, _end_at_once)  # until the worker has a state to keep
    from neuroloop.stream.worker.run import run_worker  # Faust takes half a second to import

    config = live_config(load_config(options.config, options.set), options.metrics_port, log=options.log)
    set_up_logs(config.process.log)
    run_worker(config)
    return 0
