"""Brokers of their own for tests that stop them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import require_program
from tests.services.brokers import Program, durable_redis, mosquitto
from tests.services.kafka import KafkaBroker
from tests.services.tansu import TansuBroker

_numbers = itertools.count()


class Broker(Protocol):
    """A server that can go away and come back with what it had."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def redis_broker(tmp_path: Path) -> Iterator[Program]:
    server = durable_redis(require_program("redis-server", "redis-server"), tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def kafka_broker() -> Iterator[KafkaBroker]:
    server = KafkaBroker()
    try:
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TansuBroker]:
    server = TansuBroker(tmp_path_factory.mktemp("tansu"))
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def tansu_broker(tansu: TansuBroker) -> Iterator[TansuBroker]:
    tansu.new_topic(f"topic-{next(_numbers)}")
    yield tansu
    tansu.stop()  # a test may have left it so, or not
    tansu.start()


@pytest.fixture
def mqtt_broker(tmp_path: Path) -> Iterator[Program]:
    server = mosquitto(require_program("mosquitto", "mosquitto"), tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["redis", "kafka", pytest.param("tansu", marks=pytest.mark.soak), "mqtt"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """One of each kind; a new bus is a fixture more."""
    server: Broker = request.getfixturevalue(f"{request.param}_broker")
    return server
