import asyncio
import logging

import pytest
from aiohttp import web

from imctl.errors import ConfigError, ImctlError
from imctl.registry.config import RegistryConfig
from imctl.registry.factory import open_registry
from imctl.registry.node import RegistryServer
from tests.imctl.registry.test_registry_contract import Seen, comet, until
from tests.ports import free_port


def free_address():
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
async def started():
    """Return a function that starts a registry; all are stopped, also when the test fails."""
    servers = []

    async def start(address="127.0.0.1:0", **config):
        server = RegistryServer(RegistryConfig(port=int(address.rsplit(":", 1)[1]), **config))
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def connect(started):
    """Return a function that opens a client; all are closed before the registries stop."""
    clients = []

    def opened(nodes, **place):
        clients.append(open_registry(nodes, **place))
        return clients[-1]

    yield opened
    for client in clients:
        await client.close()


@pytest.fixture
async def fake():
    """Return a function that serves routes as a registry would and gives the address."""
    runners = []

    async def serve(**routes):
        app = web.Application()
        for path, handler in routes.items():
            app.router.add_route("*", f"/discovery/{path}" if path != "every" else "/{path:.*}", handler)
        runners.append(web.AppRunner(app, access_log=None, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        return f"127.0.0.1:{runners[-1].addresses[0][1]}"

    yield serve
    for runner in runners:
        await runner.cleanup()


async def test_register_and_watch_wait_for_a_registry_that_starts_later(started, connect):
    address = free_address()
    client = connect(address)
    seen = Seen(client)
    registering = asyncio.create_task(client.register(comet("comet-1")))
    await asyncio.sleep(0.1)

    await started(address)

    async with asyncio.timeout(10):
        await seen.hostnames("comet-1")
        await registering


async def test_news_ends_a_poll_that_is_held(started, connect):
    server = await started()
    node, watcher = (connect(server.addresses["registry.http"]) for _ in range(2))
    seen = Seen(watcher)
    await until(lambda: server.stats()["gauges"]["polls_held"])

    async with asyncio.timeout(10):  # a poll that nothing ends is held for 30 s
        await node.register(comet("comet-1"))
        await seen.hostnames("comet-1")


async def test_after_a_restart_of_the_registry_everybody_is_back_and_watchers_saw_nobody_leave(started, connect):
    server = await started()
    address = server.addresses["registry.http"]
    node, job = connect(address), connect(address)
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


async def test_a_set_finds_out_that_the_registry_has_forgotten_the_instance(started, connect):
    server = await started()
    address = server.addresses["registry.http"]
    node = connect(address)
    await node.register(comet("comet-1"))
    await server.stop()
    server = await started(address)
    seen = Seen(server.local)

    await node.set_metadata("goim.comet", "comet-1", {"a": "1"})
    (found,) = await seen.hostnames("comet-1")

    assert found.metadata == {"a": "1"}


async def test_set_while_the_registry_is_away_arrives_when_it_is_back(started, connect):
    server = await started()
    address = server.addresses["registry.http"]
    node = connect(address)
    await node.register(comet("comet-1"))
    await server.stop()

    await node.set_metadata("goim.comet", "comet-1", {"a": "1"})
    server = await started(address)
    (found,) = await Seen(server.local).hostnames("comet-1")

    assert found.metadata == {"a": "1"}


async def test_next_node_is_used_when_one_fails(started, connect):
    server = await started()
    client = connect([free_address(), f"http://{server.addresses['registry.http']}/"])

    await client.register(comet("comet-1"))
    await Seen(client).hostnames("comet-1")


async def test_failing_over_in_the_middle_keeps_the_watch_alive(started, connect):
    first, second = await started(), await started()
    client = connect([first.addresses["registry.http"], second.addresses["registry.http"]])
    seen = Seen(client)
    node = connect(first.addresses["registry.http"])
    await node.register(comet("comet-1"))
    await seen.hostnames("comet-1")

    await second.local.register(comet("comet-2"))
    await first.stop()
    # comet-1 has a moment to show up at the other node before it counts as gone.
    await seen.hostnames("comet-1", "comet-2")


async def test_register_is_given_up_when_its_caller_does(connect):
    client = connect(free_address())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.register(comet("comet-1"))

    with pytest.raises(LookupError):
        await client.set_metadata("goim.comet", "comet-1", {})


async def test_a_registry_that_is_not_there_is_told_once_while_it_is_waited_for(connect, fake, caplog):
    tries = []

    async def refuse(request):
        tries.append(request)
        return web.Response(status=503)

    client = connect(await fake(register=refuse))

    registering = asyncio.create_task(client.register(comet("comet-1")))
    await until(lambda: tries[2:])
    registering.cancel()
    await asyncio.wait([registering])

    assert ["cannot register yet" in record.getMessage() for record in caplog.records] == [True]


async def test_refused_registration_is_an_error_at_once(started, connect):
    server = await started(max_instances=1)
    client = connect(server.addresses["registry.http"])

    with pytest.raises(ImctlError, match="refused goim.comet comet-1 with code -400"):
        await client.register(comet("comet-1", status=0))


async def test_closing_without_a_registry_takes_a_bounded_time(started, connect):
    server = await started()
    client = connect(server.addresses["registry.http"])
    await client.register(comet("comet-1"))
    await server.stop()

    async with asyncio.timeout(5):
        await client.close()


async def test_first_discovery_that_fails_a_whole_poll_for_one_unknown_app_is_usable(connect, fake):
    async def polls(request):
        return web.json_response({"code": -404, "data": None})

    async def fetch(request):
        if request.query["appid"] != "goim.comet":
            return web.json_response({"code": -404, "data": None})
        one = {"appid": "goim.comet", "hostname": "comet-1", "addrs": ["grpc://a:1,http://a:2"], "zone": "z"}
        return web.json_response({"code": 0, "data": {"instances": {"z": [one]}, "latest_timestamp": 5}})

    client = connect(await fake(nodes=polls, polls=polls, fetch=fetch))
    other, seen = Seen(client, "goim.logic"), Seen(client)

    (found,) = await seen.hostnames("comet-1")

    assert found.addrs == ("grpc://a:1", "http://a:2")
    assert other.reports == []


@pytest.mark.parametrize(
    "body", ["", "no json", "[]", '{"code":"0"}', '{"code":0,"data":[]}', '{"code":0,"data":{"a":{}}}']
)
async def test_nonsense_from_a_registry_is_retried_not_believed(connect, fake, body, caplog):
    answers = []

    async def polls(request):
        answers.append(request.query_string)
        return web.Response(text=body)

    client = connect(await fake(every=polls))
    seen = Seen(client)
    await until(lambda: len(answers) >= 3)

    assert seen.reports == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("nodes", ["", [], " , ", "ftp://127.0.0.1:7171", "http://"])
def test_addresses_that_are_none_are_an_error_with_the_address_in_it(nodes):
    with pytest.raises(ConfigError, match="registry node"):
        open_registry(nodes)


async def test_an_instance_may_carry_its_own_place(started, connect):
    server = await started()
    client = connect(server.addresses["registry.http"], zone="sh002", region="bj")
    await client.register(comet("comet-1", zone="sh009"))
    await client.register(comet("comet-2"))

    found = await Seen(server.local).hostnames("comet-2", "comet-1")

    assert [(each.region, each.zone) for each in found] == [("bj", "sh002"), ("bj", "sh009")]
