"""The supervisor with real processes; each is a registry alone, which starts quickest."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest

from imctl.cluster.client import ControlClient, find_cluster
from imctl.cluster.spec import ClusterSpec, OptionsError, ProcessSpec
from imctl.cluster.state import ClusterFolder
from imctl.cluster.supervisor import Event, Supervisor
from imctl.errors import ClusterError, ConfigError, PortInUseError, StartError
from tests.imctl.cluster.conftest import registry_cluster, registry_process


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Watched:
    """A supervisor and the events it told."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()
        self.supervisor = Supervisor(spec, on_event=self._on_event)

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, text: str) -> None:
        async with asyncio.timeout(80):
            while not any(text in event.text for event in self.events):
                self._news.clear()
                await self._news.wait()

    async def __aenter__(self) -> Watched:
        await self.supervisor.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.supervisor.stop(1.0)


async def test_start_publishes_the_cluster_and_stop_takes_it_away() -> None:
    async with Watched(registry_cluster()) as watched:
        info = find_cluster("default")
        address = info.nodes[0].address("registry", "http") or info.nodes[0].addresses["registry.http"]
        pid = info.nodes[0].pid

        assert info.registry == f"http://{address}"
        assert json.loads(ClusterFolder("default").state.read_text())["nodes"] == watched.supervisor.summary()["nodes"]

    assert pid is not None
    assert not exists(pid)
    with pytest.raises(ClusterError):
        find_cluster("default")
    assert watched.supervisor.stopped.is_set()


async def test_ps_and_stats_show_the_process() -> None:
    async with Watched(registry_cluster()), ControlClient(find_cluster("default")) as control:
        row = (await control.ps())["nodes"][0]
        stats = (await control.stats())[0]

    assert (row["name"], row["kind"], row["state"], row["restarts"]) == ("registry", "registry", "running", 0)
    assert row["rss_bytes"] > 1_000_000
    assert row["uptime_s"] >= 0
    assert stats["parts"]["registry"]["kind"] == "registry"
    assert stats["problem"] == ""


async def test_a_killed_process_is_started_again_on_its_port_and_shown_so() -> None:
    async with Watched(registry_cluster()) as watched:
        before = find_cluster("default").nodes[0]
        async with ControlClient(find_cluster("default")) as control:
            await control.kill("registry")
            await watched.until("running again")
            row = (await control.ps())["nodes"][0]
        after = find_cluster("default").nodes[0]

    assert after.addresses == before.addresses
    assert after.pid != before.pid
    assert (row["restarts"], row["last_exit"], row["state"]) == (1, "signal SIGKILL", "running")
    assert any(event.warning and "restarting now" in event.text for event in watched.events)


async def test_restart_returns_when_the_node_is_back() -> None:
    async with Watched(registry_cluster()), ControlClient(find_cluster("default")) as control:
        before = find_cluster("default").nodes[0]
        result = await control.restart("registry", grace_s=1.0)
        after = find_cluster("default").nodes[0]

    assert result["pid"] == after.pid != before.pid
    assert after.addresses == before.addresses


async def test_a_paused_process_is_shown_so_and_answers_again_after_resume() -> None:
    async with Watched(registry_cluster()), ControlClient(find_cluster("default")) as control:
        await control.pause("registry")
        paused = (await control.ps())["nodes"][0]["state"]
        problem = (await control.stats())[0]["problem"]
        await control.resume("registry")
        resumed = (await control.stats())[0]

    assert paused == "paused"
    assert "is paused" in problem
    assert (resumed["state"], resumed["problem"]) == ("running", "")


async def test_a_paused_process_does_not_keep_the_cluster_from_ending() -> None:
    async with Watched(registry_cluster()) as watched:
        info = find_cluster("default")
        async with ControlClient(info) as control:
            await control.pause("registry")
            await control.down(grace_s=1.0)
        async with asyncio.timeout(20):
            await watched.supervisor.stopped.wait()

    pid = info.nodes[0].pid
    assert pid is not None
    assert not exists(pid)


