"""Everything that talks to brokers, over TLS with certificates on both sides and with SCRAM; what is said without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

from neuroloop.config.errors import BrokerError, StreamEnded
from neuroloop.config.kafka import KafkaSettings
from neuroloop.sinks.kafka.producer import Producer
from neuroloop.stream.cli.main import main
from neuroloop.stream.sources.kafka.discovery import find_stream
from neuroloop.stream.sources.kafka.source import KafkaSource
from neuroloop.stream.wire import broker_probe
from neuroloop.stream.wire.brokers import connect
from neuroloop.stream.wire.client_arguments import client_arguments
from neuroloop.stream.wire.messages import description_message, frame_message
from neuroloop.stream.wire.topic_admin import ensure_topics
from neuroloop.stream.wire.topics import Topics
from tests.chaos import DEMO, DEMO_CHANNELS
from tests.integration.brokers import PASSWORD, USER, ApacheBroker, Broker, topic_prefix_of
from tests.integration.certificates import Authority, broker_options
from tests.integration.cluster import PATIENCE_S, Cluster, Collector, Sent, put, rhythm
from tests.integration.live import Start

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("collected")]
PASSWORD_VARIABLE = "NEUROLOOP_TEST_TLS_PASSWORD"
KEY_VARIABLE = "NEUROLOOP_TEST_TLS_KEY_PASSWORD"
KEY_PASSWORD = "opens the key"
SCRAM_USER = "lab=eeg,1"  # both signs must be quoted on the way
SCRAM_PASSWORD = "pencil and more"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class Secured:
    """A broker with an authority of its own.

    Parameters
    ----------
    bootstrap : str
    authority : Authority
    client : dict
        The settings that it lets in.
    """

    bootstrap: str
    authority: Authority
    client: dict[str, object]


@pytest.fixture(scope="module")
def tls_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Apache Kafka that speaks TLS and knows its clients by their certificates."""
    folder = tmp_path_factory.mktemp("kafka-tls")
    authority = Authority(folder / "authority")
    with ApacheBroker(folder / "data", *broker_options(authority, "127.0.0.1", protocol="SSL")) as broker:
        yield Secured(broker.bootstrap, authority, {"security": "SSL", **files_of(authority)})


