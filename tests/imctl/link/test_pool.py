from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from imctl.link.client import StreamPeer
from imctl.link.contract import PeerUnavailableError
from imctl.link.local import LocalPeer, publish_local, withdraw_local
from imctl.link.methods import NODES, RECEIVE
from imctl.link.pool import PeerPool
from imctl.link.unary import UnaryPeer
from protocol.pb import logic
from tests.imctl.link.fakes import FakeRegistry, instance, serve

APP = "goim.logic"


def handlers(name: str) -> Any:
    return {NODES: lambda request: logic.NodesReply(domain=name), RECEIVE: lambda request: logic.ReceiveReply()}


class LocalNodes:
    """Nodes in this process under made-up addresses."""

    def __init__(self, *names: str) -> None:
        self.tables = {f"{name}:1": handlers(name) for name in names}

    def __enter__(self) -> None:
        for address, table in self.tables.items():
            publish_local(address, table)

    def __exit__(self, *_: object) -> None:
        for address, table in self.tables.items():
            withdraw_local(address, table)


async def domains(pool: PeerPool, count: int) -> list[str]:
    return [(await pool.call(NODES, logic.NodesReq())).domain for _ in range(count)]


async def test_an_empty_pool_fails_calls_at_once():
    pool = PeerPool(FakeRegistry(), APP)

    with pytest.raises(PeerUnavailableError, match=r"knows no goim\.logic"):
        await pool.call(RECEIVE, logic.ReceiveReq())
    with pytest.raises(PeerUnavailableError, match="after"):
        await pool.ready(0.01)
    assert not await pool.known(0.01)
    await pool.close()


async def test_known_is_true_after_the_first_answer_even_without_instances():
    registry = FakeRegistry()
    registry.set(APP)
    pool = PeerPool(registry, APP)

    assert await pool.known(5)
    assert pool.peers == {}
    await pool.close()


async def test_calls_go_round():
    registry = FakeRegistry()
    pool = PeerPool(registry, APP)
    with LocalNodes("a", "b", "c"):
        registry.set(APP, *(instance(APP, name, f"{name}:1") for name in "abc"))
        await pool.ready(5)

        assert await domains(pool, 6) == ["a", "b", "c", "a", "b", "c"]
    await pool.close()


async def test_weights_decide_how_often_and_are_spread():
    registry = FakeRegistry()
    pool = PeerPool(registry, APP)
    with LocalNodes("a", "b"):
        registry.set(APP, instance(APP, "a", "a:1", weight="30"), instance(APP, "b", "b:1", weight="10"))

        seen = await domains(pool, 80)

    assert Counter(seen) == {"a": 60, "b": 20}
    assert "bb" not in "".join(seen)
    await pool.close()


async def test_a_peer_that_is_not_there_is_passed_over():
    registry = FakeRegistry()
    pool = PeerPool(registry, APP)
    with LocalNodes("a", "b"):
        registry.set(APP, *(instance(APP, name, f"{name}:1") for name in "ab"))
        with LocalNodes("a"):
            pass

        assert await domains(pool, 4) == ["b"] * 4
    with pytest.raises(PeerUnavailableError):
        await pool.call(NODES, logic.NodesReq())
    await pool.close()


async def test_the_kind_of_link_follows_the_metadata_and_local_nodes_are_called_directly():
    registry = FakeRegistry()
    pool = PeerPool(registry, APP)
    with LocalNodes("local"):
        registry.set(
            APP,
            instance(APP, "local", "local:1"),
            instance(APP, "ours", "127.0.0.1:1"),
            instance(APP, "go", "127.0.0.1:1", batched=False),
            instance(APP, "no-grpc", ""),
        )

    assert {name: type(peer) for name, peer in pool.peers.items()} == {
        "local": LocalPeer,
        "ours": StreamPeer,
        "go": UnaryPeer,
    }
    await pool.close()


async def test_a_changed_address_gets_a_new_peer_and_others_stay():
    first, second = await serve(handlers("first")), await serve(handlers("second"))
    registry = FakeRegistry()
    changes: list[dict[str, Any]] = []
    pool = PeerPool(registry, APP, on_change=lambda peers: changes.append(dict(peers)))
    registry.set(APP, instance(APP, "moving", first.address), instance(APP, "staying", second.address))
    before = dict(pool.peers)
    assert (await before["moving"].call(NODES, logic.NodesReq())).domain == "first"

    registry.set(APP, instance(APP, "moving", second.address), instance(APP, "staying", second.address))

    assert pool.peers["staying"] is before["staying"]
    assert pool.peers["moving"] is not before["moving"]
    assert (await pool.peers["moving"].call(NODES, logic.NodesReq())).domain == "second"
    with pytest.raises(PeerUnavailableError):
        await before["moving"].call(NODES, logic.NodesReq())
    assert changes == [before, dict(pool.peers)]
    await pool.close()
    await first.stop(0)
    await second.stop(0)


async def test_an_update_that_changes_no_link_calls_nobody_back():
    registry = FakeRegistry()
    changes: list[object] = []
    pool = PeerPool(registry, APP, on_change=changes.append)
    with LocalNodes("a"):
        registry.set(APP, instance(APP, "a", "a:1"))
        registry.set(APP, instance(APP, "a", "a:1", conn_count="5"))

    assert len(changes) == 1
    await pool.close()


async def test_an_instance_that_left_is_called_no_more():
    registry = FakeRegistry()
    pool = PeerPool(registry, APP)
    with LocalNodes("a", "b"):
        registry.set(APP, *(instance(APP, name, f"{name}:1") for name in "ab"))
        registry.set(APP, instance(APP, "b", "b:1"))

        assert await domains(pool, 2) == ["b", "b"]
        registry.set(APP)
        with pytest.raises(PeerUnavailableError):
            await pool.ready(0.01)
    await pool.close()


async def test_accept_chooses_instances():
    registry = FakeRegistry()
    pool = PeerPool(registry, APP, accept=lambda instance: instance.hostname != "b")
    with LocalNodes("a", "b"):
        registry.set(APP, *(instance(APP, name, f"{name}:1") for name in "ab"))

        assert list(pool.peers) == ["a"]
    await pool.close()


async def test_after_close_updates_change_nothing():
    registry = FakeRegistry()
    pool = PeerPool(registry, APP)
    await pool.close()

    registry.set(APP, instance(APP, "a", "127.0.0.1:1"))
    await asyncio.sleep(0)

    assert pool.peers == {}
    await pool.close()