async def test_an_unknown_node_is_told_with_those_that_are_there() -> None:
    async with Watched(registry_cluster()), ControlClient(find_cluster("default")) as control:
        with pytest.raises(OptionsError, match=r"no node 'comet-9'; there are: registry"):
            await control.kill("comet-9")


async def test_a_second_cluster_of_the_same_name_is_refused_and_harms_nothing() -> None:
    async with Watched(registry_cluster()):
        with pytest.raises(StartError, match="already up"):
            await Supervisor(registry_cluster()).start()

        assert find_cluster("default").nodes[0].pid is not None


async def test_two_clusters_of_different_names() -> None:
    async with Watched(registry_cluster("a")), Watched(registry_cluster("b")):
        assert find_cluster("a").registry != find_cluster("b").registry


async def test_a_port_that_is_taken_is_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        spec = ClusterSpec("default", (registry_process(port=port),), "memory://", "memory://", None)

        with pytest.raises(PortInUseError, match=rf"127\.0\.0\.1:{port} is in use by .*pid {os.getpid()}"):
            await Supervisor(spec).start()

    with pytest.raises(ClusterError, match="there is no cluster"):
        find_cluster("default")


async def test_the_holder_of_a_port_is_named_with_its_cluster() -> None:
    async with Watched(registry_cluster("a")):
        [node] = find_cluster("a").nodes
        port = int(str(node.addresses["http"]).rpartition(":")[2])
        spec = ClusterSpec("b", (registry_process(port=port),), "memory://", "memory://", None)

        with pytest.raises(PortInUseError) as caught:
            await Supervisor(spec).start()

    assert caught.value.holder == f"registry of cluster a (pid {node.pid})"


async def test_a_node_that_cannot_start_is_told_and_nothing_is_left() -> None:
    # A comet with no registry to join.
    lone = ProcessSpec("comet-1", "comet", {"comet": {"tcp_port": 0, "ws_port": 0, "grpc_port": 0}})
    supervisor = Supervisor(ClusterSpec("default", (lone,), "memory://", "memory://", None))

    with pytest.raises(ConfigError, match="there is no registry to join"):
        await supervisor.start()

    assert ClusterFolder("default").read() is None
    assert "no registry to join" in (ClusterFolder("default").logs / "comet-1.log").read_text()


async def test_abort_ends_at_once() -> None:
    async with Watched(registry_cluster()) as watched:
        pid = find_cluster("default").nodes[0].pid
        watched.supervisor.stop(30.0)
        watched.supervisor.abort()
        async with asyncio.timeout(20):
            await watched.supervisor.stopped.wait()

    assert pid is not None
    assert not exists(pid)


async def test_log_of_a_process_is_in_its_file(state_dir: Path) -> None:
    async with Watched(registry_cluster()):
        pass

    assert "listens on" in (state_dir / "default" / "logs" / "registry.log").read_text()
    assert "ready in" in (state_dir / "default" / "logs" / "supervisor.log").read_text()


async def test_a_cluster_that_nobody_will_ask_about_leaves_nothing(state_dir: Path) -> None:
    supervisor = Supervisor(registry_cluster(), keep_logs=False)
    await supervisor.start()

    await supervisor.stop()

    assert list(state_dir.iterdir()) == []


async def test_the_terminals_ctrl_c_does_not_reach_a_node() -> None:
    async with Watched(registry_cluster()):
        node = find_cluster("default").nodes[0]
        assert node.pid is not None
        os.kill(node.pid, signal.SIGINT)

        async with ControlClient(find_cluster("default")) as control:
            row = (await control.ps())["nodes"][0]
            assert (await control.stats())[0]["problem"] == ""

    assert (row["pid"], row["restarts"]) == (node.pid, 0)


async def test_the_registry_of_the_cluster_answers_http() -> None:
    async with Watched(registry_cluster()):
        url = f"{find_cluster('default').registry}/discovery/nodes"
        reply = await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(url, timeout=60)))

    assert reply["code"] == 0
