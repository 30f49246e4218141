"""discovery's long polls: what answers at once, what is held, and what ends the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from imctl.conform.case import Case, SilentError
from imctl.conform.discovery_kit import (
    BAD,
    ENV,
    ONE,
    WRONG_METHOD,
    ZONE,
    Call,
    Registry,
    discovery_case,
    route,
    run_call,
)
from imctl.conform.lab import Answer

__all__ = ["CASES"]

_HOLD_S = 35.0  # a poll is held for 30 s

# --- polls that answer at once ---


async def _polls_at_once(registry: Registry) -> list[Answer]:
    await registry.register()
    return [await registry.polls()]


async def _poll_at_once(registry: Registry) -> list[Answer]:
    await registry.register()
    query = {"env": ENV, "appid": registry.app, "hostname": "c1"}
    return [await registry.get("poll", {**query, "latest_timestamp": 0}), await registry.get("poll", query)]


async def _polls_unknown(registry: Registry) -> str:
    await registry.register()
    none = f"{registry.app}.none"
    answer = await registry.polls(appid=[registry.app, none], latest_timestamp=[0, 0])
    document = answer.json()
    if document["code"] != 0:
        return f"code {document['code']}"
    error = document.get("error") or {}
    known = "the known app" if list(document["data"]) == [registry.app] else f"{sorted(document['data'])}"
    return f"{known}; -404: {'the unknown one' if error.get('-404') == [none] else error}"


async def _polls_newer(registry: Registry) -> str:
    await registry.register()
    other = f"{registry.app}.other"
    await registry.register(appid=other)
    answer = await registry.polls(appid=[registry.app, other], latest_timestamp=[await registry.since(), 0])
    return "only the newer app" if list(answer.json()["data"]) == [other] else f"{sorted(answer.json()['data'])}"


async def _polls_cancelled(registry: Registry) -> str:
    await registry.register()
    first = await registry.since()
    await registry.register("h2")
    second = await registry.since()
    await registry.host("cancel", "h2")
    third = await registry.since()
    return "grows with a register and a cancel" if first < second < third else f"{first} {second} {third}"


def _polls_only(**changes: Any) -> Call:
    async def call(registry: Registry) -> Answer:
        return await registry.polls(**changes)

    return call


# --- held polls ---


async def _held(
    registry: Registry, news: Callable[[], Awaitable[Answer]], *, known: bool = True, polls: int = 1
) -> str:
    """Hold polls, make news, and tell what answers them: code and host names."""
    if known:
        await registry.register()
    since = await registry.since()
    async with asyncio.TaskGroup() as group:
        held = [group.create_task(registry.polls(since=since), name="held poll") for _ in range(polls)]
        await registry.lab.pause(0.4)
        early = sum(poll.done() for poll in held)
        await news()
    if early:
        return "answered before there was any news"
    return "; ".join(_hosts(registry, poll.result()) for poll in held)


def _hosts(registry: Registry, answer: Answer) -> str:
    document = answer.json() or {}
    info = (document.get("data") or {}).get(registry.app) or {}
    hosts = sorted(one["hostname"] for zone in (info.get("instances") or {}).values() for one in zone)
    return f"code {document.get('code')} {' '.join(hosts)}".strip()


async def _held_register(registry: Registry) -> str:
    return await _held(registry, lambda: registry.register("h2"))


async def _held_set(registry: Registry) -> str:
    return await _held(registry, lambda: registry.host("set", metadata='{"x":"1"}'))


async def _held_cancel(registry: Registry) -> str:
    await registry.register("h2")
    return await _held(registry, lambda: registry.host("cancel", "h2"))


async def _held_renew(registry: Registry) -> str:
    """A renew is no news; the set behind it is."""

    async def news() -> Answer:
        await registry.host("renew")
        await registry.lab.pause(0.3)
        return await registry.host("set", metadata='{"renewed":"first"}')

    await registry.register()
    since = await registry.since()
    poll = asyncio.create_task(registry.polls(since=since), name="held poll")
    try:
        await registry.lab.pause(0.3)
        await news()
        answer = await poll
    finally:
        poll.cancel()
    metadata = answer.json()["data"][registry.app]["instances"][ZONE][0]["metadata"]
    return "answered by the set" if "renewed" in metadata else "answered by the renew"


async def _held_new_app(registry: Registry) -> str:
    return await _held(registry, registry.register, known=False)


async def _held_two(registry: Registry) -> str:
    return await _held(registry, lambda: registry.host("set", metadata='{"x":"1"}'), polls=2)


async def _held_apart(registry: Registry) -> str:
    """Two watchers of one host, as goim's nodes have them: one polls an app, the other that and a second one."""
    other = f"{registry.app}.other"
    await registry.register()
    await registry.register(appid=other)
    since = await registry.since()
    document = (await registry.fetch(appid=other)).json()
    both: dict[str, Any] = {
        "appid": [registry.app, other],
        "latest_timestamp": [since, document["data"]["latest_timestamp"]],
    }
    wait_s = min(3.0, registry.lab.wait_s)
    async with asyncio.TaskGroup() as group:
        one = group.create_task(_patient(registry.polls(since=since, wait_s=wait_s)), name="poll of one app")
        await registry.lab.pause(0.2)
        two = group.create_task(_patient(registry.polls(wait_s=wait_s, **both)), name="poll of two apps")
        await registry.lab.pause(0.3)
        await registry.host("set", appid=other, metadata='{"x":"1"}')
    right, strange = two.result(), one.result()
    if right is None:
        return "no poll is answered" if strange is None else "the other poll is answered"
    return "the right poll is answered" if strange is None else "both polls are answered"


async def _patient(call: Awaitable[Answer]) -> Answer | None:
    try:
        return await call
    except SilentError:
        return None


