"""All hooks together: their order, and what a failure means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from imctl.errors import StartError
from imctl.hooks.caller import HookFailedError
from imctl.hooks.context import HookContext
from imctl.hooks.contract import (
    POINTS,
    Action,
    ClientEvent,
    ConnectEvent,
    HookError,
    Identity,
    Moment,
    PushEvent,
    PushTarget,
    ReceiveEvent,
    ReceiveReply,
    Refusal,
    RoomEvent,
    RoomReply,
    SessionEvent,
    SessionReply,
    StoreReply,
)
from imctl.hooks.hooks import MAX_GRANT_BYTES, Hooks
from imctl.hooks.loader import LoadedHook
from imctl.hooks.notices import Notices
from imctl.node import Counters

CONNECT = ConnectEvent(b"token", "", "comet-1")
ROOM = RoomEvent(1, "k", "live://1", "comet-1", Moment.CHANGE)
SESSION = SessionEvent(1, "k", "comet-1", {})
PUSH = PushEvent(PushTarget.MIDS, 1000, b"x", mids=(1, 2))


class Hook:
    """A hook with the methods it is given; each returns a value, raises an error, or is called."""

    def __init__(self, **answers: Any) -> None:
        self.seen: list[Any] = []
        for method, answer in answers.items():
            setattr(self, method, self._method(answer))

    def _method(self, answer: Any) -> Callable[[Any], Any]:
        async def method(event: Any) -> Any:
            self.seen.append(event)
            if isinstance(answer, BaseException):
                raise answer
            return await answer(event) if callable(answer) else answer

        return method


def hooks_of(*hooks: Hook, timeout_s: float = 5.0) -> tuple[Hooks, Counters]:
    drops = Counters()
    loaded = [
        LoadedHook(f"h{i}", f"test:{i}", tuple(m for m in POINTS if hasattr(hook, m)), hook)
        for i, hook in enumerate(hooks, 1)
    ]
    return Hooks(loaded, timeout_s=timeout_s, drops=drops), drops


async def hang(event: Any) -> None:
    await asyncio.Event().wait()


async def test_the_first_authenticator_that_knows_a_token_decides():
    first, second, third = Hook(authenticate=None), Hook(authenticate=Identity(7)), Hook(authenticate=Identity(8))
    hooks, _ = hooks_of(first, second, third)

    assert await hooks.authenticate(CONNECT, hooks.deadline_s()) == Identity(7)
    assert (first.seen, second.seen, third.seen) == ([CONNECT], [CONNECT], [])


async def test_a_token_that_nobody_knows_is_refused():
    hooks, _ = hooks_of(Hook(authenticate=None))

    reply = await hooks.authenticate(CONNECT, hooks.deadline_s())

    assert isinstance(reply, Refusal)
    assert reply.reason == "no_authenticator"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Refusal("expired"), "expired"),
        (RuntimeError("oops"), "error"),
        (HookError("service away"), "refused"),
        ("yes", "wrong_type"),
        (hang, "timeout"),
        (Identity(1, grant=b"x" * (MAX_GRANT_BYTES + 1)), "wrong_type"),
    ],
)
async def test_an_authenticator_that_refuses_or_fails_refuses_and_is_counted(answer, reason):
    hooks, drops = hooks_of(Hook(authenticate=answer), Hook(authenticate=Identity(1)), timeout_s=0.05)

    reply = await hooks.authenticate(CONNECT, hooks.deadline_s())

    assert isinstance(reply, Refusal)
    assert drops.nonzero() == {f"hooks.h1.{reason}": 1}


async def test_every_policy_has_to_allow_a_room_and_the_shortest_time_counts():
    hooks, _ = hooks_of(
        Hook(enter_room=RoomReply(True, again_s=9)), Hook(enter_room=RoomReply(True)),
        Hook(enter_room=RoomReply(True, again_s=3)),
    )  # fmt: skip

    assert await hooks.enter_room(ROOM, hooks.deadline_s()) == RoomReply(True, again_s=3)


@pytest.mark.parametrize(
    ("answer", "counted"),
    [(RoomReply(False, "vip"), "room_refused"), (RuntimeError("oops"), "error"), (True, "wrong_type")],
)
async def test_a_policy_that_says_no_or_fails_keeps_the_user_out(answer, counted):
    hooks, drops = hooks_of(Hook(enter_room=RoomReply(True)), Hook(enter_room=answer))

    reply = await hooks.enter_room(ROOM, hooks.deadline_s())

    assert not reply.allow
    assert drops.nonzero() == {f"hooks.h2.{counted}": 1}


async def test_a_session_policy_that_fails_rejects():
    hooks, drops = hooks_of(Hook(open_session=RuntimeError("oops")))

    reply = await hooks.open_session(SESSION, hooks.deadline_s())

    assert reply.action is Action.REJECT
    assert drops.nonzero() == {"hooks.h1.error": 1}


async def test_without_a_policy_sessions_are_taken_as_they_are():
    hooks, _ = hooks_of(Hook(enter_room=RoomReply(True)))

    assert await hooks.open_session(SESSION, hooks.deadline_s()) == SessionReply()


async def test_stores_are_asked_in_order_and_say_whom_they_serve():
    first = Hook(store_message=StoreReply(frozenset({1})))
    second = Hook(store_message=StoreReply(frozenset({2})))
    hooks, _ = hooks_of(first, second)

    assert await hooks.store_message(PUSH) == {1, 2}
    assert first.seen == second.seen == [PUSH]


async def test_a_store_that_fails_fails_the_push():
    hooks, drops = hooks_of(Hook(store_message=HookError("the disk is full")))

    with pytest.raises(HookFailedError, match="the disk is full"):
        await hooks.store_message(PUSH)
    assert drops.nonzero() == {"hooks.h1.refused": 1}


async def test_a_receiver_that_fails_leaves_the_message_to_the_next():
    last = Hook(receive=ReceiveReply(handled=True))
    hooks, drops = hooks_of(Hook(receive=RuntimeError("oops")), Hook(receive=ReceiveReply(handled=False)), last)

    assert await hooks.receive(ReceiveEvent(1, "k", 100, 1, b"")) is True
    assert len(last.seen) == 1
    assert drops.nonzero() == {"hooks.h1.error": 1}


async def test_notifications_of_one_connection_are_told_in_order():
    told: list[str] = []
    done = asyncio.Event()

    async def slow(event: ClientEvent) -> None:
        await asyncio.sleep(0)
        told.append("connected")

    async def last(event: ClientEvent) -> None:
        told.append("disconnected")
        done.set()

    hooks, _ = hooks_of(Hook(connected=slow, disconnected=last))
    hooks.tell("connected", ClientEvent(1, "k", "comet-1"))
    hooks.tell("disconnected", ClientEvent(1, "k", "comet-1"))

    async with asyncio.timeout(5):
        await done.wait()
    assert told == ["connected", "disconnected"]


async def test_a_notification_that_fails_is_counted_and_the_others_are_told():
    told = Hook(connected=None)
    hooks, drops = hooks_of(Hook(connected=RuntimeError("oops")), told)
    hooks.tell("connected", ClientEvent(1, "k", "comet-1"))

    await hooks.stop()  # tells what waits

    assert told.seen == [ClientEvent(1, "k", "comet-1")]
    assert drops.nonzero() == {"hooks.h1.error": 1}


async def test_a_hook_that_hangs_when_it_is_told_delays_no_other():
    events = [ClientEvent(mid, f"k{mid}", "comet-1") for mid in range(1, 201)]
    all_told = asyncio.Event()

    async def tell(event: ClientEvent) -> None:
        if len(other.seen) == len(events):
            all_told.set()

    hanging, other = Hook(connected=hang), Hook(connected=tell)
    hooks, drops = hooks_of(hanging, other, timeout_s=3600)
    for event in events:
        hooks.tell("connected", event)

    async with asyncio.timeout(30):
        await all_told.wait()
    assert len(hanging.seen) < len(events)
    assert drops.nonzero() == {}


async def test_notifications_over_the_bound_are_dropped_and_counted(monkeypatch):
    monkeypatch.setattr("imctl.hooks.notices._MAX_WAITING", 3)
    told: list[ClientEvent] = []

    async def tell(method: str, event: ClientEvent) -> None:
        told.append(event)

    drops = Counters()
    notices = Notices(tell, drops, "hooks.mine.notices_full")
    for mid in range(5):
        notices.put("connected", ClientEvent(mid, "k", "comet-1"))
    await notices.close()

    assert [event.mid for event in told] == [0, 1, 2]
    assert drops.nonzero() == {"hooks.mine.notices_full": 2}


async def test_the_bound_of_notifications_is_that_of_each_hook(monkeypatch):
    monkeypatch.setattr("imctl.hooks.notices._MAX_WAITING", 3)
    go = asyncio.Event()

    async def wait(event: ClientEvent) -> None:
        await go.wait()

    slow, quick = Hook(connected=wait), Hook(disconnected=None)
    hooks, drops = hooks_of(slow, quick)
    for mid in range(5):
        hooks.tell("connected", ClientEvent(mid, "k", "comet-1"))
    hooks.tell("disconnected", ClientEvent(1, "k", "comet-1"))

    go.set()
    await hooks.stop()

    assert (len(slow.seen), len(quick.seen)) == (3, 1)
    assert drops.nonzero() == {"hooks.h1.notices_full": 2}


async def test_hooks_are_started_in_order_and_stopped_in_reverse():
    steps: list[str] = []

    class Life:
        def __init__(self, name: str) -> None:
            self.name = name

        async def start(self, context: HookContext) -> None:
            steps.append(f"start {self.name} with {context}")

        async def stop(self) -> None:
            steps.append(f"stop {self.name}")

    loaded = [LoadedHook(name, "test", (), Life(name)) for name in ("a", "b")]
    hooks = Hooks(loaded, timeout_s=1, drops=Counters())

    await hooks.start(lambda name: f"context {name}")  # type: ignore[arg-type, return-value]  # only passed on
    await hooks.stop()

    assert steps == ["start a with context a", "start b with context b", "stop b", "stop a"]


async def test_a_hook_that_cannot_start_is_told_by_name():
    class Broken:
        async def start(self, context: HookContext) -> None:
            raise HookError("the table is missing", hint="run migrate")

    hooks = Hooks([LoadedHook("mine", "my.py:Mine", (), Broken())], timeout_s=1, drops=Counters())

    with pytest.raises(StartError, match=r"hook mine \(my.py:Mine\) cannot start: the table is missing") as caught:
        await hooks.start(lambda name: None)  # type: ignore[arg-type, return-value]  # only passed on
    assert caught.value.hint == "run migrate"


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_a_hook_that_ends_the_process_at_its_start_only_cannot_start(raised):
    class Script:
        async def start(self, context: HookContext) -> None:
            raise raised

    hooks = Hooks([LoadedHook("mine", "my.py:Mine", (), Script())], timeout_s=1, drops=Counters())

    with pytest.raises(StartError, match=type(raised).__name__):
        await hooks.start(lambda name: None)  # type: ignore[arg-type, return-value]  # only passed on


async def test_a_hook_that_cannot_stop_keeps_no_other_from_it(caplog):
    class Stubborn:
        async def stop(self) -> None:
            raise SystemExit(3)

    class Other:
        stopped = False

        async def stop(self) -> None:
            self.stopped = True

    other = Other()
    loaded = [LoadedHook("other", "test", (), other), LoadedHook("mine", "test", (), Stubborn())]
    hooks = Hooks(loaded, timeout_s=1, drops=Counters())
    await hooks.start(lambda name: None)  # type: ignore[arg-type, return-value]  # only passed on

    await hooks.stop()

    assert other.stopped
    assert "hook mine could not stop: SystemExit: 3" in caplog.text


async def test_stats_say_what_is_loaded_and_what_its_calls_came_to():
    hooks, _ = hooks_of(Hook(enter_room=RoomReply(True)), Hook(authenticate=RuntimeError("oops")))
    await hooks.enter_room(ROOM, hooks.deadline_s())
    await hooks.authenticate(CONNECT, hooks.deadline_s())

    first, second = hooks.stats()

    assert (first["name"], first["source"], first["points"]["enter_room"]["calls"]) == ("h1", "test:1", 1)
    assert second["points"]["authenticate"]["failed"] == 1
    assert second["points"]["authenticate"]["max_us"] > 0
