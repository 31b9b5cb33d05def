"""Settings of Kafka: what is refused, and that no secret is ever written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.kafka import KafkaSettings
from config.kafka_client import client_arguments, consumer_arguments, producer_arguments
from config.loading import ConfigFaults, dump_config, load_config

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
    with pytest.raises(ConfigFaults, match=r"kafka.bootstrap must be given for a source of kind 'kafka', got nothing"):
        load_config(str(path))


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match=r"source.stream_id must be left out for kind 'lsl', it belongs to kind"):
        load_config(write(tmp_path, {"bootstrap": "a:1"}, {"stream_id": "x"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bootstrap": "a"}, r"kafka.bootstrap must be host:port, with commas between several, got 'a'"),
        ({"bootstrap": "a:1,,b:2"}, r"kafka.bootstrap must be host:port, .*, got ''"),
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
        ({"bootstrap": "a:1", "overflow": "spool"}, r"kafka.spool_dir must be given for overflow 'spool' only"),
        ({"bootstrap": "a:1", "spool_dir": "x"}, r"kafka.spool_dir must be given for overflow 'spool' only"),
        (SASL | {"password": SECRET}, r"kafka.password must be a known setting, got an unknown key"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigFaults, match=message) as caught:
        load_config(write(tmp_path, settings))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("start", ["now", "offset:", "sample:-1", "earliest:3"])
def test_a_start_that_is_none_is_refused(tmp_path: Path, start: str) -> None:
    with pytest.raises(ConfigFaults, match=r"source.start must "):
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
    with pytest.raises(ConfigFaults, match=r"kafka.password_env must name a variable .* that is set, got 'LAB_KAFKA'"):
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
    with pytest.raises(ConfigFaults, match=message):
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
