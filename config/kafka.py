"""Settings of Kafka: where the brokers are, how to speak to them, what a run publishes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from neuroloop.config.secrets import read_secret
from neuroloop.config.settings import NonNegativeFloat, PositiveFloat, PositiveInt, Settings

Published = Literal["predictions", "states", "commands", "alerts", "samples"]
Overflow = Literal["drop_oldest", "drop_newest", "spool"]
_ADDRESS = r"(?:([^\s,:/\[\]]+)|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})"
_EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_Wait = Annotated[float, Field(ge=1, le=530)]
"""In seconds. ``kafka-python`` closes what is idle for 540 s and refuses to wait as long for an answer."""


class TopicSettings(Settings):
    """How topics that do not exist yet are made; those that exist are checked, never changed."""

    create: bool = True
    """Without it a missing topic is a fault at the start."""
    partitions: PositiveInt = 4
    """A stream stays in one partition: as many streams can be shared between workers."""
    replication: PositiveInt = 1
    """Copies of every message; 3 on a cluster that is to survive the loss of a broker."""
    retention_h: PositiveFloat = 168.0
    """How long samples, predictions and the rest are kept, in hours. Stream descriptions are kept for ever."""


class KafkaSettings(Settings):
    """One Kafka cluster, as a source, a place to publish to, or both."""

    bootstrap: Annotated[str, Field(min_length=1)] | tuple[Annotated[str, Field(min_length=1)], ...]
    """``host:port`` of one broker or more, with commas between them or as a list."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$")] = "neuroloop"
    """Topics are named ``<prefix>.samples`` and so on."""
    stream_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Id under which this run publishes; by default the stream's ``source_id``, or its name where it has none."""
    publish: tuple[Published, ...] = ("predictions", "states", "commands", "alerts")
    """What a live run sends; ``samples`` are its numbered input rows."""
    client_id: Annotated[str, Field(min_length=1, max_length=200)] = "neuroloop"
    """Name under which the brokers log this client."""
    group_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Consumer group of a source; without it a source reads on its own and commits nothing."""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How the connection is protected: TLS (``SSL``), a login (``SASL``), both, or neither."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    """How the login is proven, with ``SASL`` security."""
    username: str | None = None
    """Who logs in, with ``SASL`` security."""
    password_file: str | None = None
    """The password is the first line of this file."""
    password_env: _EnvName | None = None
    """The password is in this variable of the environment."""
    tls_ca: str | None = None
    """File of the authorities that sign the brokers' certificates; the system's own without it."""
    tls_certificate: str | None = None
    """File of the client's own certificate, where the brokers ask for one; together with ``tls_key``."""
    tls_key: str | None = None
    """File of the key of ``tls_certificate``."""
    tls_key_password_file: str | None = None
    """What opens an encrypted key is the first line of this file."""
    tls_key_password_env: _EnvName | None = None
    """What opens an encrypted key is in this variable of the environment."""
    tls_check_hostname: bool = True
    """Whether a broker's certificate must be for the name that it was reached by."""
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = "none"
    """Of what is sent; everything can be read. Float64 with all bits in use hardly shrinks, steps of a converter do."""
    linger_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """How long a message waits for others that travel with it, in milliseconds."""
    frame_s: PositiveFloat = 0.1
    """Length of a sample frame in seconds: what it adds to the age of its oldest row."""
    max_message_bytes: Annotated[int, Field(ge=2_000, le=100_000_000)] = 900_000
    """Larger frames are cut; brokers refuse more than 1 MB unless told otherwise."""
    overflow: Overflow = "drop_oldest"
    """What happens when more than ``buffer_mb`` wait for the brokers: the oldest or the newest waiting messages are
    dropped and counted. With ``spool`` every message goes to a file in ``spool_dir`` first and nothing waits in memory.
    """
    buffer_mb: PositiveFloat = 32.0
    """How much may wait in memory for the brokers, in megabytes."""
    spool_dir: str | None = None
    """Folder of the spool, for ``overflow: spool`` and for it only."""
    spool_mb: PositiveFloat = 1024.0
    """How much the spool may hold."""
    spool_overflow: Literal["drop_oldest", "drop_newest"] = "drop_oldest"
    """What happens to a full spool, or one without room on its disk: what is dropped is counted."""
    connect_s: PositiveFloat = 10.0
    """How long to try to reach the brokers before one line says why that fails."""
    request_s: _Wait = 10.0
    """How long a broker may take to answer before it is asked again, in seconds."""
    close_s: NonNegativeFloat = 10.0
    """How long the end of a run waits for messages that are still on their way."""
    session_s: _Wait = 6.0
    """A member of a consumer group that is silent for so long is replaced."""
    topics: TopicSettings = TopicSettings()
    """How topics that do not exist yet are made."""

    @model_validator(mode="after")
    def _parts_fit(self) -> KafkaSettings:
        if not self.servers:
            raise ValueError(f"bootstrap must be host:port of one broker at least, got {self.bootstrap!r}")
        for server in self.servers:
            if not _is_address(server):
                raise ValueError(f"bootstrap must be host:port, with commas between several, got {server!r}")
        has_sasl = self.security.startswith("SASL")
        has_tls = self.security.endswith("SSL")
        if has_sasl and (self.username is None or (self.password_file is None) == (self.password_env is None)):
            rule = f"given for {self.security}, with either password_file or password_env"
            raise ValueError(f"username must be {rule}, got {self.username!r}")
        if not has_sasl:
            for key in ("username", "password_file", "password_env"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} must be left out without SASL, got security {self.security!r}")
        if not has_tls:
            for key in ("tls_ca", "tls_certificate", "tls_key"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} must be left out without TLS, got security {self.security!r}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key must be given together, got one of them")
        passwords = [key for key in ("tls_key_password_file", "tls_key_password_env") if getattr(self, key) is not None]
        if passwords and self.tls_key is None:
            raise ValueError(f"{passwords[0]} must be left out without tls_key, got {getattr(self, passwords[0])!r}")
        if len(passwords) > 1:
            raise ValueError("tls_key_password_file must be given without tls_key_password_env, got both")
        if (self.overflow == "spool") != (self.spool_dir is not None):
            raise ValueError(f"spool_dir must be given for overflow 'spool' only, got overflow {self.overflow!r}")
        return self

    @property
    def servers(self) -> tuple[str, ...]:
        """Addresses of the brokers to begin with."""
        parts = self.bootstrap.split(",") if isinstance(self.bootstrap, str) else self.bootstrap
        return tuple(part.strip() for part in parts)

    def password(self) -> SecretStr | None:
        """Read the password from where the settings say; it prints as asterisks.

        Raises
        ------
        ConfigError
            If it is not there.
        """
        return read_secret("kafka.password", file=self.password_file, env=self.password_env)

    def tls_key_password(self) -> SecretStr | None:
        """Read what opens the key from where the settings say; it prints as asterisks.

        Raises
        ------
        ConfigError
            If it is not there.
        """
        return read_secret("kafka.tls_key_password", file=self.tls_key_password_file, env=self.tls_key_password_env)


def _is_address(server: str) -> bool:
    """Whether a text is ``host:port`` and could be looked up."""
    found = re.fullmatch(_ADDRESS, server)
    if found is None:
        return False
    try:
        (found[1] or "").encode("idna")
    except UnicodeError:  # an empty label, or one of more than 63 characters
        return False
    return 0 < int(found[2]) < 65_536
