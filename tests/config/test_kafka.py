"""Settings of Kafka: what is refused, and that no secret is ever written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kafka import KafkaConsumer

from neuroloop.config.errors import ConfigError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.loading import dump_config, load_config
from neuroloop.stream.wire.client_arguments import (
    aiokafka_arguments,
    client_arguments,
    consumer_arguments,
    faust_arguments,
    producer_arguments,
    tls_context,
)
from tests.integration.certificates import Authority

SECRET = "hunter2-and-more"
SASL: dict[str, Any] = {"bootstrap": "a:9093", "security": "SASL_SSL", "username": "lab"}


def write(tmp_path: Path, kafka: dict[str, Any], source: dict[str, Any] | None = None) -> str:
    path = tmp_path / "lab.yaml"
    path.write_text(yaml.safe_dump({"name": "lab", "kafka": kafka, "source": source or {}}), encoding="utf-8")
    return str(path)


def test_a_source_of_kind_kafka_can_be_set_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("name: lab\nsource: {kind: lsl, name: amp, resolve_s: 5}\n", encoding="utf-8")
    overrides = [
        "source.kind=kafka",
        "source.stream_id=amp-1",
        "source.start=sample:7",
        "kafka.bootstrap=a:9092,b:9092",
    ]
    config = load_config(str(path), overrides)
    assert config.kafka is not None
    assert config.kafka.servers == ("a:9092", "b:9092")
    assert (config.source.kind, config.source.stream_id, config.source.start) == ("kafka", "amp-1", "sample:7")
    assert (config.source.name, config.source.resolve_s) == (None, 5.0)
    (path.parent / "again.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(str(path.parent / "again.yaml")) == config


def test_a_kafka_source_needs_brokers(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("name: lab\nsource: {kind: kafka}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"kafka.bootstrap must be given for a source of kind 'kafka', got nothing"):
        load_config(str(path))


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source.stream_id must be left out for kind 'lsl', it belongs to kind"):
        load_config(write(tmp_path, {"bootstrap": "a:1"}, {"stream_id": "x"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bootstrap": "a"}, r"kafka.bootstrap must be host:port, with commas between several, got 'a'"),
        ({"bootstrap": "a:1,,b:2"}, r"kafka.bootstrap must be host:port, .*, got ''"),
        ({"bootstrap": []}, r"kafka.bootstrap must be host:port of one broker at least, got \(\)"),
        ({"bootstrap": "a..b:9092"}, r"kafka.bootstrap must be host:port, .*, got 'a..b:9092'"),
        ({"bootstrap": f"{'a' * 64}:9092"}, r"kafka.bootstrap must be host:port, .*, got 'a+:9092'"),
        ({"bootstrap": "a:70000"}, r"kafka.bootstrap must be host:port, .*, got 'a:70000'"),
        ({"bootstrap": "a:1", "request_s": 600}, r"kafka.request_s must be less than or equal to 530, got 600"),
        ({"bootstrap": "a:1", "request_s": float("inf")}, r"kafka.request_s must be less than or equal .*, got inf"),
        ({"bootstrap": "a:1", "session_s": 600}, r"kafka.session_s must be less than or equal to 530, got 600"),
        ({"bootstrap": "a:1", "prefix": "a b"}, r"kafka.prefix must .*, got 'a b'"),
        (
            {"bootstrap": "a:1", "security": "SASL_SSL"},
            r"kafka.username must be given for SASL_SSL, with either .*, got None",
        ),
        (
            SASL | {"password_env": "A", "password_file": "b"},
            r"kafka.username must be given for SASL_SSL, with either .*, got 'lab'",
        ),
        ({"bootstrap": "a:1", "username": "u"}, r"kafka.username must be left out without SASL, got security 'PLAIN"),
        ({"bootstrap": "a:1", "tls_ca": "x"}, r"kafka.tls_ca must be left out without TLS, got security 'PLAINTEXT'"),
        (
            {"bootstrap": "a:1", "security": "SSL", "tls_key": "k"},
            r"tls_certificate and tls_key must be given together",
        ),
        (
            {"bootstrap": "a:1", "security": "SSL", "tls_key_password_env": "A"},
            r"kafka.tls_key_password_env must be left out without tls_key, got 'A'",
        ),
        (
            {
                "bootstrap": "a:1",
                "security": "SSL",
                "tls_certificate": "c",
                "tls_key": "k",
                "tls_key_password_env": "A",
                "tls_key_password_file": "b",
            },
            r"kafka.tls_key_password_file must be given without tls_key_password_env, got both",
        ),
        ({"bootstrap": "a:1", "overflow": "spool"}, r"kafka.spool_dir must be given for overflow 'spool' only"),
        ({"bootstrap": "a:1", "spool_dir": "x"}, r"kafka.spool_dir must be given for overflow 'spool' only"),
        (
            SASL | {"password": SECRET},
            r"kafka.password must be a known setting \(did you mean 'password_env'\?\), got an unknown key",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, settings))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("server", ["a:1", "a.b.:65535", "a_b-c:9092", "bücher.example:9092", "[::1]:9092"])
def test_a_broker_is_named_by_any_address(server: str) -> None:
    assert KafkaSettings(bootstrap=server).servers == (server,)


def test_the_longest_waits_suit_the_client() -> None:
    settings = KafkaSettings(bootstrap="127.0.0.1:1", request_s=530.0, session_s=530.0, group_id="g")
    for arguments in (client_arguments(settings), consumer_arguments(settings)):
        assert arguments["request_timeout_ms"] < KafkaConsumer.DEFAULT_CONFIG["connections_max_idle_ms"]


@pytest.mark.parametrize("start", ["now", "offset:", "sample:-1", "earliest:3"])
def test_a_start_that_is_none_is_refused(tmp_path: Path, start: str) -> None:
    with pytest.raises(ConfigError, match=r"source.start must "):
        load_config(write(tmp_path, {"bootstrap": "a:1"}, {"kind": "kafka", "start": start}))


def test_the_password_is_read_from_the_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "kafka.secret").write_text(f"{SECRET}\nnot this\n", encoding="utf-8")
    config = load_config(write(tmp_path, SASL | {"password_file": "kafka.secret"}))
    assert config.kafka is not None
    assert client_arguments(config.kafka)["sasl_plain_password"] == SECRET


def test_the_password_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KAFKA", SECRET)
    settings = KafkaSettings(**SASL, password_env="LAB_KAFKA")
    assert producer_arguments(settings)["sasl_plain_password"] == SECRET
    assert consumer_arguments(settings)["sasl_plain_username"] == "lab"
    monkeypatch.delenv("LAB_KAFKA")
    with pytest.raises(ConfigError, match=r"kafka.password_env must name a variable .* that is set, got 'LAB_KAFKA'"):
        settings.password()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"kafka.password_file must be a readable text file, got .*: No such file"),
        (b"", r"kafka.password_file must have the secret in its first line, got an empty one"),
        (b"\xff\xfe", r"kafka.password_file must be a readable text file, got .*: bytes that are not UTF-8"),
    ],
)
def test_a_password_file_that_does_not_serve_is_said(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        KafkaSettings(**SASL, password_file=str(path)).password()


def test_no_secret_is_in_anything_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KAFKA", SECRET)
    config = load_config(write(tmp_path, SASL | {"password_env": "LAB_KAFKA"}))
    assert config.kafka is not None
    secret = config.kafka.password()
    written = [
        dump_config(config),
        config.model_dump_json(),
        json.dumps(config.model_dump(), default=str),
        repr(config),
        repr(secret),
        str(secret),
        f"{secret!r}",
    ]
    assert all(SECRET not in text for text in written)
    assert "LAB_KAFKA" in written[0]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that has signed the certificates of these tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


def tls(authority: Authority, **changes: Any) -> KafkaSettings:
    """Return the settings of a client whose key opens with `SECRET`, but for some changes."""
    client = authority.identity("lab@example.org", password=SECRET)
    files = {"tls_ca": authority.file, "tls_certificate": client.certificate, "tls_key": client.key}
    values = {"bootstrap": "a:9093", "security": "SSL", **{key: str(file) for key, file in files.items()}, **changes}
    return KafkaSettings(**values)


@pytest.mark.parametrize("name", ["tls_ca", "tls_certificate", "tls_key"])
@pytest.mark.parametrize("kind", ["missing", "folder", "nonsense"])
def test_a_tls_file_that_does_not_serve_is_named(authority: Authority, tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "file.pem"
    if kind == "nonsense":
        path.write_bytes(b"-----BEGIN NOTHING-----\n\xff")
    settings = tls(authority, **{name: str(path)})
    rule = "a file (with certificates|with a private key) in PEM" if kind == "nonsense" else "a file that can be read"
    for make in (client_arguments, producer_arguments, consumer_arguments, tls_context):
        with pytest.raises(ConfigError, match=rf"^kafka.{name} must be {rule}, got '{path}'"):
            make(settings)


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    settings = tls(authority, tls_key=str(authority.identity("other@example.org").key))
    with pytest.raises(
        ConfigError, match=r"^kafka.tls_key must be the key of kafka.tls_certificate '.*', got '.*other"
    ):
        client_arguments(settings)


def test_an_encrypted_key_without_a_password_asks_nobody(authority: Authority) -> None:
    with pytest.raises(ConfigError, match=r"^kafka.tls_key_password_file or _env must be given for an encrypted .*key"):
        client_arguments(tls(authority))


def test_a_password_that_does_not_open_the_key_is_not_shown(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KEY", "not-the-right-one")
    with pytest.raises(
        ConfigError, match=r"^kafka.tls_key_password_env must open kafka.tls_key '.*', got an"
    ) as caught:
        client_arguments(tls(authority, tls_key_password_env="LAB_KEY"))
    assert "not-the-right-one" not in str(caught.value)


def test_an_encrypted_key_opens_for_all_clients(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "key.secret").write_text(f"{SECRET}\n", encoding="utf-8")
    settings = tls(authority, tls_key_password_file=str(tmp_path / "key.secret"), tls_check_hostname=False)
    arguments = client_arguments(settings)
    assert arguments["ssl_password"] == SECRET
    assert SECRET not in repr(arguments)
    assert SECRET not in repr(settings) + settings.model_dump_json()
    context = tls_context(settings)
    assert context is not None
    assert not context.check_hostname
    assert aiokafka_arguments(settings)["ssl_context"] is context
    assert faust_arguments(settings)["broker_credentials"].context is context


def test_a_certificate_that_is_being_renewed_is_no_fault_of_a_running_program(authority: Authority) -> None:
    client = authority.identity("renewed@example.org")
    settings = tls(authority, tls_certificate=str(client.certificate), tls_key=str(client.key))
    before = client_arguments(settings)
    client.certificate.unlink()
    assert client_arguments(settings) == before


def test_tls_files_are_found_from_home(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(authority.file.parent))
    client = authority.identity("home@example.org")
    named = {"tls_ca": authority.file, "tls_certificate": client.certificate, "tls_key": client.key}
    settings = tls(authority, **{key: f"~/{file.name}" for key, file in named.items()})
    arguments = client_arguments(settings)
    found = [arguments[key] for key in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")]
    assert found == [str(file) for file in named.values()]


def test_a_user_of_scram_is_quoted_for_the_client_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_KAFKA", SECRET)
    account = {**SASL, "username": "lab=eeg,1", "password_env": "LAB_KAFKA"}
    names = [
        client_arguments(KafkaSettings(**account, sasl_mechanism=mechanism))["sasl_plain_username"]
        for mechanism in ("PLAIN", "SCRAM-SHA-256")
    ]
    assert names == ["lab=eeg,1", "lab=3Deeg=2C1"]


def test_every_client_logs_in_as_the_settings_say(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET, encoding="utf-8")
    account = {"bootstrap": "a:1", "security": "SASL_PLAINTEXT", "password_file": str(tmp_path / "password")}
    settings = KafkaSettings(**account, username="a=b", sasl_mechanism="SCRAM-SHA-256")
    shared = ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    expected = ("SCRAM-SHA-256", "a=b", SECRET)
    arguments = aiokafka_arguments(settings)
    assert tuple(arguments[name] for name in shared) == expected
    assert SECRET not in repr(arguments)
    faust = faust_arguments(settings)["broker_credentials"]
    assert (faust.mechanism.value, faust.username, faust.password) == expected
    assert client_arguments(settings)["sasl_plain_username"] == "a=3Db"  # it does not quote by itself
