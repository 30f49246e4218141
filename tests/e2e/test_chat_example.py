"""The chat of examples/ as its reader runs it: a real cluster, the application, and a browser."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from protocol.aio import Client
from tests.browser import Page, open_page
from tests.e2e.conftest import ROOT, Imctl

CHAT = ROOT / "examples" / "chat"


@dataclass
class Chat:
    """The application, and the cluster that its users connect to.

    Args:
        url: Of the application.
        comet: Host and port of a comet's WebSocket.
        command: What starts the application.
        env: Its environment.
    """

    url: str
    comet: tuple[str, int]
    command: list[str]
    env: dict[str, str]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the application."""
        application = subprocess.Popen(self.command, env=self.env, stdout=subprocess.PIPE, text=True)
        assert application.stdout is not None
        try:
            found = re.search(r"Running on (http://[\d.:]+)", application.stdout.readline())
            assert found
            self.url = found[1]
            yield
        finally:
            application.terminate()
            application.communicate()

    async def post(self, path: str, body: dict[str, Any], token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession() as session:
            async with session.post(self.url + path, json=body, headers=headers) as reply:
                return reply.status, await reply.json()

    async def login(self, name: str) -> dict[str, Any]:
        status, found = await self.post("/login", {"name": name})
        assert status == 200
        return found  # type: ignore[no-any-return]  # JSON

    async def say(self, user: dict[str, Any], text: str, *, to: str = "", room: str = "room://lobby") -> int:
        status, _ = await self.post("/say", {"text": text, "to": to, "room": room}, user["token"])
        return status

    async def connect(self, user: dict[str, Any], room: str = "room://lobby") -> Client:
        token = {"token": user["token"], "room_id": room, "accepts": [1000]}
        return await Client.connect_ws(*self.comet, json.dumps(token).encode())


@pytest.fixture
def stopped_chat(imctl: Imctl, tmp_path: Path) -> Chat:
    """The chat with its cluster, whose application does not run yet."""
    imctl.env["CHAT_SECRET"] = secrets.token_hex(32)
    config = tmp_path / "imctl.toml"
    database = tmp_path / "chat.db"
    config.write_text((CHAT / "imctl.toml").read_text().replace("sqlite:///chat-messages.db", f"sqlite:///{database}"))
    up = imctl.json("up", "--config", str(config), "--any-port", "--detach")
    logic = up["nodes"][0]["addresses"]["logic.http"]
    ws = next(node["addresses"]["ws"] for node in up["nodes"] if node["kind"] == "comet")
    host, _, ws_port = ws.rpartition(":")
    options = ["--logic", logic, "--comet", f"ws://{ws}/sub", "--port", "0", "--users", str(tmp_path / "users.db")]
    command = [sys.executable, str(CHAT / "app.py"), *options]
    return Chat("", (host, int(ws_port)), command, {**os.environ, **imctl.env})


@pytest.fixture
def chat(stopped_chat: Chat) -> Iterator[Chat]:
    with stopped_chat.running():
        yield stopped_chat


@pytest.fixture
async def page(chat: Chat, tmp_path: Path) -> AsyncIterator[Page]:
    async with open_page(tmp_path) as page:
        yield page


async def enter(page: Page, chat: Chat, name: str) -> None:
    await page.open(chat.url)
    await page.evaluate(f"$('login').elements.name.value = '{name}'; $('login').requestSubmit()")
    await page.until("$('state').textContent === 'online' && $('room').options.length")


async def shown(page: Page) -> list[str]:
    lines = await page.evaluate("[...$('messages').children].map((line) => line.textContent)")
    return list(lines)


async def test_people_talk_and_get_what_they_missed(chat: Chat, page: Page) -> None:
    bob = await chat.login("bob@staff")
    assert await chat.say(bob, "before anybody came") == 200
    await enter(page, chat, "ann")
    async with await chat.connect(bob) as bob_there:
        # History, then what is said now, both ways.
        assert await shown(page) == ["bob@staffbefore anybody came"]
        await page.evaluate("$('say').elements.text.value = 'hello <b>all</b>'; $('say').requestSubmit()")
        said = json.loads((await bob_there.receive(10)).body)
        assert said == {"from": "ann", "text": "hello <b>all</b>"}
        await page.until("$('messages').lastChild.textContent === 'annhello <b>all</b>'")

        # The staff's room is closed to her, whatever her page asks for.
        await page.evaluate("client.changeRoom('room://staff')")
        await bob_there.change_room("room://staff")
        assert await chat.say(bob, "secret", room="room://staff") == 200
        assert json.loads((await bob_there.receive(10)).body)["text"] == "secret"
        assert await chat.say(bob, "open") == 200
        await page.until("$('messages').lastChild.textContent === 'bob@staffopen'")
        assert not any("secret" in line for line in await shown(page))

    # She leaves; what is sent to her alone waits.
    await page.evaluate("client.stop()")
    await page.until("$('state').textContent === 'offline'")
    for text in ("one", "two", "three"):
        assert await chat.say(bob, text, to="ann") == 200
    await enter(page, chat, "ann")
    await page.until("$('messages').lastChild.textContent === 'bob@staff → annthree'")
    private = [line for line in await shown(page) if "→" in line]
    assert private == ["bob@staff → annone", "bob@staff → anntwo", "bob@staff → annthree"]
    assert page.problems == []


async def test_a_second_login_ends_the_first_for_good(chat: Chat, page: Page) -> None:
    await enter(page, chat, "ann")

    async with await chat.connect(await chat.login("ann")) as second:
        await page.until("$('state').textContent === 'offline' && !client.wanted")
        assert await chat.say(await chat.login("bob@staff"), "still here?", to="ann") == 200
        assert json.loads((await second.receive(10)).body)["text"] == "still here?"
    assert page.problems == []


async def test_the_page_comes_back_by_itself_when_a_comet_does(chat: Chat, page: Page, imctl: Imctl) -> None:
    await enter(page, chat, "ann")

    await asyncio.to_thread(imctl.json, "restart", "comet-1")

    await page.until("$('state').textContent === 'online' && client.seen === 0")
    assert await chat.say(await chat.login("bob@staff"), "welcome back") == 200
    await page.until("$('messages').lastChild?.textContent === 'bob@staffwelcome back'")


async def test_the_application_refuses_what_is_not_allowed(chat: Chat) -> None:
    ann = await chat.login("ann")

    assert await chat.say({"token": "forged"}, "hi") == 401
    assert await chat.say(ann, "hi", room="room://staff") == 403
    assert await chat.say(ann, "hi", to="nobody") == 404
    assert (await chat.post("/login", {"name": ""}))[0] == 400


async def test_what_waits_for_somebody_is_his_also_after_a_restart_of_the_application(stopped_chat: Chat) -> None:
    with stopped_chat.running():
        ann, bob = await stopped_chat.login("ann"), await stopped_chat.login("bob")
        assert await stopped_chat.say(bob, "for ann alone", to="ann") == 200

    with stopped_chat.running():
        again = [(await stopped_chat.login(name))["mid"] for name in ("eve", "bob", "ann")]
        async with await stopped_chat.connect(await stopped_chat.login("ann")) as client:
            received = json.loads((await client.receive(10)).body)

    assert again[1:] == [bob["mid"], ann["mid"]]
    assert len({*again}) == 3
    assert received == {"from": "bob", "text": "for ann alone", "to": "ann"}
