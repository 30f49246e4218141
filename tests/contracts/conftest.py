"""Servers that the suites of bus and store share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imctl.cluster.services import ServiceSpec, program_of
from tests.conftest import flush_redis
from tests.services.brokers import Program, embedded
from tests.services.redis_cluster import RedisNodes


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


@pytest.fixture(scope="session")
def valkey_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNodes]:
    """A cluster of the Valkey that a goim cluster brings along, one a worker."""
    folder = tmp_path_factory.mktemp("valkey-cluster")
    with RedisNodes(program_of(ServiceSpec("valkey", 0), 0, folder)[0][0], folder).running() as nodes:
        yield nodes


@pytest.fixture
def valkey_cluster_url(valkey_nodes: RedisNodes) -> str:
    """The URL of that cluster with no keys in it."""
    valkey_nodes.flush()
    return valkey_nodes.url(kind="valkey")
