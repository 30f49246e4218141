"""The cluster under a scenario: found or started, and its nodes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from imctl.cli.printer import Printer
from imctl.cli.under_test import ClusterNodes, cluster_for, target_of
from imctl.cluster.client import ClusterInfo, NodeInfo
from imctl.errors import ClusterError
from sim.errors import SimError
from sim.run.nodes import NodeSample
from sim.run.probe import probe
from sim.scenario.scenario import Event, EventKind, Phase, Population, Scenario, Transport
from tests.sim.kit import scenario_of

CORE = NodeInfo("core", "core", 1, {"logic.http": "127.0.0.1:3111", "registry.http": "127.0.0.1:7171"})
COMETS = tuple(
    NodeInfo(f"comet-{n}", "comet", 1 + n, {"tcp": f"127.0.0.1:{n}1", "ws": f"127.0.0.1:{n}2", "wss": None})
    for n in (1, 2)
)


@pytest.fixture
def info(tmp_path):
    """A cluster whose supervisor is gone."""
    control = Path(tmp_path / "control.sock")
    return ClusterInfo("blue", "memory://", "memory://", None, (CORE, *COMETS), "", 1, "", control, tmp_path, {})


@pytest.fixture
def printer():
    return Printer(stderr=io.StringIO(), stdout=io.StringIO())


def test_a_target_has_every_comet_and_every_logic(info):
    target = target_of(info)

    assert target.name == "cluster blue"
    assert target.tcp == (("127.0.0.1", 11), ("127.0.0.1", 21))
    assert target.ws == (("127.0.0.1", 12), ("127.0.0.1", 22))
    assert target.http == (("127.0.0.1", 3111),)


def test_the_nodes_are_the_processes(info, printer):
    assert list(ClusterNodes(info, printer).nodes) == ["core", "comet-1", "comet-2"]


@pytest.mark.parametrize("what", ["kill", "pause", "resume", "restart"])
async def test_a_fault_that_the_supervisor_does_not_carry_out_is_an_error_of_the_run(info, printer, what):
    with pytest.raises(SimError, match="cluster 'blue' .* cannot be reached"):
        await getattr(ClusterNodes(info, printer), what)("comet-1")


async def test_nodes_that_cannot_be_asked_are_a_warning(info, printer):
    assert await ClusterNodes(info, printer).sample(1.0) == []
    assert "the nodes were not asked" in printer.stderr.getvalue()


async def test_of_a_process_that_has_ended_neither_memory_nor_cpu_is_told(monkeypatch, info, printer):
    asked = []

    class Control:
        def __init__(self, info):
            pass

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

        async def stats(self, within_s):
            asked.append(within_s)
            gone = {"name": "comet-1", "pid": None, "cpu_s": 0.0, "rss_bytes": 0, "drops": {}}
            return [gone, {"name": "core", "pid": 7, "cpu_s": 0.0, "rss_bytes": 4096, "drops": {"job.full": 1}}]

    monkeypatch.setattr("imctl.cli.under_test.ControlClient", Control)

    samples = await ClusterNodes(info, printer).sample(0.5)

    assert samples == [NodeSample("comet-1"), NodeSample("core", 7, 0.0, 4096, {"job.full": 1})]
    assert asked == [0.5]


async def test_a_cluster_asked_for_by_name_has_to_be_there(monkeypatch, tmp_path, printer):
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path))

    with pytest.raises(ClusterError, match="no cluster 'blue'"):
        async with cluster_for(scenario_of(), "blue", printer):
            raise AssertionError


async def test_a_private_cluster_ends_with_its_run_and_its_nodes_can_be_paused(monkeypatch, tmp_path, printer):
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path))

    async with cluster_for(scenario_of(), "default", printer) as private:
        nodes = ClusterNodes(private, printer)
        await nodes.pause("comet-1")
        await nodes.resume("comet-1")
        await nodes.resume("comet-1")  # once more does no harm
        with pytest.raises(SimError, match="there is no node 'comet-9'"):
            await nodes.kill("comet-9")
        samples = await nodes.sample(2.0)

    assert [sample.name for sample in samples] == ["core", "comet-1"]
    assert list(tmp_path.glob("*")) == []
    assert "starting a private one" in printer.stderr.getvalue()


async def test_a_private_cluster_has_the_comets_and_the_certificate_that_the_scenario_needs(
    monkeypatch, tmp_path, printer
):
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path))
    people = Population("viewers", 2, ((Transport.TLS, 0.5), (Transport.WSS, 0.5)), keys="k")
    elsewhere = Event(1.0, EventKind.TAKE_OVER, "viewers", other_comet=True)
    scenario = Scenario("t", 1, (people,), (), (Phase("steady", 2.0),), events=(elsewhere,))

    async with cluster_for(scenario, "default", printer) as private:
        target = target_of(private)
        await probe(scenario, target)  # trusts the certificate

    assert (len(target.tls), len(target.wss)) == (2, 2)
    assert list(tmp_path.glob("*")) == []