@pytest.fixture(scope="module")
def scram_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Apache Kafka with one user for SCRAM."""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    options = [f"listener.name.clients.{kind.lower()}.sasl.jaas.config={module}" for kind in SCRAM]
    folder = tmp_path_factory.mktemp("kafka-scram")
    enabled = f"sasl.enabled.mechanisms=PLAIN,{','.join(SCRAM)}"
    with ApacheBroker(folder / "data", enabled, *options, user=f"{USER}:{PASSWORD}") as broker:
        admin = KafkaAdminClient(
            bootstrap_servers=broker.bootstrap, security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
            sasl_plain_username=USER, sasl_plain_password=PASSWORD,
        )  # fmt: skip
        for kind in SCRAM:
            user = UserScramCredentialUpsertion(SCRAM_USER, kind, SCRAM_PASSWORD)
            assert admin.alter_user_scram_credentials([user]) == {SCRAM_USER: None}
        admin.close()
        yield broker.bootstrap


def files_of(authority: Authority, password: str | None = None) -> dict[str, object]:
    """Return the settings of a client with a certificate."""
    client = authority.identity("lab@example.org", password=password)
    return {
        "tls_ca": str(authority.file), "tls_certificate": str(client.certificate), "tls_key": str(client.key),
    }  # fmt: skip


def work_off(bootstrap: str, security: dict[str, object], folder: Path, start: Start) -> None:
    """Let a worker say what a replay says of a stream."""
    cluster = Cluster(bootstrap, topic_prefix_of("tls"), folder, start, DEMO, partitions=1, security=security)
    stream = rhythm("secret", 1500, 3, DEMO_CHANNELS)
    truth = {stream.key: stream.truth(cluster.config)}
    with Collector(cluster) as collector, cluster.producer() as producer:
        cluster.describe(producer, [stream])
        for frame in stream.frames(25):
            put(producer, cluster.message(frame))
        producer.flush()
        worker = cluster.begin()
        collector.wait_for(len(truth[stream.key]))
        assert collector.differences(truth) == []
    worker.popen.terminate()
    worker.ends_well()


def test_a_worker_works_over_tls(tls_broker: Secured, tmp_path: Path, start: Start) -> None:
    work_off(tls_broker.bootstrap, tls_broker.client, tmp_path, start)


def test_a_certificate_of_another_host_is_refused_unless_told_otherwise_and_a_worker_takes_passwords(
    tmp_path: Path, topic_prefix: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv(KEY_VARIABLE, KEY_PASSWORD)
    authority = Authority(tmp_path / "authority")
    options = broker_options(authority, "kafka.example.org", protocol="SASL_SSL")
    security: dict[str, object] = {
        "security": "SASL_SSL", "username": USER, "password_env": PASSWORD_VARIABLE,
        "tls_key_password_env": KEY_VARIABLE, **files_of(authority, KEY_PASSWORD),
    }  # fmt: skip
    with ApacheBroker(tmp_path / "kafka", *options, user=f"{USER}:{PASSWORD}") as broker:
        secured = Secured(broker.bootstrap, authority, security)
        with pytest.raises(
            BrokerError, match=r"the TLS files must fit 127.0.0.1:\d+, got: .*not valid for '127.0.0.1'"
        ):
            ensure_topics(settings_of(secured, topic_prefix), ["states"])
        work_off(broker.bootstrap, security | {"tls_check_hostname": False}, tmp_path, start)


def test_sink_and_source_pass_frames_over_tls(tls_broker: Secured, topic_prefix: str) -> None:
    settings = settings_of(tls_broker, topic_prefix)
    stream: Sent = rhythm("secret", 500, 3, DEMO_CHANNELS)
    producer = Producer(settings, ["streams", "samples"])
    producer.offer(description_message(Topics(topic_prefix), stream.description))
    for frame in stream.frames(50):
        producer.offer(frame_message(Topics(topic_prefix), frame))
    producer.close()
    assert producer.books().arrived == 12
    source = KafkaSource(settings, stream.key, start="earliest")
    n_rows = 0
    while n_rows < 500:
        block = source.read(PATIENCE_S)
        assert block is not None
        n_rows += len(block.timestamps)
    with pytest.raises(StreamEnded):
        source.read(PATIENCE_S)
    source.close()
    assert n_rows == 500


def settings_of(broker: Secured, prefix: str, **changes: Any) -> KafkaSettings:
    """Return what the broker lets in, but for some changes."""
    values: dict[str, Any] = {"bootstrap": broker.bootstrap, "prefix": prefix, **broker.client, **changes}
    return KafkaSettings(**values)


WITHOUT_FILES = {"tls_ca": None, "tls_certificate": None, "tls_key": None}
ACCOUNT = {"username": USER, "password_env": PASSWORD_VARIABLE}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tls_ca": None}, r"kafka.security and the TLS files must fit 127.0.0.1:\d+, got: .*certificate"),
        (
            {"tls_certificate": None, "tls_key": None},
            r"kafka.security and the TLS files must fit 127.0.0.1:\d+, got: client certificate required \(.*\); the",
        ),
        (
            {"security": "PLAINTEXT", **WITHOUT_FILES},
            r"kafka.security must be SSL or SASL_SSL for 127.0.0.1:\d+, got 'PLAINTEXT': it speaks TLS",
        ),
        (
            {"security": "SASL_PLAINTEXT", **ACCOUNT, **WITHOUT_FILES},
            r"kafka.security must be SSL or SASL_SSL for 127.0.0.1:\d+, got 'SASL_PLAINTEXT': it speaks TLS",
        ),
        (
            {"security": "SASL_SSL", **ACCOUNT},
            r"kafka.security must be SSL for 127.0.0.1:\d+, got 'SASL_SSL': it wants no login",
        ),
    ],
    ids=["unknown authority", "no certificate", "plaintext", "login without TLS", "login"],
)
def test_why_tls_fails_is_one_clear_line(
    tls_broker: Secured,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    words: str,
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    with pytest.raises(BrokerError, match=words) as caught:
        ensure_topics(settings_of(tls_broker, topic_prefix, **changes), ["states"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("security", ["SSL", "SASL_SSL"])
def test_a_certificate_of_a_foreign_authority_is_refused(
    tls_broker: Secured, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    foreign = files_of(Authority(tmp_path / "foreign")) | {"tls_ca": tls_broker.client["tls_ca"]}
    account = ACCOUNT if security == "SASL_SSL" else {}
    with pytest.raises(BrokerError, match=r"TLS files must fit 127.0.0.1:\d+, got: the broker says: .*certificate"):
        ensure_topics(settings_of(tls_broker, topic_prefix, security=security, **foreign, **account), ["states"])


def scram_settings(bootstrap: str, prefix: str, mechanism: str) -> dict[str, object]:
    """Return what the broker with SCRAM lets in."""
    return {
        "bootstrap": bootstrap, "prefix": prefix, "security": "SASL_PLAINTEXT", "sasl_mechanism": mechanism,
        "username": SCRAM_USER, "password_env": PASSWORD_VARIABLE,
    }  # fmt: skip


@pytest.mark.parametrize("mechanism", SCRAM)
def test_a_right_scram_login_is_let_in(
    scram_broker: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, SCRAM_PASSWORD)
    settings = KafkaSettings(**scram_settings(scram_broker, topic_prefix, mechanism))
    assert broker_probe.probe(client_arguments(settings), 3.0).step == "let in"
    assert ensure_topics(settings, ["states"])


def test_a_worker_logs_in_with_scram(
    scram_broker: str, topic_prefix: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, SCRAM_PASSWORD)
    settings = scram_settings(scram_broker, topic_prefix, "SCRAM-SHA-512")
    arguments = [part for key, value in settings.items() for part in ("--set", f"kafka.{key}={value}")]
    worker = start("worker", "demo", *arguments)
    worker.says("is up")
    worker.popen.terminate()
    worker.ends_well()


@pytest.mark.parametrize("mechanism", SCRAM)
@pytest.mark.parametrize("changes", [{"username": "nobody"}, {"password_env": KEY_VARIABLE}], ids=["user", "password"])
def test_a_wrong_scram_login_is_one_clear_line(
    scram_broker: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, mechanism: str, changes: dict[str, object]
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, SCRAM_PASSWORD)
    monkeypatch.setenv(KEY_VARIABLE, KEY_PASSWORD)
    settings = KafkaSettings(**(scram_settings(scram_broker, topic_prefix, mechanism) | changes))
    message = r"kafka.username and its password must be accepted by 127.0.0.1:\d+, got: .*invalid credentials .*SCRAM"
    with pytest.raises(BrokerError, match=message):
        ensure_topics(settings, ["states"])


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["r={},s=c2FsdA==,i=4096", "v=d3Jvbmc="], "it does not know this password itself"),
        (["r={},s=c2FsdA==,i=2000000000"], "it ends the connection while logging in (the answer is none of SCRAM: "),
        (["r=another,s=c2FsdA==,i=4096"], "it ends the connection while logging in (the answer is none of SCRAM: "),
        (["what"], "it ends the connection while logging in (the answer is none of SCRAM: "),
    ],
    ids=["impostor", "endless work", "another exchange", "nonsense"],
)
def test_a_broker_that_does_scram_wrong_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], words: str
) -> None:
    left = iter(answers)

    def answer(link: object, token: bytes) -> bytes:
        return next(left).format(token.decode().rpartition("r=")[2]).encode()

    monkeypatch.setattr(broker_probe, "_handshake", lambda link, mechanism: (0, [mechanism]))
    monkeypatch.setattr(broker_probe, "_authenticate", answer)
    arguments = {"sasl_mechanism": SCRAM[0], "sasl_plain_username": "u", "sasl_plain_password": "p"}
    link: Any = None
    probed = broker_probe._log_in(link, arguments)
    assert probed.step == "credentials"
    assert probed.words.startswith(words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bootstrap_servers": ["a..b:9092"]}, r"kafka.bootstrap must be a broker .*, got 'a..b:9092': .*label empty"),
        ({"unknown": 1}, r"kafka settings must be ones that the client can use .*, got: Unrecognized configs: .*unkn"),
    ],
    ids=["host", "option"],
)
def test_what_the_client_cannot_use_is_one_clear_line(options: dict[str, Any], message: str) -> None:
    arguments = {"bootstrap_servers": ["127.0.0.1:1"], "security_protocol": "PLAINTEXT", **options}
    with pytest.raises(BrokerError, match=message):
        connect(lambda left_s: KafkaAdminClient(**arguments, bootstrap_timeout_ms=left_s * 1e3), arguments, 0.5)


def test_a_message_that_cannot_be_unpacked_is_one_clear_line(
    apache_broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lz4", "lz4f", "lz4framed"):
        monkeypatch.setattr(f"kafka.codec.{name}", None)
    topic = Topics(topic_prefix).streams
    admin = KafkaAdminClient(bootstrap_servers=apache_broker.bootstrap)
    admin.create_topics({topic: {"configs": {"compression.type": "lz4", "cleanup.policy": "compact"}}})
    admin.close()
    settings = KafkaSettings(bootstrap=apache_broker.bootstrap, prefix=topic_prefix)
    producer = Producer(settings, ["streams"])
    producer.offer(description_message(Topics(topic_prefix), rhythm("packed", 500, 3, DEMO_CHANNELS).description))
    producer.close()
    with pytest.raises(
        BrokerError, match=r"messages on .* must be compressed as this installation can read, got: .*lz4"
    ):
        find_stream(settings, "packed", PATIENCE_S)


@pytest.mark.parametrize("name", ["tls_ca", "tls_certificate", "tls_key"])
def test_a_tls_file_that_is_not_there_is_named(
    tls_broker: Secured, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    missing = tmp_path / "missing.pem"
    arguments = ["worker", "demo", "--set", f"kafka.bootstrap={tls_broker.bootstrap}"]
    for key, value in {
        **settings_of(tls_broker, topic_prefix).model_dump(include=set(tls_broker.client)),
        name: missing,
    }.items():
        arguments += ["--set", f"kafka.{key}={value}"]
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert f"kafka.{name} must be a file that can be read, got {str(missing)!r}" in err
    assert len(err.splitlines()) == 1
