"""Ask a Kafka broker directly why it does not let a client in: connect, TLS, a first request, SASL, step by step.

Uses the requests ``ApiVersions`` (version 0), ``Metadata`` (1), ``SaslHandshake`` (1) and ``SaslAuthenticate`` (0) of
Kafka's protocol [1]_. The client's certificate is judged after the handshake of TLS 1.3 is over: the first answer, or
what comes in its place, says whether the broker takes it.

References
----------
.. [1] Apache Kafka, *Kafka protocol guide*, https://kafka.apache.org/protocol
.. [2] Newman, Menon-Sen, Melnikov, Williams, *Salted Challenge Response Authentication Mechanism*, RFC 5802, 2010.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Step = Literal["absent", "security", "tls", "mechanism", "credentials", "let in"]
_METADATA, _HANDSHAKE, _API_VERSIONS, _AUTHENTICATE = 3, 17, 18, 36
_UNSUPPORTED_MECHANISM, _WRONG_STATE = 33, 34
_TLS_ALERT = b"\x15\x03"
_SAYS = "the broker says: "
_MAX_ANSWER = 1 << 20
_MAX_ITERATIONS = 1_000_000


class Probed(NamedTuple):
    """How far one got, the words of whoever said no, and what ``kafka.security`` must be where it is that."""

    step: Step
    words: str
    fitting: str = ""


class _SpeaksTls(OSError):
    """The broker answers a plain request with an alert of TLS."""


class _Refused(OSError):
    """The broker does not accept the credentials."""


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
    security: str = arguments["security_protocol"]
    try:
        with _connect(server, timeout_s) as plain:
            try:
                link = _secure(plain, server, arguments)
            except (OSError, ValueError) as error:
                if _speaks_plainly(server, timeout_s):
                    return Probed("security", "it does not speak TLS", "PLAINTEXT or SASL_PLAINTEXT")
                return Probed("absent" if isinstance(error, TimeoutError) else "tls", _tls_words(error, arguments))
            with link:
                _ask(link, _API_VERSIONS, 0)
                if security.startswith("SASL"):
                    return _log_in(link, arguments)
                return _do_without(link, server, arguments, timeout_s)
    except _SpeaksTls as error:
        return Probed("security", _words(error), "SSL or SASL_SSL")
    except ssl.SSLError as error:
        return Probed("tls", _tls_words(error, arguments))
    except (OSError, OverflowError, UnicodeError, struct.error) as error:
        return Probed("absent", _words(error))


def _connect(server: str, timeout_s: float) -> socket.socket:
    host, _, port = server.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout_s)


def _secure(plain: socket.socket, server: str, arguments: Mapping[str, Any]) -> socket.socket:
    """Return the connection itself, or TLS over it."""
    if not arguments["security_protocol"].endswith("SSL"):
        return plain
    context = ssl.create_default_context(cafile=arguments["ssl_cafile"])
    context.check_hostname = arguments["ssl_check_hostname"]
    if arguments["ssl_certfile"] is not None:
        context.load_cert_chain(arguments["ssl_certfile"], arguments["ssl_keyfile"], arguments["ssl_password"])
    return context.wrap_socket(plain, server_hostname=server.rpartition(":")[0].strip("[]"))


def _speaks_plainly(server: str, timeout_s: float) -> bool:
    """Whether a broker answers without TLS."""
    try:
        with _connect(server, timeout_s) as link:
            _ask(link, _API_VERSIONS, 0)
    except OSError:
        return False
    return True


def _do_without(link: socket.socket, server: str, arguments: Mapping[str, Any], timeout_s: float) -> Probed:
    """Ask for something without a login; where that ends the connection, ask whether one is wanted."""
    try:
        _ask(link, _METADATA, 1, struct.pack(">i", 0))  # of no topic
        return Probed("let in", "")
    except TimeoutError:
        raise
    except OSError as error:
        refused = error
    with _connect(server, timeout_s) as plain, _secure(plain, server, arguments) as second:
        code, offered = _handshake(second, "PLAIN")
    if code in (0, _UNSUPPORTED_MECHANISM):
        fitting = f"SASL_{arguments['security_protocol']}"
        return Probed("security", f"it wants a login ({', '.join(offered)})", fitting)
    return Probed("absent", _words(refused))


def _handshake(link: socket.socket, mechanism: str) -> tuple[int, Sequence[str]]:
    """Ask for a mechanism; return the error's number, 0 for none, and what there is."""
    answer = _ask(link, _HANDSHAKE, 1, _string(mechanism))
    code, n_offered = struct.unpack_from(">hi", answer)
    return code, _strings(answer[6:], n_offered)


