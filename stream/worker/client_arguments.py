"""From the settings to the arguments of Faust and of the clients under it."""

from __future__ import annotations

from typing import Any

import faust

from neuroloop.config.kafka import KafkaSettings
from neuroloop.stream.wire.client_arguments import tls_context


def broker_urls(settings: KafkaSettings) -> list[str]:
    """Return the addresses as Faust wants them."""
    return [f"kafka://{server}" for server in settings.servers]


def credentials(settings: KafkaSettings) -> Any:
    """Return Faust's credentials; None for a plain connection.

    Raises
    ------
    ConfigError
        If a password is not where the settings say, or a file for TLS does not serve.
    """
    context = tls_context(settings)
    if settings.security.startswith("SASL"):
        secret = settings.password()
        return faust.SASLCredentials(
            username=settings.username,
            password="" if secret is None else secret.get_secret_value(),
            ssl_context=context,
            mechanism=settings.sasl_mechanism,
        )
    return faust.SSLCredentials(context=context) if context is not None else None


def reader_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Return the arguments of an ``aiokafka`` client beside Faust's own.

    Contains the password in clear: never log it.

    Raises
    ------
    ConfigError
        As `credentials`.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.servers),
        "client_id": settings.client_id,
        "security_protocol": settings.security,
        "request_timeout_ms": round(settings.request_s * 1e3),
        "ssl_context": tls_context(settings),
    }
    if settings.security.startswith("SASL"):
        secret = settings.password()
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": "" if secret is None else secret.get_secret_value(),
        }
    return arguments
