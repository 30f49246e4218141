"""Hooks in a whole cluster: what clients see, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.hooks.context import Delivery, HookContext, Message
from imctl.hooks.contract import (
    ClientEvent,
    ConnectEvent,
    HookError,
    Identity,
    PushEvent,
    PushTarget,
    ReceiveEvent,
    ReceiveReply,
    Refusal,
    RoomEvent,
    RoomReply,
    StoreReply,
)
from protocol.aio import AuthRefusedError, Client
from protocol.aio.errors import ConnectionClosedError
from protocol.bodies import AuthToken
from protocol.operation import Operation
from tests.imctl.comet.raw import eventually

HERE = "tests.imctl.hooks.test_in_cluster"


class Gate:
    """Lets users with an odd mid into vip rooms, for as long as `open` says so."""

    open = True
    asked: list[RoomEvent]

    def __init__(self, again_s: float = 0.0) -> None:
        self.again_s = again_s
        Gate.open, Gate.asked = True, []

    async def enter_room(self, event: RoomEvent) -> RoomReply:
        Gate.asked.append(event)
        if not event.room.startswith("vip://"):
            return RoomReply(True)
        return RoomReply(Gate.open and event.mid % 2 == 1, "not_vip", self.again_s)


class Tokens:
    """Tokens of tests: `user N`, and some that make the hook misbehave."""

    async def authenticate(self, event: ConnectEvent) -> Any:
        word, _, rest = event.token.decode().partition(" ")
        match word:
            case "user":
                return Identity(int(rest), accepts=(1000,), grant=b"granted")
            case "hang":
                await asyncio.Event().wait()
            case "raise":
                raise RuntimeError("oops")
            case "exit":
                raise SystemExit(3)
            case "wrong":
                return "not an identity"
            case "refused":
                return Refusal("expired")
        return None


class Bouncer:
    """Throws out every user it is told of, before or after its comet routes to the session."""

    async def start(self, context: HookContext) -> None:
        self.context = context

    async def connected(self, event: ClientEvent) -> None:
        deliverer = self.context.deliverer
        assert await deliverer.kick(event.server, [event.key], "banned", sessions=[event.session])


class Witness:
    """Writes down what it is told, and keeps pushes to user 9."""

    told: list[tuple[str, ClientEvent]]
    kept: list[PushEvent]
    received: list[ReceiveEvent]
    context: HookContext

    def __init__(self) -> None:
        Witness.told, Witness.kept, Witness.received = [], [], []

    async def start(self, context: HookContext) -> None:
        Witness.context = context

    async def connected(self, event: ClientEvent) -> None:
        Witness.told.append(("connected", event))

    async def registered(self, event: ClientEvent) -> None:
        Witness.told.append(("registered", event))

    async def disconnected(self, event: ClientEvent) -> None:
        Witness.told.append(("disconnected", event))

    async def receive(self, event: ReceiveEvent) -> ReceiveReply:
        Witness.received.append(event)
        return ReceiveReply()

    async def store_message(self, event: PushEvent) -> StoreReply:
        if event.body == b"full":
            raise HookError("the disk is full")
        Witness.kept.append(event)
        return StoreReply(frozenset({9}) & frozenset(event.mids))


@asynccontextmanager
async def cluster_with(*hooks: str, comets: int = 1, **logic: Any) -> AsyncIterator[LocalCluster]:
    async with LocalCluster(comets=comets, settings={"logic": {"hooks": hooks, **logic}}) as cluster:
        yield cluster


async def connect(cluster: LocalCluster, token: AuthToken | bytes, comet: int = 0, *, ws: bool = False) -> Client:
    host, _, port = (cluster.ws if ws else cluster.tcp_all[comet]).rpartition(":")
    open_client = Client.connect_ws if ws else Client.connect_tcp
    return await open_client(host, int(port), token)


def user(mid: int, room: str = "", key: str = "") -> AuthToken:
    return AuthToken(mid=mid, room_id=room, key=key, accepts=(1000,))


async def push(cluster: LocalCluster, where: str, body: bytes) -> dict[str, Any]:
    url = f"http://{cluster.http}/goim/push/{where}operation=1000"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as reply:
        found: dict[str, Any] = await reply.json(content_type=None)
        return found


def counters_of(cluster: LocalCluster) -> dict[str, int]:
    return cluster.node("logic").stats()["counters"]  # type: ignore[return-value]  # it is one of counts


def drops(cluster: LocalCluster) -> dict[str, int]:
    return cluster.node("logic").stats()["drops"]  # type: ignore[return-value]  # it is one of counts


# --- rooms ----------------------------------------------------------------------


@pytest.mark.parametrize("ws", [False, True])
async def test_who_may_not_be_in_a_room_never_gets_a_byte_of_it(ws):
    async with cluster_with(f"{HERE}:Gate") as cluster:
        with pytest.raises(AuthRefusedError):
            await connect(cluster, user(2, "vip://1"), ws=ws)
        async with await connect(cluster, user(2, "live://1"), ws=ws) as outsider:
            async with await connect(cluster, user(1, "vip://1"), ws=ws) as insider:
                await outsider.change_room("vip://1")
                await push(cluster, "room?type=vip&room=1&", b"secret")
                await push(cluster, "room?type=live&room=1&", b"open")

                assert (await insider.receive(5)).body == b"secret"
                # What comes to the outsider first is of the room where it still is.
                assert (await outsider.receive(5)).body == b"open"
                assert outsider.queued == 0
        assert drops(cluster) == {"hooks.Gate.room_refused": 2}
        assert cluster.stats()["comet-1"]["comet"]["counters"]["refused.room"] == 1


async def test_who_may_be_in_a_room_changes_into_it_and_out_again():
    async with cluster_with(f"{HERE}:Gate") as cluster:
        async with await connect(cluster, user(1)) as client:
            await client.change_room("vip://1")
            assert await client.heartbeat() == 1
            await push(cluster, "room?type=vip&room=1&", b"in")
            assert (await client.receive(5)).body == b"in"

            await client.change_room("")
            await push(cluster, "room?type=vip&room=1&", b"out")
            await push(cluster, "mids?mids=1&", b"mark")
            assert (await client.receive(5)).body == b"mark"


async def test_a_right_that_is_taken_away_ends_within_the_time_the_policy_has_set():
    async with cluster_with(f"{HERE}:Gate?again_s=0.1") as cluster:
        async with await connect(cluster, user(1, "vip://1")) as client:
            await eventually(lambda: len(Gate.asked) >= 3)  # it stays for as long as it may
            await push(cluster, "room?type=vip&room=1&", b"before")
            assert (await client.receive(5)).body == b"before"

            Gate.open = False
            comet = cluster.node("comet-1")
            await eventually(lambda: comet.stats()["counters"].get("room_taken"))
            await push(cluster, "room?type=vip&room=1&", b"after")
            await push(cluster, "mids?mids=1&", b"mark")

            assert (await client.receive(5)).body == b"mark"
            assert {event.moment.value for event in Gate.asked} == {"connect", "again"}


async def test_a_grant_comes_back_with_every_question():
    async with cluster_with(f"{HERE}:Tokens", f"{HERE}:Gate") as cluster:
        async with await connect(cluster, b"user 1") as client:
            await client.change_room("vip://1")

    assert [(event.mid, event.grant) for event in Gate.asked] == [(1, b"granted")]


# --- sessions ---------------------------------------------------------------------


async def gone(client: Client) -> None:
    with pytest.raises(ConnectionClosedError):
        await client.receive(5)


async def kicked(client: Client) -> None:
    """Take the farewell of a kicked client, and see the end of its connection."""
    farewell = await client.receive(5)

    assert (farewell.op, farewell.body) == (Operation.DISCONNECT_REPLY, b"another login")
    await gone(client)


@pytest.mark.parametrize("same_key", [False, True])
async def test_kick_ends_the_session_on_another_comet_and_pushes_go_to_the_new_one(same_key):
    async with cluster_with("logins?duplicate=kick", comets=2) as cluster:
        old = await connect(cluster, user(1, key="a"), comet=0)
        new = await connect(cluster, user(1, key="a" if same_key else "b"), comet=1)

        await kicked(old)
        await push(cluster, "mids?mids=1&", b"hi")
        assert (await new.receive(5)).body == b"hi"
        assert cluster.node("logic").stats()["counters"]["kicked"] == 1
        await old.close()
        await new.close()


@pytest.mark.parametrize("comet", [0, 1])
@pytest.mark.parametrize("same_key", [False, True])
async def test_the_end_of_a_session_that_is_kicked_is_told_once(comet, same_key):
    async with cluster_with("logins?duplicate=kick", f"{HERE}:Witness", comets=2) as cluster:
        old = await connect(cluster, user(1, key="a"), comet=0)
        new = await connect(cluster, user(1, key="a" if same_key else "b"), comet=comet)
        await kicked(old)
        await old.close()
        await new.close()
        await eventually(lambda: counters_of(cluster)["disconnects"] == 2)
        assert counters_of(cluster)["kicked"] == 1
        await eventually(lambda: sum(what == "disconnected" for what, _ in Witness.told) == 2)

    first, second = (event.session for what, event in Witness.told if what == "connected")
    ended = {event.session: event.reason for what, event in Witness.told if what == "disconnected"}
    assert ended == {first: "kicked", second: "client_eof"}
    assert len(Witness.told) == 2 * 3


async def test_a_hook_can_end_a_session_that_has_just_begun():
    async with cluster_with(f"{HERE}:Bouncer", f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")) as client:
            farewell = await client.receive(5)
            assert (farewell.op, farewell.body) == (Operation.DISCONNECT_REPLY, b"banned")
            await gone(client)
        await eventually(lambda: "disconnected" in dict(Witness.told))
        assert (await Witness.context.deliverer.sessions((1,))) == {}

    assert dict(Witness.told)["disconnected"].reason == "kicked"


async def test_reject_keeps_the_old_session_and_refuses_the_new_one():
    async with cluster_with("logins?duplicate=reject", comets=2) as cluster:
        async with await connect(cluster, user(1), comet=0) as old:
            with pytest.raises(AuthRefusedError):
                await connect(cluster, user(1), comet=1)

            await push(cluster, "mids?mids=1&", b"hi")
            assert (await old.receive(5)).body == b"hi"
        await eventually(lambda: cluster.node("logic").stats()["counters"].get("disconnects"))
        async with await connect(cluster, user(1), comet=1):
            pass
        assert drops(cluster)["hooks.logins.session_rejected"] == 1


async def test_allow_lets_both_get_what_is_pushed():
    async with cluster_with("logins?duplicate=allow", comets=2) as cluster:
        async with await connect(cluster, user(1), comet=0) as old, await connect(cluster, user(1), comet=1) as new:
            await push(cluster, "mids?mids=1&", b"hi")

            assert (await old.receive(5)).body == b"hi"
            assert (await new.receive(5)).body == b"hi"


async def test_of_many_logins_at_once_one_is_left():
    async with cluster_with("logins?duplicate=kick", comets=2) as cluster:
        clients = await asyncio.gather(*(connect(cluster, user(1), comet=i % 2) for i in range(10)))

        def sessions() -> int:
            return sum(int(cluster.node(f"comet-{i}").stats()["gauges"]["sessions"]) for i in (1, 2))

        await eventually(lambda: sessions() == 1)
        await push(cluster, "mids?mids=1&", b"hi")
        first = [await client.receive(5) for client in clients]
        assert sorted(frame.op for frame in first) == [Operation.DISCONNECT_REPLY] * 9 + [1000]
        await asyncio.gather(*(client.close() for client in clients))


async def test_a_key_that_another_user_has_is_not_taken_from_him():
    async with cluster_with("logins?keys=unique") as cluster:
        async with await connect(cluster, user(1, key="k")) as first:
            async with await connect(cluster, user(2, key="k")):
                await push(cluster, "keys?keys=k&", b"hi")
                assert (await first.receive(5)).body == b"hi"


# --- authentication -----------------------------------------------------------------


@pytest.mark.parametrize("token", [b"raise 1", b"exit 1", b"wrong 1", b"refused 1", b"unknown 1", b"hang 1"])
async def test_a_hook_that_fails_refuses_its_client_without_a_word(token):
    async with cluster_with(f"{HERE}:Tokens", hook_timeout_s=0.2) as cluster:
        with pytest.raises(AuthRefusedError):
            await connect(cluster, token)
        async with await connect(cluster, b"user 1"):
            pass
        assert cluster.stats()["comet-1"]["comet"]["counters"]["refused_auth"] == 1


async def test_while_some_hang_others_connect_as_fast_as_ever():
    async with cluster_with(f"{HERE}:Tokens", hook_timeout_s=3.0) as cluster:
        hanging = [asyncio.create_task(connect(cluster, b"hang")) for _ in range(50)]
        hooks = cluster.node("logic")._hooks  # type: ignore[attr-defined]  # nothing public tells of one call

        def under_way():
            return hooks.stats()[0]["points"]["authenticate"]["under_way"]

        await eventually(lambda: under_way() == 50)
        async with await connect(cluster, b"user 1"):
            hung_meanwhile = under_way()

        assert hung_meanwhile == 50
        assert all(isinstance(e, AuthRefusedError) for e in await asyncio.gather(*hanging, return_exceptions=True))


# --- notifications, messages ------------------------------------------------------------


async def test_a_session_is_told_of_from_connect_to_disconnect():
    async with cluster_with(f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")):
            await eventually(lambda: len(Witness.told) == 2)
        await eventually(lambda: len(Witness.told) == 3)

    event = ClientEvent(1, "k", "comet-1", session=Witness.told[0][1].session)
    ended = replace(event, reason="client_eof")
    assert Witness.told == [("connected", event), ("registered", event), ("disconnected", ended)]
    assert 0 < event.session < 2**61


async def test_a_key_that_comes_back_is_told_of_as_another_session():
    async with cluster_with(f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")):
            await eventually(lambda: len(Witness.told) == 2)
            async with await connect(cluster, user(1, key="k")):
                await eventually(lambda: len(Witness.told) == 5)
        await eventually(lambda: len(Witness.told) == 6)

    first, second = (event.session for what, event in Witness.told if what == "connected")
    assert first != second
    for session in (first, second):
        told = [what for what, event in Witness.told if event.session == session]
        assert told == ["connected", "registered", "disconnected"]
    reasons = {event.session: event.reason for what, event in Witness.told if what == "disconnected"}
    assert reasons == {first: "replaced", second: "client_eof"}


async def test_a_hook_can_find_a_connection():
    async with cluster_with(f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")):
            await eventually(lambda: len(Witness.told) == 2)
            deliverer = Witness.context.deliverer

            found = await deliverer.find("comet-1", "k", mid=1)
            others = [
                await deliverer.find("comet-1", "k", mid=2),
                await deliverer.find("comet-1", "other"),
                await deliverer.find("comet-9", "k"),
            ]

    assert found == (Delivery.TAKEN, Witness.told[0][1].session)
    assert others == [(Delivery.UNKNOWN, 0), (Delivery.UNKNOWN, 0), (Delivery.UNREACHABLE, 0)]


async def test_a_client_can_send_a_message_up():
    async with cluster_with(f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k")) as client:
            answer = await client.request(4321, b"hello")

    assert (answer.op, answer.body) == (4321, b"")
    assert [(e.mid, e.key, e.operation, e.body) for e in Witness.received] == [(1, "k", 4321, b"hello")]


async def test_a_store_sees_pushes_before_the_bus_and_can_serve_users_itself():
    async with cluster_with(f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1, key="a")) as one, await connect(cluster, user(9, key="b")) as nine:
            await push(cluster, "mids?mids=1&mids=9&", b"x")
            assert (await one.receive(5)).body == b"x"
            await push(cluster, "keys?keys=b&", b"y")
            assert (await nine.receive(5)).body == b"y"  # and not x, which the store has handled
            await push(cluster, "room?type=live&room=1&", b"z")
            await push(cluster, "all?", b"w")

    mids, keys, room, everybody = Witness.kept
    assert (mids.target, mids.mids, mids.sessions) == (
        PushTarget.MIDS,
        (1, 9),
        {1: {"a": "comet-1"}, 9: {"b": "comet-1"}},
    )
    assert (keys.target, keys.keys) == (PushTarget.KEYS, ("b",))
    assert (room.target, room.room) == (PushTarget.ROOM, "live://1")
    assert everybody.target is PushTarget.ALL


async def test_a_push_that_cannot_be_stored_is_answered_with_the_reason_and_goes_nowhere():
    async with cluster_with(f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1)) as client:
            reply = await push(cluster, "mids?mids=1&", b"full")
            await push(cluster, "mids?mids=1&", b"mark")
            assert (await client.receive(5)).body == b"mark"

    assert reply["code"] == -500
    assert reply["message"] == "hook Witness.store_message: the disk is full"


@pytest.mark.parametrize("ws", [False, True])
async def test_messages_are_delivered_past_the_bus_in_order_with_their_numbers(ws):
    messages = [Message(1000, b"one", 1), Message(2000, b"not accepted", 2), Message(1000, b"three", 3)]
    async with cluster_with(f"{HERE}:Witness") as cluster:
        async with await connect(cluster, user(1, key="k"), ws=ws) as client:
            await eventually(lambda: len(Witness.told) == 2)
            deliverer = Witness.context.deliverer
            assert await deliverer.deliver("comet-1", "k", messages) is Delivery.TAKEN
            frames = [await client.receive(5) for _ in range(2)]

            assert [(f.op, f.seq, f.body) for f in frames] == [(1000, 1, b"one"), (1000, 3, b"three")]
            assert await deliverer.deliver("comet-1", "nobody", messages) is Delivery.UNKNOWN
            assert await deliverer.deliver("comet-1", "k", messages, mid=2) is Delivery.UNKNOWN  # somebody else's now
            assert await deliverer.deliver("comet-9", "k", messages) is Delivery.UNREACHABLE
            assert await deliverer.sessions((1, 2)) == {1: {"k": "comet-1"}}


async def test_a_client_that_does_not_read_is_full_and_loses_nothing():
    settings = {
        "logic": {"hooks": (f"{HERE}:Witness",)},
        "comet": {"write_buffer_bytes": 4096, "send_buffer_bytes": 4096},
    }
    async with LocalCluster(settings=settings) as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        client = await Client.connect_tcp(host, int(port), user(1, key="k"), queue_frames=1)
        await eventually(lambda: len(Witness.told) == 2)
        deliverer, taken = Witness.context.deliverer, 0
        while await deliverer.deliver("comet-1", "k", [Message(1000, b"x" * 30_000, taken + 1)]) is Delivery.TAKEN:
            taken += 1
            assert taken < 1000

        seqs = [(await client.receive(5)).seq for _ in range(taken)]

        assert seqs == list(range(1, taken + 1))
        assert "comet.slow_client" not in cluster.stats()["comet-1"]["comet"]["drops"]
        await client.close()
