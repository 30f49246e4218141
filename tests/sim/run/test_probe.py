import asyncio

import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.cluster.tls import self_signed
from sim.errors import SimError, TargetError
from sim.run.probe import probe
from sim.run.runner import run_scenario
from sim.run.target import Target
from sim.scenario.scenario import Event, EventKind, Population, Publisher, PublishTo, Scenario, Transport
from tests.sim.kit import ScriptedComet, message, scenario_of, swarm_of, until

EACH = tuple((transport, 0.25) for transport in Transport)
MIXED = Population("mixed", 8, EACH, ("live://1",))


def scenario(*clients, events=(), publish=()):
    return Scenario("t", 1, clients, publish, scenario_of().phases, path="a.yaml", events=tuple(events))


def people(*transports, **keys):
    return Population("viewers", 4, tuple((one, 1 / len(transports)) for one in transports), **keys)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return tuple(map(str, self_signed(tmp_path_factory.mktemp("tls"), "127.0.0.1")))


@pytest.fixture
async def target(certificate):
    """A cluster that listens for every transport."""
    cert, key = certificate
    settings = {"comet": {"tls_port": 0, "wss_port": 0, "tls_cert": cert, "tls_key": key}}
    async with LocalCluster(settings=settings) as cluster:
        addresses = cluster.assemblies[1].addresses

        def here(name):
            host, _, port = addresses[name].rpartition(":")
            return ((host, int(port)),)

        host, _, port = cluster.http.rpartition(":")
        yield Target("local", here("tcp"), here("ws"), ((host, int(port)),), here("tls"), here("wss"), cert)


async def test_clients_get_in_by_every_transport(target):
    swarm = swarm_of(scenario(MIXED), target)
    await swarm.connect()
    sockets = [client.transport.get_extra_info("ssl_object") for client in swarm.clients]
    await swarm.close()

    assert (swarm.connected, swarm.failed) == (8, 0)
    assert [sock is not None for sock in sockets] == [client.plan.transport.is_tls for client in swarm.clients]
    assert {client.plan.transport for client in swarm.clients} == set(Transport)


async def test_a_run_over_tls_counts_every_message(target, monkeypatch):
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)
    publish = (Publisher(PublishTo.ROOM, "mixed", 40.0),)

    report = (await run_scenario(scenario(MIXED, publish=publish), target, workers=1)).report

    assert (report.delivery.expected, report.delivery.lost, report.delivery.unexpected) == (8 * 40, 0, 0)


@pytest.mark.parametrize("verify", [{"tls_verify": False}, {"tls_ca": True}], ids=["unchecked", "own ca"])
async def test_a_certificate_that_is_not_the_clusters_own_needs_a_word(target, certificate, verify):
    verify = {key: certificate[0] if key == "tls_ca" else value for key, value in verify.items()}
    foreign = Target("foreign", target.tcp, target.ws, target.http, target.tls, target.wss)

    with pytest.raises(TargetError, match="comet tls .*: its certificate is not trusted: self"):
        await probe(scenario(people(Transport.TLS)), foreign)
    await probe(scenario(people(Transport.TLS, Transport.WSS, **verify)), foreign)


async def test_a_transport_nobody_listens_for_is_told_before_anything_runs():
    with pytest.raises(TargetError) as caught:
        await probe(scenario(people(Transport.WSS)), Target("cluster x", (("h", 1),), (), ()))

    assert (caught.value.message, caught.value.hint) == (
        "cluster x has no comet that listens for wss",
        "with --tls `imctl up` starts one that does",
    )


async def test_a_listener_without_tls_is_told():
    async with ScriptedComet() as comet:
        target = Target("t", (), (), (), comet.target.tcp, ())

        with pytest.raises(TargetError, match="comet tls 127.0.0.1:.* cannot be reached"):
            await probe(scenario(people(Transport.TLS, tls_verify=False)), target)


async def test_another_comet_has_to_be_there():
    event = Event(1.0, EventKind.TAKE_OVER, "viewers", other_comet=True, line=7, column=3)

    with pytest.raises(SimError) as caught:
        await probe(scenario(people(Transport.TCP), events=[event]), Target("cluster x", (("h", 1),), (), ()))

    assert caught.value.message == "a.yaml:7:3: take_over with comet: other: cluster x has one comet for tcp"
    assert caught.value.hint == "with --comet 2 `imctl up` starts two"


async def test_a_source_has_to_be_an_address_of_this_machine():
    with pytest.raises(SimError, match="source 203.0.113.7 is no address of this machine"):
        await probe(scenario(people(Transport.TCP, sources=("127.0.0.1", "203.0.113.7"))), Target("t", (), (), ()))


async def test_a_certificate_file_that_holds_none_is_told(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("nothing")

    with pytest.raises(SimError, match=r"ca\.pem: no certificates can be read"):
        await probe(scenario(people(Transport.TLS, tls_ca=str(path))), Target("t", (), (), (), (("h", 1),)))


async def test_clients_connect_from_their_sources_in_turn():
    sources = ("127.0.0.2", "127.0.0.5")
    async with ScriptedComet() as comet:
        swarm = swarm_of(scenario_of(count=6, sources=sources), comet.target)
        await swarm.connect()
        found = {client.plan.index: client.transport.get_extra_info("sockname")[0] for client in swarm.clients}
        comet.connections[0].send(message(0, 0))
        await until(lambda: swarm.tallies[0].settle() or swarm.delivered)
        await swarm.close()

    assert found == {index: sources[index % 2] for index in range(6)}


async def test_a_source_may_be_given_for_a_host_that_is_a_name():
    async with ScriptedComet() as comet:
        target = Target("t", (("localhost", comet.port),), (), ())
        swarm = swarm_of(scenario_of(count=2, sources=("127.0.0.3",)), target)
        await asyncio.wait_for(swarm.connect(), 10)
        await swarm.close()

    assert (swarm.connected, swarm.connector.failures) == (2, {})
