import asyncio
import logging
import socket

import pytest
from aiohttp import web

from imctl.errors import ConfigError, ImctlError
from imctl.registry.client import DiscoveryRegistry
from imctl.registry.config import RegistryConfig
from imctl.registry.factory import open_registry
from imctl.registry.node import RegistryServer
from protocol.discovery_api import Instance
from tests.imctl.registry.test_registry_contract import TIMEOUT_S, Seen, comet


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def started(address="127.0.0.1:0", **config):
    server = RegistryServer(RegistryConfig(port=int(address.rsplit(":", 1)[1]), **config))
    await server.start()
    return server


async def test_register_and_watch_wait_for_a_registry_that_starts_later():
    address = free_address()
    client = open_registry(address)
    seen = Seen(client)
    registering = asyncio.create_task(client.register(comet("comet-1")))
    await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()

    server = await started(address)
    up_at = loop.time()
    await seen.hostnames("comet-1")
    await registering

    assert loop.time() - up_at < 2
    await client.close()
    await server.stop()


async def test_news_arrives_within_milliseconds():
    server = await started()
    node, watcher = (open_registry(server.addresses["registry.http"]) for _ in range(2))
    seen = Seen(watcher)
    async with asyncio.timeout(TIMEOUT_S):
        while not server.stats()["gauges"]["polls_held"]:
            await asyncio.sleep(0.005)
    loop = asyncio.get_running_loop()

    before = loop.time()
    await node.register(comet("comet-1"))
    await seen.hostnames("comet-1")

    assert loop.time() - before < 0.5  # some 3 ms on an idle machine
    await node.close()
    await watcher.close()
    await server.stop()


async def test_after_a_restart_of_the_registry_everybody_is_back_and_watchers_saw_nobody_leave():
    server = await started()
    address = server.addresses["registry.http"]
    node, job = open_registry(address), open_registry(address)
    await node.register(comet("comet-1"))
    await node.set_metadata("goim.comet", "comet-1", {"conn_count": "7"})
    own_watch, seen = Seen(node, "goim.logic"), Seen(job)
    await seen.until(lambda instances: instances[0].metadata.get("conn_count") == "7")

    await server.stop()
    server = await started(address)
    back = Seen(server.local)
    (found,) = await back.hostnames("comet-1")
    await server.local.register(comet("comet-2"))
    await seen.hostnames("comet-1", "comet-2")

    assert found.metadata == {"conn_count": "7"}
    assert () not in seen.reports
    own_watch.watch.close()
    await node.close()
    await job.close()
    await server.stop()


async def test_a_set_finds_out_that_the_registry_has_forgotten_the_instance():
    server = await started()
    address = server.addresses["registry.http"]
    node = open_registry(address)
    await node.register(comet("comet-1"))
    await server.stop()
    server = await started(address)
    seen = Seen(server.local)

    await node.set_metadata("goim.comet", "comet-1", {"a": "1"})
    (found,) = await seen.hostnames("comet-1")

    assert found.metadata == {"a": "1"}
    await node.close()
    await server.stop()


async def test_set_while_the_registry_is_away_arrives_when_it_is_back():
    server = await started()
    address = server.addresses["registry.http"]
    node = open_registry(address)
    await node.register(comet("comet-1"))
    await server.stop()

    await node.set_metadata("goim.comet", "comet-1", {"a": "1"})
    server = await started(address)
    (found,) = await Seen(server.local).hostnames("comet-1")

    assert found.metadata == {"a": "1"}
    await node.close()
    await server.stop()


async def test_next_node_is_used_when_one_fails():
    server = await started()
    client = DiscoveryRegistry([free_address(), f"http://{server.addresses['registry.http']}/"])

    await client.register(comet("comet-1"))
    await Seen(client).hostnames("comet-1")

    await client.close()
    await server.stop()


async def test_failing_over_in_the_middle_keeps_the_watch_alive():
    first, second = await started(), await started()
    client = DiscoveryRegistry([first.addresses["registry.http"], second.addresses["registry.http"]])
    seen = Seen(client)
    await first.local.register(comet("comet-1"))
    await seen.hostnames("comet-1")

    await second.local.register(comet("comet-2"))
    await first.stop()
    # comet-1 has a moment to show up at the other node before it counts as gone.
    await seen.hostnames("comet-1", "comet-2")

    await client.close()
    await second.stop()


async def test_register_is_given_up_when_its_caller_does():
    client = open_registry(free_address())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.register(comet("comet-1"))

    with pytest.raises(LookupError):
        await client.set_metadata("goim.comet", "comet-1", {})
    await client.close()


async def test_refused_registration_is_an_error_at_once():
    server = await started(max_instances=1)
    client = open_registry(server.addresses["registry.http"])

    with pytest.raises(ImctlError, match="refused goim.comet comet-1 with code -400"):
        await client.register(comet("comet-1", status=0))

    await client.close()
    await server.stop()


async def test_closing_without_a_registry_takes_a_bounded_time():
    server = await started()
    client = open_registry(server.addresses["registry.http"])
    await client.register(comet("comet-1"))
    await server.stop()

    async with asyncio.timeout(5):
        await client.close()


async def test_first_discovery_that_fails_a_whole_poll_for_one_unknown_app_is_usable():
    async def polls(request):
        return web.json_response({"code": -404, "data": None})

    async def fetch(request):
        if request.query["appid"] != "goim.comet":
            return web.json_response({"code": -404, "data": None})
        one = {"appid": "goim.comet", "hostname": "comet-1", "addrs": ["grpc://a:1,http://a:2"], "zone": "z"}
        return web.json_response({"code": 0, "data": {"instances": {"z": [one]}, "latest_timestamp": 5}})

    app = web.Application()
    app.router.add_get("/discovery/polls", polls)
    app.router.add_get("/discovery/fetch", fetch)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = open_registry("127.0.0.1:%d" % runner.addresses[0][1])
    other, seen = Seen(client, "goim.logic"), Seen(client)

    (found,) = await seen.hostnames("comet-1")

    assert found.addrs == ("grpc://a:1", "http://a:2")
    assert other.reports == []
    await client.close()
    await runner.cleanup()


@pytest.mark.parametrize("body", ["", "no json", "[]", '{"code":"0"}', '{"code":0,"data":[]}', '{"code":0,"data":{"a":{}}}'])
async def test_nonsense_from_a_registry_is_retried_not_believed(body, caplog):
    answers = []

    async def polls(request):
        answers.append(request.query_string)
        return web.Response(text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", polls)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = open_registry("127.0.0.1:%d" % runner.addresses[0][1])
    seen = Seen(client)
    async with asyncio.timeout(TIMEOUT_S):
        while len(answers) < 3:
            await asyncio.sleep(0.01)

    assert seen.reports == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    await client.close()
    await runner.cleanup()


@pytest.mark.parametrize("nodes", ["", [], " , ", "ftp://127.0.0.1:7171", "http://"])
def test_addresses_that_are_none_are_an_error_with_the_address_in_it(nodes):
    with pytest.raises(ConfigError, match="registry node"):
        open_registry(nodes)


async def test_an_instance_may_carry_its_own_place():
    server = await started()
    client = open_registry(server.addresses["registry.http"], zone="sh002", region="bj")
    await client.register(comet("comet-1", zone="sh009"))
    await client.register(Instance(appid="goim.comet", hostname="comet-2"))

    found = await Seen(server.local).hostnames("comet-2", "comet-1")

    assert [(each.region, each.zone) for each in found] == [("bj", "sh002"), ("bj", "sh009")]
    await client.close()
    await server.stop()
