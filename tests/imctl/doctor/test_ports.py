from __future__ import annotations

import os
import socket
from pathlib import Path

from imctl.cluster.client import ClusterInfo, NodeInfo
from imctl.cluster.ports import Wanted
from imctl.doctor.contract import Status
from imctl.doctor.ports import check_ports, own_ports

WANTED = [Wanted("comet-1 tcp", "127.0.0.1", 3101), Wanted("core registry", "127.0.0.1", 7171)]
WITH_TLS = [Wanted("comet-1 wss", "127.0.0.1", 3103)]


def rows_of(taken: dict[int, str], own: dict[int, str] | None = None):
    rows = check_ports(
        WANTED, WITH_TLS, own or {}, is_free=lambda host, port: port not in taken, holder=lambda port: taken[port]
    )
    return [(row.name, row.status, row.found) for row in rows]


def test_free_ports_share_a_row():
    assert rows_of({}) == [("ports", Status.OK, "3101 3103 7171")]


def test_a_taken_port_fails_and_says_who_has_it():
    assert rows_of({3101: "redis-server (pid 12)"}) == [
        ("ports", Status.OK, "3103 7171"),
        ("port 3101", Status.FAILED, "taken by redis-server (pid 12)"),
    ]


def test_a_holder_that_cannot_be_told_is_unknown():
    assert rows_of({7171: ""})[-1] == ("port 7171", Status.FAILED, "taken; by whom is unknown")


def test_a_port_of_more_options_is_a_warning_only():
    assert rows_of({3103: "nginx (pid 7)"})[-1] == ("port 3103", Status.WARNING, "taken by nginx (pid 7)")


def test_ports_of_the_cluster_that_runs_are_in_nobodys_way():
    assert rows_of({3101: "imctl node comet-1 (pid 3)", 7171: "x"}, {3101: "comet-1"}) == [
        ("ports", Status.OK, "3103"),
        ("ports in use", Status.OK, "3101"),
        ("port 7171", Status.WARNING, "taken by x"),
    ]


def test_a_socket_that_listens_is_found_as_it_is():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        (row,) = check_ports([Wanted("comet-1 tcp", "127.0.0.1", port)], [], {})

    assert row.status is Status.FAILED
    assert f"(pid {os.getpid()})" in row.found


def test_own_ports_are_those_of_all_nodes():
    nodes = (
        NodeInfo("core", "core", 1, {"logic.http": "127.0.0.1:3111", "registry.http": "127.0.0.1:7171"}),
        NodeInfo("comet-1", "comet", 2, {"tcp": "127.0.0.1:3101", "wss": None}),
    )
    info = ClusterInfo("a", "memory://", "memory://", None, nodes, "", 1, "", Path("c"), Path("l"), {})

    assert own_ports(info) == {3111: "core", 7171: "core", 3101: "comet-1"}
    assert own_ports(None) == {}
