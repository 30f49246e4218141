"""Brokers of their own for tests that stop them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import require_program
from tests.services.brokers import Program, durable_redis, mosquitto
from tests.services.kafka import KafkaBroker


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


@pytest.fixture
def mqtt_broker(tmp_path: Path) -> Iterator[Program]:
    server = mosquitto(require_program("mosquitto", "mosquitto"), tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["redis", "kafka", "mqtt"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """One of each kind; a new bus is a fixture more."""
    server: Broker = request.getfixturevalue(f"{request.param}_broker")
    return server
