"""What every registry promises, whichever way it is reached."""

import asyncio

import pytest

from imctl.registry.client import DiscoveryRegistry
from imctl.registry.config import RegistryConfig
from imctl.registry.node import RegistryServer
from protocol.discovery_api import Instance

TIMEOUT_S = 10


async def until(condition):
    """Wait for something in this process that has no event of its own."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  # a registry has no event for it
            await asyncio.sleep(0.005)


class Seen:
    """The reports of one watch."""

    def __init__(self, registry, appid="goim.comet"):
        self.reports = []
        self._news = asyncio.Event()
        self.watch = registry.watch(appid, self._report)

    def _report(self, instances):
        self.reports.append(instances)
        self._news.set()

    async def until(self, wanted):
        async with asyncio.timeout(TIMEOUT_S):
            while not (self.reports and wanted(self.reports[-1])):
                self._news.clear()
                await self._news.wait()
        return self.reports[-1]

    async def hostnames(self, *wanted):
        return await self.until(lambda instances: tuple(each.hostname for each in instances) == wanted)


@pytest.fixture
async def server():
    server = RegistryServer(RegistryConfig(port=0))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(params=["local", "discovery"])
async def connect(request, server):
    """Return a function that gives another user of the same registry."""
    opened = []

    def one_more():
        if request.param == "local":
            registry = server.local
        else:
            registry = DiscoveryRegistry([server.addresses["registry.http"]])
        opened.append(registry)
        return registry

    yield one_more
    for registry in opened:
        await registry.close()


def comet(hostname, **more):
    return Instance(appid="goim.comet", hostname=hostname, addrs=(f"grpc://127.0.0.1:1#{hostname}",), **more)


async def test_watch_sees_who_registered_before_and_after(connect):
    nodes, job = connect(), connect()
    await nodes.register(comet("comet-1", metadata={"weight": "10"}))

    seen = Seen(job)
    (first,) = await seen.hostnames("comet-1")
    await nodes.register(comet("comet-2"))
    both = await seen.hostnames("comet-1", "comet-2")

    assert first.metadata == {"weight": "10"}
    assert (first.region, first.zone, first.env, first.status) == ("sh", "sh001", "dev", 1)
    assert first.addrs == ("grpc://127.0.0.1:1#comet-1",)
    assert seen.watch.instances == both


async def test_watch_before_anybody_is_called_with_the_first(connect):
    job, nodes = connect(), connect()
    seen = Seen(job)
    assert seen.watch.instances == ()

    await nodes.register(comet("comet-1"))
    await seen.hostnames("comet-1")

    assert () not in seen.reports


async def test_set_metadata_merges_and_reaches_watchers_with_a_new_timestamp(connect):
    nodes, logic = connect(), connect()
    await nodes.register(comet("comet-1", metadata={"weight": "10"}))
    seen = Seen(logic)
    (before,) = await seen.hostnames("comet-1")

    await nodes.set_metadata("goim.comet", "comet-1", {"conn_count": "5"})
    (after,) = await seen.until(lambda instances: "conn_count" in instances[0].metadata)

    assert after.metadata == {"weight": "10", "conn_count": "5"}
    assert after.latest_timestamp > before.latest_timestamp


async def test_of_many_sets_in_a_row_the_last_one_is_never_lost(connect):
    nodes, logic = connect(), connect()
    await nodes.register(comet("comet-1"))
    seen = Seen(logic)

    for count in range(50):
        await nodes.set_metadata("goim.comet", "comet-1", {"conn_count": str(count)})

    await seen.until(lambda instances: instances[0].metadata.get("conn_count") == "49")


async def test_cancel_also_of_the_last_instance_reaches_watchers(connect):
    nodes, job = connect(), connect()
    await nodes.register(comet("comet-1"))
    await nodes.register(comet("comet-2"))
    seen = Seen(job)
    await seen.hostnames("comet-1", "comet-2")

    await nodes.cancel("goim.comet", "comet-1")
    await seen.hostnames("comet-2")
    await nodes.cancel("goim.comet", "comet-2")
    await seen.hostnames()
    await nodes.cancel("goim.comet", "comet-2")

    await nodes.register(comet("comet-3"))
    await seen.hostnames("comet-3")


async def test_closing_a_registry_cancels_its_registrations(connect, server):
    nodes = connect()
    await nodes.register(comet("comet-1"))
    seen = Seen(server.local)
    await seen.hostnames("comet-1")

    if nodes is server.local:
        await nodes.close()
        assert seen.watch.instances == ()
    else:
        await nodes.close()
        await seen.hostnames()


async def test_registering_again_replaces_addresses(connect):
    nodes, job = connect(), connect()
    await nodes.register(comet("comet-1"))
    seen = Seen(job)
    await seen.hostnames("comet-1")

    await nodes.register(Instance(appid="goim.comet", hostname="comet-1", addrs=("grpc://127.0.0.1:2",)))

    await seen.until(lambda instances: instances[0].addrs == ("grpc://127.0.0.1:2",))


async def test_closed_watch_is_not_called_again_and_others_are(connect):
    nodes, job = connect(), connect()
    await nodes.register(comet("comet-1"))
    closed, other = Seen(job), Seen(job)
    await closed.hostnames("comet-1")
    await other.hostnames("comet-1")

    closed.watch.close()
    closed.watch.close()
    reports = len(closed.reports)
    await nodes.register(comet("comet-2"))
    await other.hostnames("comet-1", "comet-2")

    assert len(closed.reports) == reports


async def test_watches_of_several_apps_do_not_mix(connect):
    nodes, logic = connect(), connect()
    comets, logics = Seen(logic), Seen(logic, "goim.logic")

    await nodes.register(Instance(appid="goim.logic", hostname="logic-1", addrs=("grpc://127.0.0.1:3119",)))
    await nodes.register(comet("comet-1"))

    await comets.hostnames("comet-1")
    await logics.hostnames("logic-1")


async def test_instances_of_another_environment_or_waiting_are_not_seen(connect):
    nodes, job = connect(), connect()
    seen = Seen(job)

    await nodes.register(comet("comet-prod", env="prod"))
    await nodes.register(comet("comet-waiting", status=2))
    await nodes.register(comet("comet-far", zone="bj001"))

    await seen.hostnames("comet-far")


async def test_a_failing_watcher_costs_nobody_else(connect, caplog):
    nodes, job = connect(), connect()

    def fail(instances):
        raise RuntimeError("watcher")

    job.watch("goim.comet", fail)
    seen = Seen(job)
    await nodes.register(comet("comet-1"))
    await seen.hostnames("comet-1")
    await nodes.register(comet("comet-2"))
    await seen.hostnames("comet-1", "comet-2")

    assert "a watcher of goim.comet failed" in caplog.text


async def test_set_of_an_instance_that_is_not_registered_here_is_an_error(connect):
    with pytest.raises(LookupError, match=r"goim\.comet nobody"):
        await connect().set_metadata("goim.comet", "nobody", {})


async def test_registrations_are_renewed():
    server = RegistryServer(RegistryConfig(port=0, renew_every_s=0.02))
    await server.start()
    client = DiscoveryRegistry([server.addresses["registry.http"]], renew_every_s=0.02)
    await client.register(comet("far"))
    await server.local.register(comet("near"))

    await until(lambda: server.stats()["counters"]["renewed"] >= 9)

    near = server.local.watch("goim.comet", lambda instances: None)
    assert all(each.renew_timestamp > each.reg_timestamp for each in near.instances)
    await client.close()
    await server.stop()
