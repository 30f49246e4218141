from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from imctl.cluster.client import ClusterInfo, ControlClient, find_cluster
from imctl.cluster.control import ControlServer, dump_error, load_error
from imctl.cluster.ports import PortsInUseError
from imctl.cluster.spec import OptionsError
from imctl.cluster.state import ClusterFolder, StateError, process_start
from imctl.errors import ClusterError, ConfigError, ImctlError, PortInUseError, StartError

SUMMARY = {
    "cluster": "a",
    "bus": "memory://",
    "store": "memory://",
    "registry": "http://127.0.0.1:7171",
    "started_at": "2026-01-01T00:00:00+00:00",
    "nodes": [
        {"name": "core", "kind": "core", "pid": 1, "addresses": {"logic.http": "127.0.0.1:3111"}},
        {"name": "comet-1", "kind": "comet", "pid": 2, "addresses": {"tcp": "127.0.0.1:3101", "wss": None}},
        {"name": "comet-2", "kind": "comet", "pid": 3, "addresses": {"tcp": "127.0.0.1:3201", "ws": "127.0.0.1:3202"}},
        {"name": "logic-2", "kind": "logic", "pid": 4, "addresses": {"http": "127.0.0.1:3211"}},
    ],
}


def write_state(pid: int, start: str) -> ClusterFolder:
    folder = ClusterFolder("a")
    folder.path.mkdir(parents=True)
    folder.write(
        {
            **SUMMARY,
            "supervisor": {"pid": pid, "start": start},
            "control": str(folder.control),
            "logs": str(folder.logs),
        }
    )
    return folder


async def handle(cmd: str, fields: Mapping[str, Any]) -> Any:
    match cmd:
        case "echo":
            return dict(fields)
        case "fail":
            raise StartError("it did not start", hint="try again")
        case "hang":
            return await asyncio.Event().wait()
    raise ValueError(cmd)


@pytest.fixture
def info() -> ClusterInfo:
    write_state(os.getpid(), process_start(os.getpid()))
    return find_cluster("a")


@pytest.fixture
async def server(info: ClusterInfo) -> AsyncIterator[ControlServer]:
    server = ControlServer(info.control, handle)
    await server.start()
    yield server
    await server.stop(0.1)


def test_a_running_cluster_is_found_with_its_addresses(info: ClusterInfo) -> None:
    assert info.logic_http == "127.0.0.1:3111"
    assert info.addresses("logic", "http") == ["127.0.0.1:3111", "127.0.0.1:3211"]
    assert info.comet_tcp == ["127.0.0.1:3101", "127.0.0.1:3201"]
    assert info.comet_ws == ["127.0.0.1:3202"]
    assert info.comet_wss == []
    assert [node.name for node in info.nodes] == ["core", "comet-1", "comet-2", "logic-2"]


def test_no_cluster_says_how_to_start_one() -> None:
    with pytest.raises(ClusterError, match="there is no cluster 'default'") as caught:
        find_cluster("default")

    assert caught.value.hint == "imctl up"


@pytest.mark.parametrize("start", ["", "1"])
def test_the_state_of_a_dead_cluster_is_known_by_the_start_of_its_process(start: str) -> None:
    # This test's own pid: as if the system had given the supervisor's number to somebody else.
    folder = write_state(os.getpid(), start)

    with pytest.raises(ClusterError, match="'a' is gone") as caught:
        find_cluster("a")

    assert str(folder.state) in str(caught.value)
    assert "imctl up --cluster a" in caught.value.hint


MISSING = [
    ("bus", "bus is missing; expected text"),
    ("registry", "registry is missing; expected text or null"),
    ("nodes", "nodes is missing; expected a list"),
    ("control", "control is missing; expected text"),
]


@pytest.mark.parametrize(("key", "why"), MISSING)
def test_a_state_file_without_a_key_names_it(key: str, why: str) -> None:
    folder = write_state(os.getpid(), process_start(os.getpid()))
    state = folder.read() or {}
    folder.write({name: value for name, value in state.items() if name != key})

    with pytest.raises(StateError, match=f"{folder.state} cannot be used: {why}"):
        find_cluster("a")