async def _held_after_abort(registry: Registry) -> str:
    """A poll whose client goes must not take the news from the next one of that host."""
    other = f"{registry.app}.other"
    await registry.register()
    since = await registry.since()
    gone = asyncio.create_task(registry.polls(since=since), name="poll that is given up")
    await registry.lab.pause(0.3)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    wait_s = min(3.0, registry.lab.wait_s)
    both: dict[str, Any] = {"appid": [registry.app, other], "latest_timestamp": [since, 0]}
    async with asyncio.TaskGroup() as group:
        poll = group.create_task(_patient(registry.polls(wait_s=wait_s, **both)), name="held poll")
        await registry.lab.pause(0.3)
        await registry.register(appid=other)
    answer = poll.result()
    if answer is None:
        return "no answer"
    return "answered with the new app" if list(answer.json()["data"]) == [other] else registry.text(answer)


async def _held_out(registry: Registry) -> str:
    await registry.register()
    since = await registry.since()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    answers = await asyncio.gather(
        registry.polls(since=since, wait_s=_HOLD_S),
        registry.polls(since=9 * 10**18, hostname="c2", wait_s=_HOLD_S),
        registry.polls(appid=f"{registry.app}.never", hostname="c3", wait_s=_HOLD_S),
        registry.polls(zone="conform9", hostname="c4", wait_s=_HOLD_S),
    )
    took_s = loop.time() - began_s
    held = "30 s" if 29 < took_s < 32 else f"{took_s:.0f} s"
    return f"{registry.text(*answers)} after {held}"


_POLLED = f'code 0 {{"APP":{ONE}}}'

# name, what it shows, recording, what comes, calls
_TABLE: list[tuple[str, str, str, str, Call]] = [
    ("polls", "polls from the beginning answers at once", "polls timestamp 0: at once", _POLLED, _polls_at_once),
    (
        "poll",
        "so does poll, also without a timestamp",
        "poll timestamp 0: at once; poll without timestamp",
        f"code 0 {ONE}; code 0 {ONE}",
        _poll_at_once,
    ),
    (
        "polls-newer",
        "polls answers with the apps that are newer",
        "polls, one app up to date, the other not",
        "only the newer app",
        _polls_newer,
    ),
    (
        "polls-timestamp",
        "an app's latest_timestamp grows",
        "internal model of the server: model/application.go",
        "grows with a register and a cancel",
        _polls_cancelled,
    ),
    (
        "polls-lengths",
        "lists of different length",
        "polls unequal lengths",
        BAD,
        _polls_only(appid=["a", "b"], latest_timestamp=0),
    ),
    *(
        (f"polls-no-{name}", f"polls without {name}", f"polls without {name}", BAD, _polls_only(**{name: None}))
        for name in ("env", "hostname", "appid")
    ),
    (
        "polls-bad-timestamp",
        "a timestamp that is no number",
        "polls bad timestamp",
        BAD,
        _polls_only(latest_timestamp="x"),
    ),
    ("polls-post", "polls with POST", "polls with POST", WRONG_METHOD, route("POST", "/discovery/polls")),
    (
        "held-register",
        "a held poll is answered by a register",
        "register a new host: the poll is answered",
        "code 0 h1 h2",
        _held_register,
    ),
    ("held-set", "by a set", "set: the poll is answered", "code 0 h1", _held_set),
    ("held-cancel", "by a cancel", "cancel h4: the poll is answered", "code 0 h1", _held_cancel),
    (
        "held-renew",
        "and not by a renew",
        "polls held; the renew at 1 s does not answer it",
        "answered by the set",
        _held_renew,
    ),
    (
        "held-new-app",
        "by the first register of an app",
        "polls held for an app nobody registered yet",
        "code 0 h1",
        _held_new_app,
    ),
    (
        "held-two",
        "two polls of one host are both answered",
        "second poll, same hostname; set: both are answered",
        "code 0 h1; code 0 h1",
        _held_two,
    ),
]

CASES: list[Case] = [
    *(discovery_case(*row) for row in _TABLE),
    discovery_case(
        "polls-unknown",
        "polls of a known and an unknown app",
        "polls with one unknown app",
        "the known app; -404: the unknown one",
        _polls_unknown,
        {"code -404": "as the server of v1.0: one unknown app spoils the poll"},
    ),
    discovery_case(
        "poll-unknown",
        "poll of an unknown app",
        "poll unknown app: -404 at once",
        "code -404",
        lambda registry: registry.get(
            "poll", {"env": ENV, "appid": registry.app, "hostname": "c", "latest_timestamp": 0}
        ),
    ),
    discovery_case(
        "held-apart",
        "polls of one host for different apps are not mixed up",
        "real calls of goim nodes: two clients of one host",
        "the right poll is answered",
        _held_apart,
        {
            "the other poll is answered": "discovery gives one poll's news to another of the same host",
            "both polls are answered": "discovery answers a poll of an app that has no news",
            "no poll is answered": "discovery gives the news to nobody",
        },
    ),
    discovery_case(
        "held-after-abort",
        "a poll whose client has gone takes no news from the next",
        "aborted poll steals the answer (what goim nodes do at start-up)",
        "answered with the new app",
        _held_after_abort,
        {"no answer": "discovery keeps the poll that was given up, and it takes the news"},
    ),
    Case(
        "discovery.held-out",
        "discovery",
        "polls without news are held for 30 s, then answered with -304",
        "discovery-http.jsonl: polls up to date; in the future; unknown app; a zone it has no instance in",
        ("discovery",),
        "code -304; code -304; code -304; code -304 after 30 s",
        run_call(_held_out),
        slow=True,
        limit_s=60.0,
    ),
]
