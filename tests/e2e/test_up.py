"""`imctl up` and what goes with it, as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from protocol.aio.client import Client
from protocol.bodies import AuthToken
from tests.conftest import require_program
from tests.e2e.conftest import Imctl, wait_until
from tests.ports import free_port


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return json.load(reply)


def post(url: str, body: bytes) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=60) as reply:
        return json.load(reply)


def address(up: dict[str, Any], node: str, name: str) -> tuple[str, int]:
    found = next(item for item in up["nodes"] if item["name"] == node)["addresses"][name]
    host, _, port = found.rpartition(":")
    return host, int(port)


async def test_detached_cluster_from_up_to_down(imctl: Imctl) -> None:
    up = imctl.json("up", "--any-port", "--comet", "2", "--detach")

    assert {key: up[key] for key in ("cluster", "bus", "store", "messages")} == {
        "cluster": "default",
        "bus": "memory://",
        "store": "memory://",
        "messages": None,
    }
    assert [(node["name"], node["kind"]) for node in up["nodes"]] == [
        ("core", "core"),
        ("comet-1", "comet"),
        ("comet-2", "comet"),
    ]
    assert set(up["nodes"][0]["addresses"]) == {"logic.http", "logic.grpc", "registry.http"}
    assert imctl.json("wait", "--timeout", "80s")["nodes"] == 3
    env = imctl.json("env")
    assert env["IMCTL_LOGIC_HTTP"] == f"http://{up['nodes'][0]['addresses']['logic.http']}"
    assert len(env["IMCTL_COMET_TCP"].split(",")) == 2

    # At once: ready means that a push arrives.
    async with await Client.connect_tcp(*address(up, "comet-2", "tcp"), AuthToken(mid=1, accepts=(1000,))) as client:
        post(f"{env['IMCTL_LOGIC_HTTP']}/goim/push/mids?operation=1000&mids=1", b"hi")
        assert (await client.receive(30)).body == b"hi"

    rows = imctl.json("ps")["nodes"]
    assert [row["state"] for row in rows] == ["running"] * 3
    counters = {node["name"]: node["parts"] for node in imctl.json("stats")["nodes"]}
    assert counters["comet-2"]["comet"]["counters"]["accepted"] == 1
    assert "listens on" in imctl.run("logs", "core").stdout

    down = imctl.json("down")
    assert down["stopped"] is True
    assert imctl.processes() == []
    gone = imctl.run("ps")
    assert gone.returncode == 4
    assert "hint: imctl up" in gone.stderr


def test_two_clusters_at_once(imctl: Imctl) -> None:
    a, b = (imctl.json("up", "--cluster", name, "--any-port", "--detach") for name in "ab")

    assert a["registry"] != b["registry"]
    again = imctl.run("up", "--cluster", "a", "--any-port", "--detach")
    assert again.returncode == 1
    assert "cluster 'a' is already up" in again.stderr
    assert imctl.run("down", "--cluster", "a").returncode == 0
    assert imctl.json("ps", "--cluster", "b")["nodes"][0]["state"] == "running"
    assert imctl.run("--cluster", "b", "down").returncode == 0
    assert imctl.processes() == []


def test_foreground_shows_the_banner_and_drains_at_ctrl_c(imctl: Imctl) -> None:
    process = imctl.start("up", "--any-port")
    assert process.stdout is not None
    assert process.stderr is not None
    first = process.stdout.readline()

    process.send_signal(signal.SIGINT)
    # Not communicate(), which would lose what readline() has read ahead.
    out, err = process.stdout.read(), process.stderr.read()
    process.wait(timeout=80)

    assert first.startswith("cluster default is ready in ")
    for part in ("core", "comet-1", "logic.http", "memory://", "gone after a stop", 'imctl push --mid 1 "hi"'):
        assert part in out
    assert "asking clients to leave" in err
    assert process.returncode == 0
    assert imctl.processes() == []


def test_down_ends_a_foreground_cluster(imctl: Imctl) -> None:
    process = imctl.start("up", "--any-port", "--json")
    assert process.stdout is not None
    up = json.loads(process.stdout.readline())

    assert imctl.run("down").returncode == 0

    process.communicate(timeout=80)
    assert process.returncode == 0
    assert up["cluster"] == "default"


def test_a_terminal_that_is_closed_ends_a_foreground_cluster(imctl: Imctl) -> None:
    terminal, inside = os.openpty()
    process = imctl.start("up", "--any-port", terminal=inside)
    os.close(inside)
    seen = b""
    while b"end it:" not in seen:
        seen += os.read(terminal, 4096)

    os.close(terminal)  # now it can write nothing, not even that it stops

    process.wait(timeout=80)
    assert imctl.processes() == []
    assert not (imctl.folder / "default" / "state.json").exists()


def test_a_banner_that_nobody_reads_ends_the_cluster(imctl: Imctl) -> None:
    process = imctl.start("up", "--any-port")
    assert process.stdout is not None
    process.stdout.close()

    process.wait(timeout=80)

    assert process.returncode == 141
    assert imctl.processes() == []
    assert not (imctl.folder / "default" / "state.json").exists()


def test_nothing_outlives_a_supervisor_that_is_killed(imctl: Imctl) -> None:
    up = imctl.json("up", "--any-port", "--detach")
    pids = [node["pid"] for node in up["nodes"]]
    imctl.json("pause", "comet-1")
    supervisor = json.loads((imctl.folder / "default" / "state.json").read_text())["supervisor"]["pid"]

    os.kill(supervisor, signal.SIGKILL)

    wait_until(lambda: imctl.processes() == [], f"{pids} have ended")
    stale = imctl.run("ps")
    assert stale.returncode == 4
    assert f"supervisor (pid {supervisor}" in stale.stderr
    assert imctl.json("up", "--any-port", "--detach")["cluster"] == "default"
    assert imctl.run("down").returncode == 0


async def test_core_that_is_killed_comes_back_and_delivers_again(imctl: Imctl) -> None:
    up = imctl.json("up", "--any-port", "--detach")
    http = f"http://{up['nodes'][0]['addresses']['logic.http']}"

    imctl.json("kill", "core")
    imctl.json("wait", "--timeout", "80s")

    def comet_is_known() -> bool:
        node = next(node for node in imctl.json("stats")["nodes"] if node["name"] == "core")
        return bool(node["parts"] and node["parts"]["job"]["gauges"]["comets"])

    wait_until(comet_is_known, "the comet has registered again")
    async with await Client.connect_tcp(*address(up, "comet-1", "tcp"), AuthToken(mid=1, accepts=(1000,))) as client:
        post(f"{http}/goim/push/mids?operation=1000&mids=1", b"again")
        assert (await client.receive(30)).body == b"again"
    row = imctl.json("ps")["nodes"][0]
    assert (row["restarts"], row["last_exit"]) == (1, "signal SIGKILL")


async def test_a_client_that_stayed_while_core_was_killed_is_pushed_to_by_mid_again(imctl: Imctl) -> None:
    up = imctl.json("up", "--any-port", "--detach")
    http = up["nodes"][0]["addresses"]["logic.http"]
    async with await Client.connect_tcp(*address(up, "comet-1", "tcp"), AuthToken(mid=1, accepts=(1000,))) as client:
        imctl.json("kill", "core")
        imctl.json("wait", "--timeout", "80s")

        def session_is_known() -> bool:
            with urllib.request.urlopen(f"http://{http}/imctl/sessions?mids=1", timeout=60) as answer:
                return bool(json.load(answer)["data"]["mids"]["1"])

        wait_until(session_is_known, "the comet has told the new logic of its session")
        post(f"http://{http}/goim/push/mids?operation=1000&mids=1", b"still here")
        assert (await client.receive(30)).body == b"still here"


def test_taken_ports_are_all_told_with_their_holder(imctl: Imctl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ended = imctl.run("up", "--port-base", str(port - 2), "--detach")

    assert ended.returncode == 1
    assert f"comet-1 ws: address 127.0.0.1:{port} is in use by" in ended.stderr
    assert f"pid {os.getpid()}" in ended.stderr
    assert "--any-port" in ended.stderr
    assert imctl.processes() == []


def test_a_taken_port_of_a_node_by_itself_is_told_with_its_holder(imctl: Imctl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = imctl.run("node", "registry", "--set", f"port={taken.getsockname()[1]}")

    assert ended.returncode == 1
    assert f"pid {os.getpid()}" in ended.stderr
    assert "--set port=PORT" in ended.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["up", "--split"], 2, "lives in one process only"),
        (["up", "--logic", "2"], 2, "lives in one process only"),
        (["up", "--any-port", "--port-base", "5000"], 2, "exclude each other"),
        (["up", "--any-port", "--bus", "pigeon://x", "--detach"], 3, "pigeon://x"),
        (["up", "--any-port", "--bus", "pigeon://x"], 3, "pigeon://x"),
        (["up", "--any-port", "--store", "floppy://x", "--detach"], 3, "floppy://x"),
        (["up", "--any-port", "--registry", "http://127.0.0.1:1"], 4, "registry http://127.0.0.1:1 cannot be reached"),
        (["up", "--config", "/nowhere.toml"], 3, "/nowhere.toml: cannot be read"),
        (["ps", "--cluster", "../x"], 3, "cluster name"),
        (["wait", "--timeout", "100ms"], 27, "was not ready in 0.1 s: there is no cluster"),
        (["wait", "--timeout", "soon"], 2, "500ms"),
        (["logs"], 4, "has no logs"),
        (["node", "job"], 2, "lives in one process"),
        (["node", "comet"], 3, "no registry to join"),
        (["node", "comet", "--registry", "http://[::1"], 3, "registry node http://[::1: Invalid IPv6 URL"),
        (["node", "registry", "--set", "port=70000"], 3, "registry.port is 70000; expected a port from 0 to 65535"),
        (["up", "--any-port", "--registry", "http://[::1"], 3, "registry node http://[::1: Invalid IPv6 URL"),
        (["up", "--any-port", "--store", "redis://127.0.0.1:1?bogus=1"], 3, "unknown parameter 'bogus'"),
    ],
)
def test_what_cannot_be_done_is_told(imctl: Imctl, args: list[str], code: int, message: str) -> None:
    ended = imctl.run(*args)

    assert (ended.returncode, ended.stdout) == (code, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert imctl.processes() == []


def test_config_file_is_taken_and_options_win(imctl: Imctl, tmp_path: Path) -> None:
    config = tmp_path / "imctl.toml"
    config.write_text('[cluster]\ncomet = 3\nany_port = true\nstore = "fakeredis://"\n[comet]\nregion = "bj"\n')

    up = imctl.json("up", "--config", str(config), "--comet", "1", "--detach")

    assert up["store"] == "fakeredis://"
    assert [node["name"] for node in up["nodes"]] == ["core", "comet-1"]
    found = get(f"{up['registry']}/discovery/fetch?env=dev&appid=goim.comet&status=1&zone=sh001")
    assert found["data"]["instances"]["sh001"][0]["region"] == "bj"


async def test_tls_takes_clients_over_tls(imctl: Imctl) -> None:
    require_program("openssl", "openssl")

    up = imctl.json("up", "--any-port", "--tls", "--detach")

    context = ssl.create_default_context(cafile=str(imctl.folder / "default" / "tls" / "cert.pem"))
    token = AuthToken(mid=1, accepts=(1000,))
    async with await Client.connect_tcp(*address(up, "comet-1", "tls"), token, ssl=context) as tls:
        async with await Client.connect_ws(*address(up, "comet-1", "wss"), token, ssl=context) as wss:
            post(f"http://{up['nodes'][0]['addresses']['logic.http']}/goim/push/mids?operation=1000&mids=1", b"x")
            assert [(await client.receive(30)).body for client in (tls, wss)] == [b"x", b"x"]


def test_nodes_run_one_by_one_with_goims_flags(imctl: Imctl) -> None:
    core = imctl.start("node", "core", "--json", "--set", "port=0", "--set", "http_port=0", "--set", "grpc_port=0")
    assert core.stdout is not None
    registry = f"http://{json.loads(core.stdout.readline())['addresses']['registry.http']}"
    flags = ("--region", "bj", "--weight", "5", "--addrs", "1.2.3.4", "--offline", "--host", "edge-1")
    ports = ("--set", "tcp_port=0", "--set", "ws_port=0", "--set", "grpc_port=0")
    comet = imctl.start("node", "comet", "--json", "--registry", registry, *flags, *ports)
    assert comet.stdout is not None
    started = json.loads(comet.stdout.readline())

    found = get(f"{registry}/discovery/fetch?env=dev&appid=goim.comet&status=1&zone=sh001")
    instance = found["data"]["instances"]["sh001"][0]

    assert started["name"] == instance["hostname"] == "edge-1"
    assert instance["region"] == "bj"
    metadata = instance["metadata"]
    assert (metadata["weight"], metadata["addrs"], metadata["offline"]) == ("5", "1.2.3.4", "true")
    for process in (comet, core):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=80)
        assert process.returncode == 0


def test_env_can_be_evaluated_by_a_shell(imctl: Imctl) -> None:
    shell = shutil.which("sh")
    assert shell is not None
    imctl.json("up", "--any-port", "--detach")

    text = imctl.run("env").stdout
    ended = subprocess.run([shell, "-c", f'{text}\necho "$IMCTL_COMET_WS"'], capture_output=True, text=True, timeout=80)

    assert ended.stdout.startswith("ws://127.0.0.1:")
    assert ended.stdout.endswith("/sub\n")


def test_a_cluster_on_a_port_base_listens_where_it_was_told(imctl: Imctl) -> None:
    for _ in range(5):  # somebody else may take one of the ports between the choice and the start
        base = min(free_port(), 60000)
        ended = imctl.run("up", "--port-base", str(base), "--detach", "--json")
        if ended.returncode == 0:
            break
    up = json.loads(ended.stdout)

    assert address(up, "comet-1", "tcp")[1] == base + 1
    assert address(up, "core", "logic.http")[1] == base + 11
    assert address(up, "core", "registry.http")[1] == base + 71
