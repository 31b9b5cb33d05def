"""From the settings to the arguments of every client: ``kafka-python``, ``aiokafka``, Faust.

All three log in and secure their connections as the same settings say. They differ in three points: ``kafka-python``
reads the files for TLS itself, and does not quote a user's name for SCRAM; the others take a context and quote.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import Any, NamedTuple

from neuroloop.config.errors import ConfigError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.secrets import Masked, read_secret

_OF_ANOTHER = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})


class _Login(NamedTuple):
    """What every client logs in with."""

    mechanism: str
    username: str | None
    password: str


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return what producer, consumer and admin client of ``kafka-python`` have in common.

    The passwords in it are not shown where the arguments are printed; the client itself logs them. It reads the files
    for TLS again for each connection, so that certificates may be renewed under a run.

    Raises
    ------
    ConfigError
        If a password is not where the settings say, or a file for TLS does not serve.
    """
    arguments = {**_common(settings), "reconnect_backoff_ms": 50, "reconnect_backoff_max_ms": 1000}
    login = _login(settings)
    if login is not None:
        arguments |= _sasl(login._replace(username=_quoted(login)))
    if settings.security.endswith("SSL"):
        tls_context(settings)  # for what it says where something is wrong
        secret = settings.tls_key_password()
        arguments |= {
            "ssl_check_hostname": settings.tls_check_hostname,
            "ssl_cafile": _path(settings.tls_ca),
            "ssl_certfile": _path(settings.tls_certificate),
            "ssl_keyfile": _path(settings.tls_key),
            "ssl_password": Masked("" if secret is None else secret.get_secret_value()),  # None asks on the terminal
        }
    return arguments


def aiokafka_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return what consumer and admin client of ``aiokafka`` have in common.

    Raises
    ------
    ConfigError
        As `client_arguments`.
    """
    arguments = {**_common(settings), "ssl_context": tls_context(settings)}
    login = _login(settings)
    return arguments if login is None else arguments | _sasl(login)


def faust_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return what a Faust application reaches the brokers with.

    Raises
    ------
    ConfigError
        As `client_arguments`.
    """
    import faust  # takes half a second, and only a worker needs it

    login, context = _login(settings), tls_context(settings)
    credentials: Any = None
    if login is not None:
        credentials = faust.SASLCredentials(
            username=login.username, password=login.password, ssl_context=context, mechanism=login.mechanism
        )
    elif context is not None:
        credentials = faust.SSLCredentials(context=context)
    return {
        "broker": [f"kafka://{server}" for server in settings.servers],
        "broker_credentials": credentials,
        "broker_client_id": settings.client_id,
    }


def producer_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return the arguments of an idempotent producer that never gives up by itself.

    The client tries a message for ever and keeps the order; what may wait, and for how long, is ruled by the queue
    before it.
    """
    return {
        **client_arguments(settings),
        "metrics_enabled": False,
        "acks": "all",
        "enable_idempotence": True,
        "delivery_timeout_ms": 2**31 - 1,
        "linger_ms": settings.linger_ms,
        "batch_size": 64 * 1024,
        "max_request_size": settings.max_message_bytes + 16 * 1024,
        "max_block_ms": 1000,
        "compression_type": None if settings.compression == "none" else settings.compression,
    }


def consumer_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return the arguments of a consumer; it commits only what it is told to."""
    return {
        **client_arguments(settings),
        "metrics_enabled": False,
        "group_id": settings.group_id,
        "enable_auto_commit": False,
        "session_timeout_ms": round(settings.session_s * 1e3),
        "heartbeat_interval_ms": round(settings.session_s * 1e3 / 6),
        "max_poll_interval_ms": max(10_000, round(2 * settings.session_s * 1e3)),
        "request_timeout_ms": round(max(settings.request_s, settings.session_s + 1.0, 11.0) * 1e3),
        "metadata_max_age_ms": 30_000,
        "max_partition_fetch_bytes": max(1_048_576, 2 * settings.max_message_bytes),
        "fetch_max_wait_ms": 100,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
    }


def tls_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return what connections are secured with, None where they are not.

    The files are read once in a process: one that is being replaced under a run is no fault of the configuration.

    Raises
    ------
    ConfigError
        If a file cannot be read, or does not hold what it should.
    """
    if not settings.security.endswith("SSL"):
        return None
    return _load(
        settings.tls_ca,
        settings.tls_certificate,
        settings.tls_key,
        settings.tls_check_hostname,
        settings.tls_key_password_file,
        settings.tls_key_password_env,
    )


@lru_cache(maxsize=16)
def _load(
    ca: str | None,
    certificate: str | None,
    key: str | None,
    check_hostname: bool,
    password_file: str | None,
    password_env: str | None,
) -> ssl.SSLContext:
    for name, file in (("tls_ca", ca), ("tls_certificate", certificate), ("tls_key", key)):
        _check_file(name, file)
    context = ssl.create_default_context(cafile=_path(ca))
    context.check_hostname = check_hostname
    if certificate is None:
        return context
    secret = read_secret("kafka.tls_key_password", file=password_file, env=password_env)
    asked: list[bool] = []

    def password() -> str:
        """Be asked where the key is encrypted; otherwise the terminal would be."""
        asked.append(True)
        return "" if secret is None else secret.get_secret_value()

    try:
        context.load_cert_chain(str(_path(certificate)), _path(key), password)
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", None) in _OF_ANOTHER:
            fault = f"tls_key must be the key of kafka.tls_certificate {certificate!r}, got {key!r}"
        elif not asked:
            fault = f"tls_key must be a file with a private key in PEM, got {key!r}"
        elif secret is None:
            fault = f"tls_key_password_file or _env must be given for an encrypted kafka.tls_key, got {key!r}"
        else:
            kind = "file" if password_env is None else "env"
            fault = f"tls_key_password_{kind} must open kafka.tls_key {key!r}, got another password"
        raise ConfigError(f"kafka.{fault}") from error
    return context


def _check_file(name: str, file: str | None) -> None:
    """Refuse a file that cannot be read, or has no certificate where there should be one."""
    path = _path(file)
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
        if name != "tls_key":
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"kafka.{name} must be a file with certificates in PEM, got {file!r}") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"kafka.{name} must be a file that can be read, got {file!r}: {why}") from error


def _path(file: str | None) -> str | None:
    return None if file is None else os.path.expanduser(file)


def _common(settings: KafkaSettings) -> dict[str, Any]:
    """Return what both clients call by the same names."""
    return {
        "bootstrap_servers": list(settings.servers),
        "client_id": settings.client_id,
        "security_protocol": settings.security,
        "request_timeout_ms": round(settings.request_s * 1e3),
    }


def _login(settings: KafkaSettings) -> _Login | None:
    """Return what to log in with; None where brokers want no login."""
    if not settings.security.startswith("SASL"):
        return None
    secret = settings.password()
    password = "" if secret is None else secret.get_secret_value()
    return _Login(settings.sasl_mechanism, settings.username, password)


def _sasl(login: _Login) -> dict[str, Any]:
    """Return a login as both clients take it."""
    return {
        "sasl_mechanism": login.mechanism,
        "sasl_plain_username": login.username,
        "sasl_plain_password": Masked(login.password),
    }


def _quoted(login: _Login) -> str | None:
    """Return the user's name as ``kafka-python`` must be told it: it does not quote it for SCRAM (RFC 5802, 5.1)."""
    if login.username is None or not login.mechanism.startswith("SCRAM"):
        return login.username
    return login.username.replace("=", "=3D").replace(",", "=2C")
