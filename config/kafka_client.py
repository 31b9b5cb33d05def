"""From the settings to the arguments that ``kafka-python`` takes."""

from __future__ import annotations

from typing import Any

from config.kafka import KafkaSettings
from config.secrets import Masked


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return what producer, consumer and admin client have in common.

    The password in it is not shown where the arguments are printed; the client itself logs them.

    Raises
    ------
    ConfigFaults
        If the password is not where the settings say.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.servers),
        "client_id": settings.client_id,
        "security_protocol": settings.security,
        "request_timeout_ms": round(settings.request_s * 1e3),
        "reconnect_backoff_ms": 50,
        "reconnect_backoff_max_ms": 1000,
    }
    if settings.security.startswith("SASL"):
        secret = settings.password()
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": Masked("" if secret is None else secret.get_secret_value()),
        }
    if settings.security.endswith("SSL"):
        arguments |= {
            "ssl_check_hostname": settings.tls_check_hostname,
            "ssl_cafile": settings.tls_ca,
            "ssl_certfile": settings.tls_certificate,
            "ssl_keyfile": settings.tls_key,
        }
    return arguments


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
