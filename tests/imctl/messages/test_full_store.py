"""What becomes of messages that the store does not take or does not keep."""

from __future__ import annotations

import pytest

from imctl.hooks.contract import HookError, StoreReply
from imctl.messages.offline import OfflineMessages
from imctl.store.contract import StoreError
from tests.imctl.messages.fakes import context_of, mid_push, push, room_push, until


async def test_messages_over_the_bounds_are_counted_as_drops(start, comets, counters):
    hook = await start(max_messages=2)

    await push(hook, comets, 1, "a", "b", "c")

    assert counters.values["drop.over_count"] == 1
    assert (await hook.offline(1)).messages == 2


async def test_old_messages_are_swept_and_counted_as_drops(start, comets, counters):
    hook = await start(max_age_s=0.01)
    await push(hook, comets, 1, "a", "b")

    await until(counters, "drop.over_age", 2)

    assert (await hook.offline(1)).messages == 0


async def test_a_push_that_cannot_be_kept_is_refused_with_the_reason(start, comets, monkeypatch):
    hook = await start()

    async def full(offers: object) -> None:
        raise StoreError("message store x is full", hint="make space")

    monkeypatch.setattr(hook._log, "offer", full)

    with pytest.raises(HookError, match="message store x is full"):
        await push(hook, comets, 1, "a")


async def test_a_room_push_goes_on_without_its_history(start, comets, counters, monkeypatch):
    hook = await start()

    async def full(*entry: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(hook._log, "record", full)

    assert await hook.store_message(room_push("live://1")) == StoreReply()
    assert counters.values["drop.history"] == 1


async def test_it_says_why_it_cannot_start(tmp_path, comets, counters):
    (tmp_path / "file").write_text("no folder")
    hook = OfflineMessages(f"sqlite:///{tmp_path}/file/messages.db")

    with pytest.raises(HookError, match="file"):
        await hook.start(context_of(comets, counters))


async def test_in_a_full_store_a_push_that_needs_no_keeping_goes_over_the_bus(comets, counters, tmp_path):
    hook = OfflineMessages(f"sqlite:///{tmp_path}/messages.db?max_file_bytes=200000")
    await hook.start(context_of(comets, counters))
    await hook.registered(comets.add(1, "k"))
    large = "x" * 200_000
    with pytest.raises(HookError, match="is full"):
        await push(hook, comets, 2, large)

    assert await push(hook, comets, 1, large) == [False]

    assert counters.values["drop.history"] == 1
    with pytest.raises(HookError, match="is full"):
        await hook.store_message(mid_push(comets, 1, 2, body=large))
    await hook.stop()
