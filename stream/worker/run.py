"""Run one worker from its configuration."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiokafka.errors import KafkaError

from neuroloop.config.errors import BrokerError, ConfigError, NeuroloopError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.tree import Config
from neuroloop.config.worker import WorkerSettings
from neuroloop.models.bundle import Bundle
from neuroloop.sinks.metrics.server import Health, check_port, serve
from neuroloop.sinks.metrics.worker import WorkerCollector
from neuroloop.stream.assembly.bundles import load_classifier
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.shared_memory import LATENCY_BOUNDS_S
from neuroloop.stream.live.warm_up import warm_up
from neuroloop.stream.sources.simulator import Simulator
from neuroloop.stream.wire.brokers import why_away
from neuroloop.stream.wire.client_arguments import client_arguments
from neuroloop.stream.wire.topic_admin import ensure_topics
from neuroloop.stream.worker.changelog import prepare_topics
from neuroloop.stream.worker.control import Place, agree, skip
from neuroloop.stream.worker.counts import WorkerCounts
from neuroloop.stream.worker.errors import words
from neuroloop.stream.worker.faust_app import FaustApp, quiet_libraries
from neuroloop.stream.worker.pipeline_hash import pipeline_hash
from neuroloop.stream.worker.rights import check_rights
from neuroloop.stream.worker.runtime import WorkerRuntime

T = TypeVar("T")
_log = logging.getLogger("neuroloop.worker")


def group_of(config: Config) -> str:
    """Return the group that a configuration's workers form."""
    if config.kafka is None:
        raise ConfigError("kafka.bootstrap must be given for a worker, got nothing")
    settings = config.worker or WorkerSettings()
    return settings.group or f"{config.kafka.prefix}.{config.name}"


def warm_up_for(config: Config, bundle: Bundle | None) -> None:
    """Load the kernels before the first frame comes, with a stream such as will probably come."""
    if bundle is not None:
        expected = bundle.settings.input
        names, units, sfreq = expected.ch_names, expected.ch_units, expected.sfreq
    else:
        simulated = Simulator(config.source.simulator).info
        names, units, sfreq = simulated.ch_names, simulated.ch_units, simulated.sfreq
    info = StreamInfo("warm-up", "EEG", "", sfreq, tuple(names), ("EEG",) * len(names), tuple(units))
    level = logging.getLogger("neuroloop.timing").level
    logging.getLogger("neuroloop.timing").setLevel(logging.ERROR)
    try:
        warm_up(config, info, bundle)
    except NeuroloopError:
        _log.info("kernels are loaded with the first frames: no stream is known that this pipeline suits")
    finally:
        logging.getLogger("neuroloop.timing").setLevel(level)


def serve_metrics(config: Config, member: FaustApp) -> None:
    """Offer the worker's metrics where the configuration says so.

    Raises
    ------
    MetricsError
        If the port is taken.
    """

    def runtime_of(ask: Callable[[WorkerRuntime], T], otherwise: T) -> T:
        return otherwise if member.runtime is None else ask(member.runtime)

    def health() -> Health:
        is_working = member.runtime is not None and not member.has_failed
        lag = sum(member.lag().values())
        return Health(is_working, {"streams": runtime_of(lambda one: one.n_streams, 0), "lag_frames": lag})

    def readiness() -> Health:
        health_now = health()
        return Health(health_now.is_good and member.is_ready, {**health_now.facts, "assigned": member.is_ready})

    collector = WorkerCollector(
        member.counts,
        pipeline=config.name,
        bounds=LATENCY_BOUNDS_S,
        n_streams=lambda: runtime_of(lambda one: one.n_streams, 0),
        lag=member.lag,
        drift_score=lambda: runtime_of(lambda one: one.drift_score, None),
    )
    port = serve(collector, config.metrics, healthy=health, ready=readiness)
    if port is not None:
        _log.info("metrics on http://%s:%d/metrics", config.metrics.host, port)


def skip_message(config: Config, place: Place, reason: str) -> str:
    """Have the group of a configuration pass one message by; return a line that says so.

    Raises
    ------
    NeuroloopError
        If there is no such message before the group, or the brokers refuse.
    """
    group = group_of(config)
    kafka, settings = config.kafka, config.worker or WorkerSettings()
    if kafka is None:
        raise ConfigError("kafka.bootstrap must be given for a worker, got nothing")
    if not reason.strip():
        raise ConfigError(f"reason must say why the message is passed by, got {reason!r}")
    check_rights(kafka, settings, group)
    prepare_topics(kafka, group, settings.snapshot_kb * 1000)
    return _ask(kafka, skip(kafka, group, place, reason))


def _ask(kafka: KafkaSettings, asking: Coroutine[Any, Any, T]) -> T:
    """Run what asks the brokers for something before the work begins, or in its place."""
    quiet_libraries(WorkerCounts())
    try:
        return asyncio.run(asking)
    except KafkaError as error:
        away = why_away(client_arguments(kafka))
        raise BrokerError(away or f"brokers must do as asked, got {words(error)}") from error


def run_worker(config: Config) -> None:
    """Work until told to end.

    Parameters
    ----------
    config : Config

    Raises
    ------
    NeuroloopError
        If the configuration cannot be for a worker, the brokers refuse or the worker cannot go on.
    """
    group = group_of(config)
    kafka, settings = config.kafka, config.worker or WorkerSettings()
    if kafka is None:
        raise ConfigError("kafka.bootstrap must be given for a worker, got nothing")
    if config.source.staleness != "process_all":
        raise ConfigError(f"source.staleness must be 'process_all' for a worker, got {config.source.staleness!r}")
    bundle = load_classifier(config)
    check_port(config.metrics)
    check_rights(kafka, settings, group)
    ensure_topics(kafka)
    if settings.output_prefix is not None:
        ensure_topics(kafka.model_copy(update={"prefix": settings.output_prefix}))
    prepared = prepare_topics(kafka, group, settings.snapshot_kb * 1000)
    _ask(kafka, agree(kafka, group, pipeline_hash(config, bundle)))
    warm_up_for(config, bundle)
    counts = WorkerCounts()
    member = FaustApp(config, settings, group, bundle, prepared, counts)
    serve_metrics(config, member)
    gc.collect()
    gc.freeze()
    try:
        asyncio.run(member.run())
    except KafkaError as error:
        away = why_away(client_arguments(kafka))
        raise BrokerError(away or f"brokers must do as asked, got {words(error)}") from error
    except NeuroloopError as error:
        if member.is_stuck:
            sys.stderr.write("".join(f"neuroloop worker: {line}\n" for line in str(error).splitlines()))
            sys.stderr.flush()
            os._exit(1)  # as below
        raise
    _log.info("ended; %d frames, %d events", counts.frames, sum(counts.events.values()))
    if member.is_stuck:
        logging.shutdown()
        os._exit(0)  # the interpreter would wait for the library's threads for ever
