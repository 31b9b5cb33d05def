"""Connecting to Kafka brokers, and saying in one line why it failed.

``kafka-python`` reports refused credentials, a wrong certificate and an absent broker alike, as a time-out. The broker
is therefore asked again, step by step (`neuroloop.stream.wire.broker_probe`). The log of the client, many lines a
second while a broker is away, is kept off the terminal unless somebody has given the logger ``kafka`` a handler.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConfigurationError,
    KafkaError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
    UnsupportedSaslMechanismError,
)

from neuroloop.config.errors import BrokerError
from neuroloop.stream.wire.broker_probe import Probed, probe

T = TypeVar("T")
_ATTEMPT_S = 3.0
_PROBE_S = 3.0
_FINAL = frozenset({"security", "tls", "mechanism", "credentials"})
"""What waiting does not mend."""
_UNUSABLE = (KafkaConfigurationError, UnicodeError)
"""What the client says of the settings themselves."""
_UNAUTHORISED = {
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "consumer group",
    ClusterAuthorizationFailedError: "cluster",
}


def quiet_client() -> None:
    """Keep the client's log off the terminal unless it has a handler of its own, and at ``INFO`` or above.

    Below that it holds the bytes that are sent, passwords among them.
    """
    client_log = logging.getLogger("kafka")
    if client_log.level < logging.INFO:
        client_log.setLevel(logging.INFO)
    if all(isinstance(one, logging.NullHandler) for one in client_log.handlers):  # the client itself puts one there
        client_log.addHandler(logging.NullHandler())
        client_log.propagate = False


def connect(make: Callable[[float], T], arguments: Mapping[str, Any], connect_s: float) -> T:
    """Make a client; what cannot get better by waiting is said at once.

    Parameters
    ----------
    make : callable
        Makes the client; takes how long it may try, in seconds.
    arguments : mapping
        What the client is made with.
    connect_s : float
        How long to try in seconds.

    Raises
    ------
    BrokerError
        With the cause in one line.
    """
    quiet_client()
    end = time.monotonic() + connect_s
    while True:
        try:
            return make(min(_ATTEMPT_S, max(0.5, end - time.monotonic())))
        except _UNUSABLE as error:
            raise BrokerError(explain(error, arguments)) from error
        except (KafkaError, OSError) as error:
            probed = probe(arguments, _PROBE_S)
            if probed.step in _FINAL or time.monotonic() >= end:
                raise BrokerError(_sentence(probed, arguments, str(error))) from error


def why_away(arguments: Mapping[str, Any]) -> str | None:
    """Ask the brokers why nothing comes through; None if they let the client in."""
    probed = probe(arguments, _PROBE_S)
    return None if probed.step == "let in" else _sentence(probed, arguments, "")


def explain(error: Exception, arguments: Mapping[str, Any]) -> str:
    """Return in one line what an error of the client means."""
    shown, words = _shown(arguments), _last_clause(str(error))
    if isinstance(error, SaslAuthenticationFailedError):
        return _sentence(Probed("credentials", words), arguments, "")
    if isinstance(error, UnsupportedSaslMechanismError):
        return _sentence(Probed("mechanism", words), arguments, "")
    if isinstance(error, _UNUSABLE):
        return f"kafka settings must be ones that the client can use for {shown}, got: {words}"
    if isinstance(error, UnsupportedCodecError):
        return f"messages on {shown} must be compressed as this installation can read, got: {words}"
    for kind, what in _UNAUTHORISED.items():
        if isinstance(error, kind):
            return f"{what} must be open to this user on {shown}, got: not authorised ({words})"
    return f"brokers {shown} must do as asked, got: {words}"


def _sentence(probed: Probed, arguments: Mapping[str, Any], client_says: str) -> str:
    shown = _shown(arguments)
    if probed.step == "credentials":
        return f"kafka.username and its password must be accepted by {shown}, got: {probed.words}"
    if probed.step == "mechanism":
        asked = arguments["sasl_mechanism"]
        return f"kafka.sasl_mechanism must be one that {shown} offers, got {asked!r}: {probed.words}"
    if probed.step == "security":
        asked = arguments["security_protocol"]
        return f"kafka.security must be {probed.fitting} for {shown}, got {asked!r}: {probed.words}"
    if probed.step == "tls":
        return f"kafka.security and the TLS files must fit {shown}, got: {probed.words}"
    words = probed.words
    if probed.step == "let in":
        words = f"it does not serve this client ({_last_clause(client_says)})"
    return f"kafka.bootstrap must be a broker that answers, got {shown!r}: {words}"


def _shown(arguments: Mapping[str, Any]) -> str:
    return ",".join(arguments["bootstrap_servers"])


def _last_clause(text: str) -> str:
    """Return what stands behind the client's own prefixes."""
    return (text.rpartition("Error: ")[2].strip() or text)[:200]
