"""``broker``, ``bridge`` and ``worker``: what has to do with Kafka."""

from __future__ import annotations

import argparse
from pathlib import Path

from neuroloop.stream.cli.arguments.shared import (
    Commands,
    add_code_option,
    add_log_option,
    add_metrics_option,
    add_set_option,
)

_BROKER = """The embedded Kafka broker, for one machine and nothing that must survive.

It prints its address, serves on loopback until Ctrl-C or SIGTERM, and keeps all messages in memory.
"""
_BRIDGE = """Carry a stream and its markers from LSL to Kafka, or back.

neuroloop bridge to-kafka --name MyAmp --bootstrap 127.0.0.1:9092
neuroloop bridge to-lsl MyAmp --bootstrap 127.0.0.1:9092
"""
_WORKER = """One of a group that shares the streams of a Kafka cluster.

It works until SIGTERM or Ctrl-C, keeps the state of its streams and leaves the group. Whatever ends it, another worker
goes on where it was, and the events are those of an uninterrupted replay.
"""


def add_broker(commands: Commands) -> None:
    """Add ``broker``."""
    parser = commands.add_parser("broker", help="an embedded Kafka broker for one machine", description=_BROKER)
    parser.add_argument("--port", type=int, default=0, metavar="P", help="port on loopback (default: a free one)")
    parser.set_defaults(run=_broker)


def _broker(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.kafka import run_broker

    return run_broker(options)


def add_bridge(commands: Commands) -> None:
    """Add ``bridge to-kafka`` and ``bridge to-lsl``."""
    parser = commands.add_parser(
        "bridge", help="carry a stream from LSL to Kafka, or back", description=_BRIDGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True, parser_class=type(parser))
    up = ways.add_parser("to-kafka", help="an LSL stream and its markers to Kafka")
    up.add_argument("--name", metavar="N", help="name of the LSL stream")
    up.add_argument("--type", metavar="T", help="type of the LSL stream")
    up.add_argument("--source-id", metavar="ID", help="source_id of the LSL stream")
    up.add_argument("--stream-id", metavar="ID", help="id on Kafka (default: the source_id, or the name)")
    up.add_argument("--counter-channel", metavar="C", help="channel that counts the samples")
    up.add_argument("--units", metavar="U", help="unit of channels that say none")
    up.add_argument("--markers", action="append", metavar="N", help="marker stream by name (default: all there are)")
    up.add_argument("--no-markers", action="store_true", help="carry no markers")
    up.add_argument("--keep-open", action="store_true", help="do not say that the stream is over when stopped")
    down = ways.add_parser("to-lsl", help="a stream of Kafka and its markers to LSL, as a relay")
    down.add_argument("stream", metavar="STREAM_ID", nargs="?", help="id on Kafka (default: the only one there is)")
    down.add_argument("--name", metavar="N", help="name on the network (default: the stream's own with '-relay')")
    down.add_argument("--start", default="latest", metavar="S", help="latest, earliest, offset:N or sample:N")
    down.add_argument("--wait", action="store_true", help="wait for the first consumer")
    for way in (up, down):
        _add_ends(way)
    up.set_defaults(run=_bridge_to_kafka)
    down.set_defaults(run=_bridge_to_lsl)


def _add_ends(parser: argparse.ArgumentParser) -> None:
    """Add what both ways have: the broker, how long to wait for either end, the books."""
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a broker")
    parser.add_argument("--prefix", metavar="P", help="prefix of the topics (default: neuroloop)")
    parser.add_argument("--config", metavar="CONFIG", help="take the section 'kafka' of this file")
    add_set_option(parser, "a setting of section 'kafka'")
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds")
    parser.add_argument("--resolve", type=float, default=30.0, metavar="S", help="how long to look for the stream")
    parser.add_argument("--reconnect", type=float, default=600.0, metavar="S", help="how long to wait for a lost one")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the books as JSON")
    add_log_option(parser)


def _bridge_to_kafka(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.kafka import run_to_kafka

    return run_to_kafka(options)


def _bridge_to_lsl(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.kafka import run_to_lsl

    return run_to_lsl(options)


def add_worker(commands: Commands) -> None:
    """Add ``worker``."""
    parser = commands.add_parser("worker", help="process streams of a Kafka cluster", description=_WORKER)
    parser.add_argument("config", metavar="CONFIG", help="preset or YAML file with a section 'kafka'")
    add_set_option(parser)
    parser.add_argument(
        "--skip", metavar="TOPIC:PARTITION:OFFSET",
        help="do not work: have the group pass one message by that ends its workers, with a copy on the dead letters",
    )  # fmt: skip
    parser.add_argument("--reason", metavar="WHY", help="why, for --skip; kept with the message and your name")
    add_metrics_option(parser, "0: any free port")
    add_log_option(parser)
    add_code_option(parser)
    parser.set_defaults(run=_worker)


def _worker(options: argparse.Namespace) -> int:
    from neuroloop.stream.cli.kafka import run_worker_command

    return run_worker_command(options)
