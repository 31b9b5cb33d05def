"""Fixtures of the integration tests; importing `tests.integration.lsl` puts LSL out of sight of the network."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.brokers import (
    AUTHORIZER,
    PASSWORD,
    USER,
    ApacheBroker,
    Broker,
    embedded,
    running_apache,
    topic_prefix_of,
)
from tests.integration.live import Start, starting
from tests.integration.lsl import SESSION_ID, make_outlet
from tests.integration.playing import Play, playing


@pytest.fixture(scope="session")
def lsl_session() -> str:
    """The id that all LSL streams of this test run share; fails if liblsl was in use before it was set."""
    session_id = str(make_outlet("session-check").get_info().session_id())
    assert session_id == SESSION_ID
    return session_id


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start commands of the program; they are ended with the test."""
    with starting(tmp_path) as run:
        yield run


@pytest.fixture
def play() -> Iterator[Play]:
    """Start players in this process; they are ended with the test."""
    with playing() as run:
        yield run


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    """The embedded broker, one per worker of a parallel run."""
    with embedded() as broker:
        yield Broker("embedded", broker.bootstrap)


@pytest.fixture(scope="session")
def apache_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka: one that runs already, or one per worker; skips where there is none."""
    running = running_apache()
    if running is not None:
        yield Broker("apache", running)
        return
    with ApacheBroker(tmp_path_factory.mktemp("kafka") / "data") as broker:
        yield Broker("apache", broker.bootstrap)


@pytest.fixture(params=["embedded", "apache"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the two brokers in turn; tests share them, so use `topic_prefix`."""
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found


@pytest.fixture(scope="session")
def restartable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheBroker]:
    """Apache Kafka that tests kill; ask for `restartable_broker`, which serves."""
    with ApacheBroker(tmp_path_factory.mktemp("kafka-restartable") / "data") as broker:
        yield broker


@pytest.fixture
def restartable_broker(restartable: ApacheBroker) -> ApacheBroker:
    """Apache Kafka that may be killed and started again on its data and port; one after another uses it."""
    restartable.serve()
    return restartable


@pytest.fixture(scope="session")
def sasl_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka that asks for a user (`tests.integration.brokers.USER`) and a password, over SASL PLAIN.

    Its authorizer allows what no rule of a test is about; `tests.integration.brokers.ADMIN` may all.
    """
    data = tmp_path_factory.mktemp("kafka-sasl") / "data"
    with ApacheBroker(data, *AUTHORIZER, user=f"{USER}:{PASSWORD}") as broker:
        yield Broker("apache", broker.bootstrap)


@pytest.fixture
def collected() -> Iterator[None]:
    """Collect what Kafka's client left behind while the test's own rules for warnings still hold."""
    yield
    gc.collect()


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A prefix for the topics of this test alone."""
    return topic_prefix_of(request.node.name)