NODE = {"name": "core", "kind": "core", "pid": None, "addresses": {"http": "h:1"}}


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (3, r"nodes\[0\] is 3; expected a mapping"),
        ({**NODE, "pid": "1"}, r'nodes\[0\]\.pid is "1"; expected a whole number or null'),
        ({**NODE, "addresses": {"http": 80}}, r"nodes\[0\]\.addresses\.http is 80; expected text or null"),
    ],
)
def test_a_state_file_with_another_form_of_node_names_it(node: object, why: str) -> None:
    folder = write_state(os.getpid(), process_start(os.getpid()))
    folder.write({**(folder.read() or {}), "nodes": [node]})

    with pytest.raises(StateError, match=why):
        find_cluster("a")


def test_a_dead_cluster_is_known_from_its_supervisor_alone() -> None:
    folder = ClusterFolder("a")
    folder.make()
    folder.write({"supervisor": {"pid": os.getpid(), "start": "1"}})

    with pytest.raises(ClusterError, match=rf"supervisor \(pid {os.getpid()}\) ended without a word"):
        find_cluster("a")


async def test_requests_are_answered_in_order(info: ClusterInfo, server: ControlServer) -> None:
    async with ControlClient(info) as control:
        first = await control.call("echo", node="x")
        second = await control.call("echo", node="y")

    assert (first["node"], second["node"]) == ("x", "y")


async def test_an_error_crosses_with_its_class_and_hint(info: ClusterInfo, server: ControlServer) -> None:
    async with ControlClient(info) as control:
        with pytest.raises(StartError, match="it did not start") as caught:
            await control.call("fail")

    assert caught.value.hint == "try again"


async def test_what_is_not_understood_is_answered_and_the_connection_lives(
    info: ClusterInfo, server: ControlServer
) -> None:
    reader, writer = await asyncio.open_unix_connection(str(info.control))

    writer.write(b'not json\n{"no": "cmd"}\n{"cmd": "echo"}\n')
    replies = [json.loads(await reader.readline()) for _ in range(3)]
    writer.close()
    await writer.wait_closed()

    assert [reply["ok"] for reply in replies] == [False, False, True]


async def test_a_supervisor_that_does_not_answer_is_told_in_time(info: ClusterInfo, server: ControlServer) -> None:
    async with ControlClient(info, timeout_s=0.3) as control:
        with pytest.raises(ClusterError, match=r"did not answer hang: no answer within 0\.3 s"):
            await control.call("hang")


async def test_a_socket_nobody_listens_on_is_unreachable(info: ClusterInfo) -> None:
    with pytest.raises(ClusterError, match="cannot be reached"):
        async with ControlClient(info):
            pass


async def test_stop_removes_the_socket_and_is_safe_twice(info: ClusterInfo, server: ControlServer) -> None:
    await server.stop()
    await server.stop()

    assert not Path(info.control).exists()


@pytest.mark.parametrize(
    "exc",
    [
        ConfigError("bad", hint="good"),
        OptionsError("both"),
        PortInUseError("127.0.0.1:1", "comet tcp", "x (pid 1)"),
        PortsInUseError((PortInUseError("127.0.0.1:1", "comet tcp", "x (pid 1)"), PortInUseError("h:2", "comet ws"))),
        ImctlError("plain"),
    ],
)
def test_errors_survive_json(exc: ImctlError) -> None:
    loaded = load_error(json.loads(json.dumps(dump_error(exc))))

    assert (type(loaded), str(loaded), loaded.hint) == (type(exc), str(exc), exc.hint)


def test_an_error_of_pythons_keeps_its_name_in_the_text() -> None:
    loaded = load_error(dump_error(KeyError("x")))

    assert str(loaded) == "KeyError: 'x'"
