"""What the brokers must let a worker do, asked before it joins: without it the client would wait and say nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka.admin import MemberToRemove
from kafka.errors import GroupAuthorizationFailedError, KafkaError

from neuroloop.config.errors import BrokerError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.worker import WorkerSettings
from neuroloop.stream.wire.topic_admin import topic_admin
from neuroloop.stream.wire.topics import Topics
from neuroloop.stream.worker.changelog import changelog_topic
from neuroloop.stream.worker.control import control_topic

_COORDINATOR_S = 20.0
_LOOK_S = 0.2
_NOBODY = "neuroloop-asks-for-its-rights"
_DENIED = 29
"""Kafka's number for a topic that this user may not see; one that is missing looks the same to him."""


def needed_rights(settings: KafkaSettings, worker: WorkerSettings, group: str) -> dict[str, Sequence[str]]:
    """Return what a worker does with each topic."""
    into, out = Topics(settings.prefix), Topics(worker.output_prefix or settings.prefix)
    return {
        into.samples: ("READ",),
        into.streams: ("READ",),
        into.markers: ("READ",),
        out.predictions: ("WRITE",),
        out.states: ("WRITE",),
        out.alerts: ("WRITE",),
        out.dead: ("WRITE",),
        changelog_topic(group): ("READ", "WRITE"),
        control_topic(group): ("READ", "WRITE"),
    }


def check_rights(settings: KafkaSettings, worker: WorkerSettings, group: str) -> None:
    """Find out before the start what the brokers would refuse.

    Brokers without an authorizer allow everything; those that do not say what they allow are believed to.

    Parameters
    ----------
    settings : KafkaSettings
    worker : WorkerSettings
    group : str

    Raises
    ------
    BrokerError
        If something is not allowed: all of it in one line.
    """
    needed = needed_rights(settings, worker, group)
    with topic_admin(settings) as admin:
        missing = [
            f"{right} of topic {one['name']}"
            for one in sorted(admin.describe_topics(list(needed)), key=lambda one: str(one["name"]))
            for right in _missing(one, needed[one["name"]])
        ]
        if not _may_join(admin, group):
            missing.append(f"READ of group {group}")
    if missing:
        rule = f"given to this user on {','.join(settings.servers)}"
        raise BrokerError(f"rights must be {rule}, got no {', no '.join(missing)}")


def _missing(topic: Mapping[str, Any], rights: Sequence[str]) -> Sequence[str]:
    if topic["error_code"] == _DENIED:
        return rights
    allowed = topic["authorized_operations"]
    if not allowed or topic["error_code"]:
        return ()
    return [right for right in rights if right not in allowed and "ALL" not in allowed]


def _may_join(admin: Any, group: str) -> bool:
    """Ask for a member to leave that is none: whoever may not read the group is refused before it is looked for."""
    end = time.monotonic() + _COORDINATOR_S
    while True:
        try:
            answers = admin.remove_group_members(group, [MemberToRemove(member_id=_NOBODY)])
            return GroupAuthorizationFailedError not in answers.values()
        except GroupAuthorizationFailedError:
            return False
        except KafkaError as error:
            if not getattr(error, "retriable", False) or time.monotonic() > end:
                return True  # a broker that does not know the question: the time limit of joining is left
            time.sleep(_LOOK_S)  # the first group of a cluster: the brokers are about to make the topic of offsets
