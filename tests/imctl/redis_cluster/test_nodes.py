from __future__ import annotations

import asyncio

import pytest

from imctl.bus.contract import BusError
from imctl.bus.factory import open_bus
from imctl.bus.resp import RedisAddress
from imctl.bus.url import parse_bus_url
from imctl.errors import ConfigError
from imctl.messages.factory import open_messages
from imctl.redis_cluster.nodes import ClusterNodes
from imctl.redis_cluster.url import CLUSTER_SCHEMES, cluster_hint
from imctl.store.factory import open_store
from tests.imctl.redis_cluster.fakes import cluster

OPENERS = [open_bus, open_store, open_messages]


def nowhere(unused_tcp_port: int) -> RedisAddress:
    return RedisAddress("127.0.0.1", unused_tcp_port)


async def test_the_first_node_that_answers_is_believed_and_asked_first_from_then_on(unused_tcp_port):
    async with cluster() as (_made, a, b):
        nodes = ClusterNodes([nowhere(unused_tcp_port), b.address, a.address])

        first, second = await nodes.look(5), await nodes.look(5)

    assert first.owner(0) == second.owner(0) == a.address
    assert first.owner(16383) == b.address
    assert (a.looks, b.looks) == (0, 2)


async def test_nodes_that_are_named_are_asked_when_the_first_has_gone():
    async with cluster() as (_made, a, b):
        nodes = ClusterNodes([a.address])
        await nodes.look(5)
        await a.stop()

        found = await nodes.look(5)

    assert found.owner(16383) == b.address


async def test_a_node_that_says_nothing_does_not_keep_the_next_from_being_asked():
    async with cluster() as (_made, a, b):
        a.is_mute = True
        nodes = ClusterNodes([a.address, b.address])

        async with asyncio.timeout(10):
            found = await nodes.look(60)

    assert found.owner(0) == a.address


async def test_a_map_is_kept_until_it_is_forgotten_and_who_failed_is_asked_last():
    async with cluster() as (_made, a, b):
        nodes = ClusterNodes([a.address])
        first = await nodes.slots(5)
        assert await nodes.slots(5) is first

        nodes.forget(first, failed=a.address)
        second = await nodes.slots(5)
        nodes.forget(first)

        assert await nodes.slots(5) is second
    assert (a.looks, b.looks) == (1, 1)


async def test_a_node_whose_cluster_is_down_is_passed_over():
    async with cluster() as (_made, a, b):
        a.info = b"cluster_state:fail\r\n"
        nodes = ClusterNodes([a.address, b.address])

        await nodes.look(5)
        b.info = a.info
        with pytest.raises(BusError, match=f"{b.address}: its cluster is down; redis {a.address}: its cluster is down"):
            await nodes.look(5)


async def test_that_no_node_answers_is_told_of_each(unused_tcp_port):
    async with cluster(1) as (_made, a):
        a.is_mute = True

        with pytest.raises(BusError, match="no node of the cluster can be used: ") as told:
            await ClusterNodes([nowhere(unused_tcp_port), a.address]).look(0.1)

    assert f"redis 127.0.0.1:{unused_tcp_port}: " in told.value.message
    assert f"redis {a.address}: no connection within 0.1 s" in told.value.message
    assert told.value.hint


async def test_a_redis_without_a_cluster_is_told_with_its_url(redis_url, unused_tcp_port):
    host = redis_url.removeprefix("redis://").removesuffix("/0")

    with pytest.raises(BusError, match="cluster support disabled") as told:
        await ClusterNodes.of_url(parse_bus_url(f"redis+cluster://{host},127.0.0.1:{unused_tcp_port}")).look(5)

    assert told.value.hint == f"a Redis without a cluster: redis://{host}"


@pytest.mark.parametrize("scheme", CLUSTER_SCHEMES)
def test_a_url_names_nodes_and_how_to_get_in(scheme):
    parsed = parse_bus_url(f"{scheme}://me:p%40ss@a:7000,b,[::1]:7001?ssl_cert_reqs=none")
    nodes = ClusterNodes.of_url(parsed)

    seeds = nodes._seeds
    assert [(node.host, node.port) for node in seeds] == [("a", 7000), ("b", 6379), ("::1", 7001)]
    assert {(node.username, node.password, node.db) for node in seeds} == {("me", "p@ss", 0)}
    assert all((node.tls is not None) == scheme.startswith(("rediss", "valkeys")) for node in seeds)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+cluster://", "expected one or more nodes of the cluster"),
        ("redis+cluster://:s3cret@a/mymaster", "database 'mymaster' is not a number"),
        ("redis+cluster://:s3cret@a?bogus=1", "unknown parameter 'bogus'"),
        ("redis+cluster://:s3cret@a?ssl_ca_certs=/none.pem", "unknown parameter 'ssl_ca_certs'"),
        ("rediss+cluster://:s3cret@a?ssl_ca_certs=/none.pem", "TLS files"),
        ("redis+cluster://:s3cret@a:port", "is not host:port"),
    ],
)
@pytest.mark.parametrize("opened", OPENERS)
def test_what_is_wrong_with_a_url_is_told(url, message, opened):
    with pytest.raises(ConfigError, match=message) as told:
        opened(url)

    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("shown", "right"),
    [
        ("redis://:***@h:1/0?x=1", "redis+cluster://:***@h:1/0?x=1"),
        ("valkeys://h:1", "valkeys+cluster://h:1"),
        ("unix:///run/redis.sock", "redis+cluster://HOST:PORT"),
        ("redis+sentinel://h/m", "redis+cluster://HOST:PORT"),
    ],
)
def test_the_hint_names_the_url_of_a_cluster(shown, right):
    assert cluster_hint(shown) == f"this is a node of a Redis Cluster, whose URL is {right}"
