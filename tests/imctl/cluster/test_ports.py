from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from imctl.cluster.ports import PortsInUseError, Wanted, check_ports, holder_of, port_is_free, with_holder
from imctl.errors import PortInUseError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_one_taken_port_is_told_with_its_holder(taken: int) -> None:
    with pytest.raises(PortInUseError, match=rf"comet-1 tcp: address 127\.0\.0\.1:{taken} is in use by") as caught:
        check_ports([Wanted("comet-1 tcp", "127.0.0.1", taken), Wanted("comet-1 ws", "127.0.0.1", 0)])

    assert f"pid {os.getpid()}" in caught.value.holder
    assert "--any-port" in caught.value.hint


def test_all_taken_ports_are_told_at_once(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PortsInUseError, match="2 addresses are in use") as caught:
            check_ports([Wanted("a tcp", "127.0.0.1", taken), Wanted("b tcp", "127.0.0.1", port)])

    assert [error.what for error in caught.value.taken] == ["a tcp", "b tcp"]
    assert f"127.0.0.1:{port}" in str(caught.value)


def test_a_node_by_itself_is_told_its_own_way_to_another_port(taken: int) -> None:
    error = with_holder(PortInUseError(f"127.0.0.1:{taken}", "comet tcp"), instead="another port: --set tcp_port=PORT")

    assert f"pid {os.getpid()}" in error.holder
    assert error.hint == "stop what holds it, or use another port: --set tcp_port=PORT"


def test_free_and_any_ports_pass(taken: int) -> None:
    assert not port_is_free("127.0.0.1", taken)

    check_ports([Wanted("a", "127.0.0.1", 0)])


def test_holder_of_a_port_nobody_has_is_empty() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert holder_of(port) == ""
