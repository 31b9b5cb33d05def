"""``neuroloop broker``, ``bridge`` and ``worker``: what has to do with Kafka.

Each imports what it runs when it runs: Faust takes half a second, and a broker or a worker needs no liblsl.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from neuroloop.config.errors import BrokerError, ConfigError, NeuroloopError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.live import MarkerSettings
from neuroloop.config.loading import load_config
from neuroloop.stream.cli.shared_options import live_config
from neuroloop.stream.live.process_logs import set_up_logs

if TYPE_CHECKING:
    from neuroloop.stream.bridge.accounting import BridgeAccount
    from neuroloop.stream.bridge.to_kafka import ToKafka
    from neuroloop.stream.bridge.to_lsl import ToLsl

_LOOK_S = 0.2
_log = logging.getLogger("neuroloop.bridge")


def run_broker(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from neuroloop.stream.tools.dev_broker import EmbeddedBroker

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


def run_to_kafka(options: argparse.Namespace) -> int:
    """Carry until the sender ends, the time is up, or Ctrl-C."""
    from neuroloop.stream.bridge.to_kafka import BridgeOptions, ToKafka
    from neuroloop.stream.sources.lsl.network import StreamQuery

    settings = _begin_bridge(options)
    if options.stream_id is not None:
        settings = settings.model_copy(update={"stream_id": options.stream_id})
    if options.no_markers and options.markers:
        raise ConfigError("--markers must be left out with --no-markers, got both")
    bridge = ToKafka(
        settings,
        BridgeOptions(
            query=StreamQuery(options.name, options.type, options.source_id),
            resolve_s=options.resolve,
            reconnect_s=options.reconnect,
            seconds=options.seconds,
            counter_channel=options.counter_channel,
            units=options.units,
            markers=MarkerSettings(enabled=not options.no_markers, names=options.markers),
            ends_stream=not options.keep_open,
        ),
    )
    return _run_bridge(bridge, options)


def run_to_lsl(options: argparse.Namespace) -> int:
    """Relay until the stream is over, the time is up, or Ctrl-C."""
    from neuroloop.stream.bridge.to_lsl import RelayOptions, ToLsl

    settings = _begin_bridge(options)
    relay = ToLsl(
        settings,
        RelayOptions(
            stream=options.stream,
            name=options.name,
            start=options.start,
            resolve_s=options.resolve,
            reconnect_s=options.reconnect,
            seconds=options.seconds,
            waits=options.wait,
        ),
    )
    return _run_bridge(relay, options)


def _begin_bridge(options: argparse.Namespace) -> KafkaSettings:
    """Check what is common, return the settings of Kafka."""
    from neuroloop.stream.sources.lsl.library import quiet_library

    set_up_logs(options.log or "human")
    quiet_library()
    for name in ("seconds", "resolve", "reconnect"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{name} must be a number above 0, got {value!r}")
    overrides = [f"kafka.{pair}" for pair in options.set]
    for name in ("bootstrap", "prefix"):
        if getattr(options, name) is not None:
            overrides.append(f"kafka.{name}={getattr(options, name)}")
    if options.config is None and options.bootstrap is None:
        raise ConfigError("bootstrap must be given (--bootstrap HOST:PORT, or --config CONFIG), got nothing")
    kafka = load_config(options.config or "demo", overrides).kafka
    if kafka is None:
        raise ConfigError(f"config must have a section 'kafka', got none in {options.config!r}")
    return kafka


def _run_bridge(bridge: ToKafka | ToLsl, options: argparse.Namespace) -> int:
    """Run to the end; whatever it is, the books are said and written."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: bridge.stop())
    try:
        bridge.run()
    finally:
        bridge.close()
        _report_books(bridge.books, options.summary)
    if not bridge.books.is_balanced:
        raise NeuroloopError(f"books must balance, got {bridge.books.line()}")
    if bridge.books.failure:
        raise BrokerError(bridge.books.failure)
    return 0


def _report_books(books: BridgeAccount, summary: Path | None) -> None:
    print(books.line(), flush=True)
    if books.waiting_line:
        _log.warning("%s", books.waiting_line)
    if summary is not None:
        books.write(summary)


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Leave before anything was begun."""
    raise SystemExit(0)


def run_worker_command(options: argparse.Namespace) -> int:
    """Work until told to end, or have the group pass one message by."""
    signal.signal(signal.SIGTERM, _end_at_once)  # until the worker has a state to keep
    from neuroloop.stream.worker.control import place_from
    from neuroloop.stream.worker.run import run_worker, skip_message

    if (options.skip is None) != (options.reason is None):
        raise ConfigError("--skip and --reason must be given together, got one of them")
    config = live_config(load_config(options.config, options.set), options.metrics_port, log=options.log)
    set_up_logs(config.process.log)
    if options.skip is not None:
        print(skip_message(config, place_from(options.skip), options.reason))
        return 0
    run_worker(config)
    return 0
