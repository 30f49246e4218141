"""Servers that the suites of bus and store share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import flush_redis
from tests.services.brokers import Program, embedded


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The Valkey that a cluster brings along, one a worker."""
    server = embedded("valkey", tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey_url(valkey_server: Program) -> str:
    """The URL of that server with no keys in it."""
    flush_redis(valkey_server.port)
    return valkey_server.url
