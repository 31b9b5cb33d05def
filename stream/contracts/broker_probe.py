"""Ask a Kafka broker directly why it does not let a client in: connect, TLS, SASL, step by step.

Uses the requests ``SaslHandshake`` (version 1) and ``SaslAuthenticate`` (version 0) of Kafka's protocol [1]_. A
mechanism other than ``PLAIN`` is not followed beyond the handshake.

References
----------
.. [1] Apache Kafka, *Kafka protocol guide*, https://kafka.apache.org/protocol
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Step = Literal["absent", "tls", "mechanism", "credentials", "let in"]
_HANDSHAKE, _AUTHENTICATE = 17, 36
_UNSUPPORTED_MECHANISM, _WRONG_STATE = 33, 34
_MAX_ANSWER = 1 << 16


class Probed(NamedTuple):
    """How far one got, and the words of whoever said no."""

    step: Step
    words: str


def probe(arguments: Mapping[str, Any], timeout_s: float) -> Probed:
    """Try the brokers one after the other; return the answer of the first that answers at all.

    Parameters
    ----------
    arguments : mapping
        What the client was made with.
    timeout_s : float
        For each step, in seconds.
    """
    answer = Probed("absent", "no address")
    for server in arguments["bootstrap_servers"]:
        answer = _probe_one(server, arguments, timeout_s)
        if answer.step != "absent":
            break
    return answer


def _probe_one(server: str, arguments: Mapping[str, Any], timeout_s: float) -> Probed:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        plain = socket.create_connection((host, int(port)), timeout_s)
    except (OSError, OverflowError) as error:
        return Probed("absent", _words(error))
    with plain:
        link: socket.socket = plain
        if arguments["security_protocol"].endswith("SSL"):
            try:
                link = _context(arguments).wrap_socket(plain, server_hostname=host)
            except (OSError, ValueError) as error:
                return Probed("tls", _words(error))
        if not arguments["security_protocol"].startswith("SASL"):
            return Probed("let in", "")
        try:
            with link:
                return _log_in(link, arguments)
        except (OSError, struct.error) as error:
            return Probed("credentials", f"it ends the connection while logging in ({_words(error)})")


def _context(arguments: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=arguments["ssl_cafile"])
    context.check_hostname = arguments["ssl_check_hostname"]
    if arguments["ssl_certfile"] is not None:
        context.load_cert_chain(arguments["ssl_certfile"], arguments["ssl_keyfile"])
    return context


def _log_in(link: socket.socket, arguments: Mapping[str, Any]) -> Probed:
    mechanism = arguments["sasl_mechanism"]
    answer = _ask(link, _HANDSHAKE, 1, _string(mechanism))
    code, n_offered = struct.unpack_from(">hi", answer)
    if code:
        offered = ", ".join(_strings(answer[6:], n_offered)) or f"error {code}"
        return Probed("mechanism", f"it offers {offered}")
    if mechanism != "PLAIN":
        return Probed("let in", "")
    secret = f"\0{arguments['sasl_plain_username']}\0{arguments['sasl_plain_password']}".encode()
    answer = _ask(link, _AUTHENTICATE, 0, struct.pack(">i", len(secret)) + secret)
    code, length = struct.unpack_from(">hh", answer)
    if code:
        return Probed("credentials", answer[4 : 4 + max(length, 0)].decode("utf-8", "replace") or f"error {code}")
    return Probed("let in", "")


def _ask(link: socket.socket, api: int, version: int, body: bytes) -> bytes:
    """Send one request and return what stands behind the header of its answer."""
    request = struct.pack(">hhi", api, version, 1) + _string("neuroloop-probe") + body
    link.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _take(link, 4))
    if not 4 <= size <= _MAX_ANSWER:
        raise OSError("the answer is none of Kafka")
    return _take(link, size)[4:]


def _take(link: socket.socket, n_bytes: int) -> bytes:
    parts = b""
    while len(parts) < n_bytes:
        part = link.recv(n_bytes - len(parts))
        if not part:
            raise OSError("no answer")
        parts += part
    return parts


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _strings(raw: bytes, n_strings: int) -> Sequence[str]:
    found = []
    for _ in range(n_strings):
        (length,) = struct.unpack_from(">h", raw)
        found.append(raw[2 : 2 + length].decode("utf-8", "replace"))
        raw = raw[2 + length :]
    return found


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower() if error.strerror[:1].isupper() else error.strerror
    return str(error)
