"""Which of a user's logins is left, and what hooks are told, whatever overtakes what on the way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from imctl.hooks.login_policy import LoginPolicy
from protocol.operation import Operation
from tests.imctl.hooks.login_net import Client, Login, Net

_Duplicate = Literal["kick", "reject", "allow"]
_Choose = Callable[[int], int]


async def play(net: Net, logins: tuple[Login, ...], choose: _Choose) -> list[Client]:
    """Let clients log in, and all that follows arrive in the order that is chosen."""
    clients: list[Client] = []
    for login in logins:
        client = net.login(login.comet, login.key)
        clients.append(client)
        if login.leaves:
            net.later("leave", client.leave)
        if login.is_refreshed:
            net.later("refresh", client.refresh)
    while net.waiting:
        await net.arrive(choose(len(net.waiting)))
    return clients


def orders() -> Iterator[_Choose]:
    """Yield every order there is, as a function that chooses; the next may begin when one has been played."""
    path: list[list[int]] = []  # the choices, and among how many each was
    while True:
        depth = 0

        def choose(count: int) -> int:
            nonlocal depth
            if depth == len(path):
                path.append([0, count])
            assert path[depth][1] == count, "the same choices have led elsewhere"
            depth += 1
            return path[depth - 1][0]

        yield choose
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        path[-1][0] += 1


def check(net: Net, clients: list[Client]) -> None:
    """Check that the last login that was made is left, if its client is, and that everybody knows it."""
    last = net.store.made[-1]
    stays = [client for client in clients if client.channel.session == last and not client.left]
    assert list(net.live) == [last for _ in stays]
    assert net.stored == dict(net.live.values())
    assert [client.is_closed for client in clients] == [client not in stays for client in clients]
    check_what_was_told(net)


def check_what_was_told(net: Net) -> None:
    """Check that hooks were told of each session once, and of its end once, with a reason."""
    assert net.presence.connected_ids == Counter(net.store.made)
    assert net.presence.disconnected_ids == Counter(set(net.store.made) - set(net.live))
    assert all(net.presence.reasons.values())


TWO_LOGINS = [
    (Login("c0", "k", leaves), Login(comet, key)) for leaves in (False, True) for comet in ("c0", "c1") for key in "kx"
]


def names(logins: tuple[Login, ...]) -> str:
    return " ".join(f"{login.key}@{login.comet}{' leaves' * login.leaves}" for login in logins)


@pytest.mark.parametrize("duplicate", ["kick", "reject"])
@pytest.mark.parametrize("logins", TWO_LOGINS, ids=names)
async def test_of_two_logins_the_last_is_left_in_every_order_of_what_is_sent(duplicate: _Duplicate, logins):
    for choose in orders():
        net = Net(LoginPolicy(duplicate))

        clients = await play(net, logins, choose)

        check(net, clients)


@pytest.mark.parametrize("seed", range(60))
async def test_of_several_logins_the_last_is_left_in_some_order_of_what_is_sent(seed):
    rng = random.Random(seed)
    logins = tuple(
        Login(rng.choice(("c0", "c1")), rng.choice("kkx"), leaves=rng.random() < 0.4, is_refreshed=rng.random() < 0.3)
        for _ in range(rng.randint(2, 4))
    )
    net = Net(LoginPolicy("kick" if seed % 3 else "reject"), slow_store=bool(seed % 2))

    clients = await play(net, logins, rng.randrange)

    check(net, clients)


@pytest.mark.soak
@pytest.mark.parametrize("comets", [("c0", "c1", "c0"), ("c0", "c0", "c1")])
@pytest.mark.parametrize("keys", ["kkk", "kxk"])
async def test_of_three_logins_the_last_is_left_in_every_order_of_what_is_sent(comets, keys):
    logins = tuple(Login(comet, key) for comet, key in zip(comets, keys, strict=True))
    for choose in orders():
        net = Net(LoginPolicy("kick"))

        clients = await play(net, logins, choose)

        check(net, clients)


async def test_both_logins_that_are_allowed_are_left_in_every_order():
    for choose in orders():
        net = Net(LoginPolicy("allow"))

        await play(net, (Login("c0", "a"), Login("c0", "b")), choose)

        assert sorted(net.live) == sorted(net.store.made)
        assert net.stored == {"a": "c0", "b": "c0"}
        check_what_was_told(net)


# --- the cases one by one -----------------------------------------------------


async def test_a_login_on_a_comet_that_was_killed_and_is_back_is_not_taken_for_the_one_before():
    net = Net(LoginPolicy("kick"))
    net.login("c0", "phone")
    await net.arrive_all()
    net.start_comet("c0")
    on_another_comet = net.login("c1", "phone")
    await net.arrive("connect c1")
    still_asking = net.login("c0", "tablet")  # of somebody else, as far as this goes: its answer is long in coming
    await net.arrive("kick to c0")
    await net.arrive("reply to connect c1")
    on_another_comet.leave()
    await net.rest()
    await net.arrive("disconnect c1")
    assert not still_asking.is_closed

    back = net.login("c0", "phone")
    await net.arrive_all()

    assert not back.is_closed
    assert [frame.op for frame in back.frames] == [Operation.AUTH_REPLY]
    assert net.stored["phone"] == "c0"


async def test_a_client_that_moves_between_two_comets_is_never_kicked():
    net = Net(LoginPolicy("kick"))
    client = net.login("c0", "phone")
    await net.arrive_all()
    for step in range(1, 20):
        before, client = client, net.login(f"c{step % 2}", "phone")
        before.leave()
        await net.rest()
        # The new login is decided before logic hears that the old one has ended, and kicks what is gone.
        await net.arrive(f"connect c{step % 2}")

        await net.arrive_all()

        assert not client.is_closed
        assert net.stored == {"phone": f"c{step % 2}"}
    assert set(net.presence.reasons.values()) == {"connection_lost"}
    check_what_was_told(net)


async def test_a_session_that_is_kicked_before_its_comet_has_heard_of_it_ends_when_it_has():
    net = Net(LoginPolicy("kick"))
    old = net.login("c0", "old")
    await net.arrive("connect c0")
    new = net.login("c1", "new")
    await net.arrive("connect c1")
    await net.arrive("kick to c0")
    assert net.stored == {"new": "c1"}

    await net.arrive("reply to connect c0")
    await net.arrive_all()

    assert [(frame.op, frame.body) for frame in old.frames] == [
        (Operation.AUTH_REPLY, b""),
        (Operation.DISCONNECT_REPLY, b"another login"),
    ]
    assert old.is_closed
    assert not new.is_closed
    assert list(net.presence.reasons.values()) == ["kicked"]
    check_what_was_told(net)


async def test_an_end_that_is_told_late_takes_nothing_from_the_next_login_under_the_key():
    net = Net(LoginPolicy("kick"))
    old = net.login("c0", "phone")
    await net.arrive_all()
    old.leave()
    await net.rest()
    net.login("c0", "phone")
    await net.arrive("connect c0")
    await net.arrive("kick to c0")

    await net.arrive("disconnect c0")

    assert net.stored == {"phone": "c0"}


async def test_a_refresh_that_is_carried_out_late_does_not_bring_a_session_back():
    net = Net(LoginPolicy("reject"))
    client = net.login("c0", "phone")
    await net.arrive_all()
    client.refresh()
    client.leave()
    await net.rest()

    assert [message.what for message in net.waiting] == ["heartbeat c0"]
    await net.arrive_all()

    assert net.stored == {}
    check_what_was_told(net)


async def test_no_more_kicks_wait_for_connects_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("imctl.comet.guard._MAX_KICKED", 1)
    net = Net(LoginPolicy("kick"))
    for _ in range(3):  # each finds the room that the one before has left
        asking = net.login("c0", "a")
        await net.arrive("connect c0")
        kicking = net.login("c1", "b")
        await net.arrive("connect c1")
        await net.arrive("kick to c0")
        await net.arrive_all()
        assert (asking.is_closed, kicking.is_closed) == (True, False)
        kicking.leave()
        await net.arrive_all()
    assert net.drops == {}

    net.login("c0", "a")
    await net.arrive("connect c0")
    net.login("c0", "b")
    await net.arrive("connect c0")
    await net.arrive("kick to c0")
    net.login("c1", "c")
    await net.arrive("connect c1")
    await net.arrive("kick to c0")

    assert net.drops == {"logic.kick_failed": 1}
    await net.arrive_all()


async def test_a_login_that_took_so_long_that_another_may_have_been_decided_is_not_made(monkeypatch):
    net = Net(LoginPolicy("kick"), slow_store=True)
    loop = asyncio.get_running_loop()
    client = net.login("c0", "phone")
    await net.arrive("connect c0")
    while net.waiting[0].what != "store add":
        await net.arrive(0)
    loop_time = loop.time
    monkeypatch.setattr(loop, "time", lambda: loop_time() + 4.5)

    await net.arrive_all()

    assert client.is_closed
    assert client.frames == []
    assert net.stored == {}
    assert net.presence.connected_ids == Counter()
    assert net.drops == {"logic.login_too_late": 1}
