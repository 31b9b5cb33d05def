"""An authority of its own for one test run, and certificates that it signed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, as files.

    Parameters
    ----------
    certificate, key : Path
        In PEM.
    store : Path
        Both in one file, not encrypted, as Kafka's brokers want them.
    """

    certificate: Path
    key: Path
    store: Path


class Authority:
    """Sign certificates.

    Parameters
    ----------
    folder : Path
        Where the files go.

    Attributes
    ----------
    file : Path
        What the others must trust.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def identity(self, *names: str, password: str | None = None) -> Identity:
        """Return a new certificate for hosts, addresses or people; with a password its key is encrypted."""
        made = self._authority.issue_cert(*names)
        private = load_pem_private_key(made.private_key_pem.bytes(), None)

        def pem(encryption: KeySerializationEncryption) -> bytes:
            return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        stem = self._folder / names[0].replace("@", "-at-")
        found = Identity(stem.with_suffix(".crt"), stem.with_suffix(".key"), stem.with_suffix(".store"))
        found.certificate.write_bytes(chain)
        found.key.write_bytes(pem(NoEncryption() if password is None else BestAvailableEncryption(password.encode())))
        found.store.write_bytes(pem(NoEncryption()) + chain)
        return found


def broker_options(authority: Authority, *names: str, protocol: str) -> tuple[str, ...]:
    """Return the settings of a broker that speaks TLS and asks its clients for a certificate of the same authority.

    Parameters
    ----------
    authority : Authority
    names : str
        What the broker's certificate says it is.
    protocol : {"SSL", "SASL_SSL"}
    """
    return (
        f"listener.security.protocol.map=CLIENTS:{protocol},CONTROLLER:PLAINTEXT",
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={authority.identity(*names).store}",
        "ssl.truststore.type=PEM",
        f"ssl.truststore.location={authority.file}",
        "listener.name.clients.ssl.client.auth=required",
        "ssl.endpoint.identification.algorithm=",
    )
