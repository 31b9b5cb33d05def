"""Make the topics that are missing, check those that exist."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from kafka.errors import KafkaError, TopicAlreadyExistsError

from neuroloop.config.errors import BrokerError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.wire.brokers import connect, explain
from neuroloop.stream.wire.client_arguments import client_arguments
from neuroloop.stream.wire.topics import COMPACTED, TOPIC_KINDS, TopicKind, Topics

_log = logging.getLogger("neuroloop.kafka")
_WAIT_MS = 10_000


@contextmanager
def topic_admin(settings: KafkaSettings) -> Iterator[Any]:
    """Connect a client that may ask for topics and make them.

    Raises
    ------
    BrokerError
        If the brokers cannot be reached or refuse; with the cause in one line.
    """
    arguments = client_arguments(settings)
    admin = connect(
        lambda left_s: KafkaAdminClient(**arguments, bootstrap_timeout_ms=left_s * 1e3), arguments, settings.connect_s
    )
    try:
        yield admin
    except KafkaError as error:
        raise BrokerError(explain(error, arguments)) from error
    finally:
        admin.close()


def make_topics(admin: Any, options: Mapping[str, Mapping[str, Any]]) -> None:
    """Make topics and wait until they are there; another process may be first.

    Parameters
    ----------
    admin
        As `topic_admin` yields it.
    options : mapping
        Partitions, replication and configuration of each.
    """
    for name, wanted in options.items():
        with suppress(TopicAlreadyExistsError):
            admin.create_topics({name: dict(wanted)}, timeout_ms=_WAIT_MS)
    if options:
        admin.wait_for_topics(list(options), timeout_ms=_WAIT_MS)


def ensure_topics(settings: KafkaSettings, kinds: Iterable[TopicKind] = TOPIC_KINDS) -> list[str]:
    """Make the topics that are missing and check the others, which are never changed.

    Parameters
    ----------
    settings : KafkaSettings
    kinds : iterable of str
        Which topics.

    Returns
    -------
    list of str
        Names of those that were made.

    Raises
    ------
    BrokerError
        If the brokers cannot be reached or refuse, a topic is missing and may not be made, or the descriptions of
        streams would not be kept.
    """
    with topic_admin(settings) as admin:
        return _ensure(admin, settings, list(kinds))


def ensure_topic_named(settings: KafkaSettings, name: str) -> list[str]:
    """Make or check a topic that is ours by its name, of another prefix too; any other is left alone.

    Parameters
    ----------
    settings : KafkaSettings
    name : str

    Returns
    -------
    list of str
        Its name, if it was made.

    Raises
    ------
    BrokerError
        As `ensure_topics` raises it.
    """
    prefix, _, last = name.rpartition(".")
    kinds = [kind for kind in TOPIC_KINDS if kind == last and prefix]
    return ensure_topics(settings.model_copy(update={"prefix": prefix}), kinds) if kinds else []


def _ensure(admin: Any, settings: KafkaSettings, kinds: list[TopicKind]) -> list[str]:
    topics = Topics(settings.prefix)
    existing = set(admin.list_topics())
    missing = {topics.name(kind): kind for kind in kinds if topics.name(kind) not in existing}
    if missing and not settings.topics.create:
        shown = ", ".join(sorted(missing))
        raise BrokerError(f"kafka.topics.create must be true, or these topics made beforehand: {shown}")
    make_topics(admin, {name: _options(settings, kind) for name, kind in missing.items()})
    _check(admin, settings, topics, [kind for kind in kinds if topics.name(kind) in existing])
    return sorted(missing)


def _options(settings: KafkaSettings, kind: TopicKind) -> dict[str, Any]:
    configs = {"max.message.bytes": str(settings.max_message_bytes + 16 * 1024)}
    if kind in COMPACTED:
        configs["cleanup.policy"] = "compact"
    else:
        configs["cleanup.policy"] = "delete"
        configs["retention.ms"] = str(round(settings.topics.retention_h * 3_600_000))
    return {
        "num_partitions": 1 if kind in COMPACTED else settings.topics.partitions,
        "replication_factor": settings.topics.replication,
        "configs": configs,
    }


def _check(admin: Any, settings: KafkaSettings, topics: Topics, kinds: list[TopicKind]) -> None:
    """Refuse what would lose something; say what is merely other than the settings."""
    for kind in kinds:
        name = topics.name(kind)
        configs = _configs(admin, name)
        policy = configs.get("cleanup.policy")
        if kind in COMPACTED and policy is not None and "compact" not in policy:
            rule = f"topic {name} must have cleanup.policy compact, or stream descriptions are lost with time"
            raise BrokerError(f"{rule}, got {policy!r}")
        largest = configs.get("max.message.bytes")
        if largest is not None and largest.isdigit() and int(largest) < settings.max_message_bytes:
            rule = f"kafka.max_message_bytes must be at most what topic {name} takes ({largest})"
            raise BrokerError(f"{rule}, got {settings.max_message_bytes}")
        retention = configs.get("retention.ms")
        wanted = round(settings.topics.retention_h * 3_600_000)
        if kind not in COMPACTED and retention is not None and retention != str(wanted):
            _log.info("kafka: topic %s keeps messages for %s ms, not the %d of the settings", name, retention, wanted)


def _configs(admin: Any, name: str) -> Mapping[str, str]:
    """Return what a topic is set to; nothing where the broker does not say."""
    try:
        found = admin.describe_configs([ConfigResource("TOPIC", name)], config_filter="all")
    except KafkaError:
        return {}
    entries = found.get("topic", {}).get(name, {})
    return {key: str(entry["value"]) for key, entry in entries.items() if entry.get("value") is not None}