def _log_in(link: socket.socket, arguments: Mapping[str, Any]) -> Probed:
    mechanism, user, password = (arguments[f"sasl_{key}"] for key in ("mechanism", "plain_username", "plain_password"))
    code, offered = _handshake(link, mechanism)
    if code == _WRONG_STATE or (code and mechanism in offered):  # the embedded broker repeats the question
        return Probed("security", "it wants no login", arguments["security_protocol"].removeprefix("SASL_"))
    if code:
        return Probed("mechanism", f"it offers {', '.join(offered) or f'error {code}'}")
    try:
        if mechanism == "PLAIN":
            _authenticate(link, f"\0{user}\0{password}".encode())
        else:
            _scram(link, mechanism.removeprefix("SCRAM-").replace("-", "").lower(), user, password)
    except _Refused as error:
        return Probed("credentials", _words(error))
    except (OSError, struct.error) as error:
        return Probed("credentials", f"it ends the connection while logging in ({_words(error)})")
    return Probed("let in", "")


def _authenticate(link: socket.socket, token: bytes) -> bytes:
    """Send one message of the mechanism and return the answer to it."""
    answer = _ask(link, _AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
    code, length = struct.unpack_from(">hh", answer)
    rest = answer[4 + max(length, 0) :]
    if code:
        raise _Refused(answer[4 : 4 + max(length, 0)].decode("utf-8", "replace") or f"error {code}")
    return rest[4 : 4 + struct.unpack_from(">i", rest)[0]]


def _scram(link: socket.socket, kind: str, user: str, password: str) -> None:
    """Log in by [2]_ with a hash; the user's name is quoted already."""
    nonce = secrets.token_urlsafe(24)
    first = f"n={user},r={nonce}"
    answer = _authenticate(link, f"n,,{first}".encode())
    try:
        fields = dict(part.split("=", 1) for part in answer.decode().split(","))
        salt, n_iterations = base64.b64decode(fields["s"]), int(fields["i"])
        if not (fields["r"].startswith(nonce) and 0 < n_iterations <= _MAX_ITERATIONS):
            raise ValueError("numbers that are not of this exchange")
    except (ValueError, KeyError) as error:
        raise OSError(f"the answer is none of SCRAM: {error}") from error
    salted = hashlib.pbkdf2_hmac(kind, password.encode(), salt, n_iterations)
    last = f"c=biws,r={fields['r']}"
    signed = f"{first},{answer.decode()},{last}".encode()
    client_key = hmac.digest(salted, b"Client Key", kind)
    signature = hmac.digest(hashlib.new(kind, client_key).digest(), signed, kind)
    proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
    verdict = _authenticate(link, f"{last},p={base64.b64encode(proof).decode()}".encode())
    expected = hmac.digest(hmac.digest(salted, b"Server Key", kind), signed, kind)
    if verdict.partition(b",")[0] != b"v=" + base64.b64encode(expected):
        raise _Refused("it does not know this password itself")


def _ask(link: socket.socket, api: int, version: int, body: bytes = b"") -> bytes:
    """Send one request and return what stands behind the header of its answer."""
    request = struct.pack(">hhi", api, version, 1) + _string("neuroloop-probe") + body
    link.sendall(struct.pack(">i", len(request)) + request)
    head = _take(link, 4)
    if head.startswith(_TLS_ALERT):
        raise _SpeaksTls("it speaks TLS")
    (size,) = struct.unpack(">i", head)
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
        words = (error.reason or str(error)).replace("_", " ").lower()
        return re.sub(r"^(sslv3|tlsv1\d?) alert ", _SAYS, words)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower() if error.strerror[:1].isupper() else error.strerror
    return str(error)


def _tls_words(error: Exception, arguments: Mapping[str, Any]) -> str:
    words = _words(error)
    if arguments["ssl_certfile"] is None and words.startswith(_SAYS) and "certificate" in words:
        return f"client certificate required (kafka.tls_certificate and kafka.tls_key); {words}"
    return words
