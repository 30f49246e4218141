"""The application of the chat: it knows its users, signs their tokens, and pushes what they say.

    CHAT_SECRET=... python app.py --logic 127.0.0.1:3111 --comet ws://127.0.0.1:3102/sub

Clients never push themselves: they ask this application, which decides, and
goim carries the message. Everything here is ordinary HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web

STATIC = Path(__file__).parent / "static"
OPERATION = 1000
ROOMS = {"": ["room://lobby"], "staff": ["room://lobby", "room://staff"]}
"""Rooms by team; who calls himself `name@staff` is of the staff. A real application has a database for that."""

_MAX_TEXT = 500


class Users:
    """User ids by name, in a file: what goim keeps for a mid is for the same person also after a restart.

    Args:
        path: The file, made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        # Each question is one row of a small file: no reason to leave the event loop for it.
        self._db = sqlite3.connect(path, isolation_level=None)
        # AUTOINCREMENT: the mid of somebody who was deleted is never given out again.
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS users (mid INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE)"
        )

    def mid(self, name: str) -> int:
        """Return somebody's mid, 0 for nobody's."""
        row = self._db.execute("SELECT mid FROM users WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def enter(self, name: str) -> int:
        """Return somebody's mid, a new one for a new name."""
        self._db.execute("INSERT OR IGNORE INTO users (name) VALUES (?)", (name,))
        return self.mid(name)

    def names(self) -> list[str]:
        """Return everybody's name, sorted."""
        return [name for (name,) in self._db.execute("SELECT name FROM users ORDER BY name")]


class Chat:
    """Who may do what, and the way to goim's logic.

    Args:
        users: Who there is.
        secret: Signs the tokens; the cluster verifies them with the same.
        logic: `host:port` of logic's HTTP API.
        comet: WebSocket URL that browsers connect to.
    """

    def __init__(self, users: Users, secret: str, logic: str, comet: str) -> None:
        self._users = users
        self._secret = secret
        self._logic = logic
        self._comet = comet
        self._session: aiohttp.ClientSession

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.cleanup_ctx.append(self._open)
        app.router.add_get("/", self.page)
        app.router.add_post("/login", self.login)
        app.router.add_get("/names", self.names)
        app.router.add_get("/history", self.history)
        app.router.add_post("/say", self.say)
        app.router.add_static("/", STATIC)
        return app

    async def page(self, request: web.Request) -> web.FileResponse:
        """Return the page."""
        return web.FileResponse(STATIC / "index.html")

    async def login(self, request: web.Request) -> web.Response:
        """Give a name a user id and a token that names the rooms it may enter; a real one asks for a password."""
        name = str((await request.json()).get("name", "")).strip()
        if not name or len(name) > 20:
            return _error(400, "a name has 1 to 20 characters")
        mid = self._users.enter(name)
        rooms = ROOMS.get(name.partition("@")[2], ROOMS[""])
        claims = {"sub": str(mid), "name": name, "rooms": rooms, "exp": int(time.time()) + 3600}
        token = jwt.encode(claims, self._secret, algorithm="HS256")
        return web.json_response({"token": token, "mid": mid, "rooms": rooms, "url": self._comet})

    async def names(self, request: web.Request) -> web.Response:
        """Return who a private message can go to."""
        name = self._user(request)["name"]
        return web.json_response({"names": [other for other in self._users.names() if other != name]})

    async def say(self, request: web.Request) -> web.Response:
        """Push a message to a room the user may be in, or to one user, who gets it later when away."""
        user, asked = self._user(request), await request.json()
        text, to, room = str(asked.get("text", ""))[:_MAX_TEXT], asked.get("to"), asked.get("room")
        message = {"from": user["name"], "text": text}
        if to:
            mid = self._users.mid(str(to))
            if not mid:
                return _error(404, f"there is no {to}")
            mids = {mid, int(user["sub"])}  # the sender sees it too, in all his windows
            query = "&".join(f"mids={mid}" for mid in mids)
            await self._push(f"mids?operation={OPERATION}&{query}", {**message, "to": to})
        elif room in user["rooms"]:
            kind, _, name = room.partition("://")
            await self._push(f"room?operation={OPERATION}&type={kind}&room={name}", message)
        else:
            return _error(403, f"{room} is not open to you")
        return web.json_response({})

    async def history(self, request: web.Request) -> web.Response:
        """Return what was said in a room before."""
        room = request.query.get("room", "")
        if room not in self._user(request)["rooms"]:
            return _error(403, f"{room} is not open to you")
        found = await self._ask("GET", "/imctl/history", params={"room": room, "limit": "50"})
        return web.json_response({"messages": [json.loads(kept["body"]) for kept in found["messages"]]})

    def _user(self, request: web.Request) -> dict[str, Any]:
        """Return the claims of the request's token."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            claims: dict[str, Any] = jwt.decode(token, self._secret, algorithms=["HS256"])
        except jwt.PyJWTError as exc:
            raise web.HTTPUnauthorized(text=json.dumps({"error": str(exc)}), content_type="application/json") from exc
        return claims

    async def _push(self, where: str, message: dict[str, str]) -> None:
        await self._ask("POST", f"/goim/push/{where}", data=json.dumps(message).encode())

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        """Call logic and return the data of its answer."""
        async with self._session.request(method, f"http://{self._logic}{path}", **options) as reply:
            answer = await reply.json(content_type=None)
        if answer["code"] != 0:
            raise web.HTTPBadGateway(
                text=json.dumps({"error": f"goim: {answer['message']}"}), content_type="application/json"
            )
        return answer.get("data")

    async def _open(self, app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            self._session = session
            yield


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def main() -> None:
    """Serve the chat until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logic", default="127.0.0.1:3111", help="logic's HTTP API")
    parser.add_argument("--comet", default="ws://127.0.0.1:3102/sub", help="a comet's WebSocket, as browsers reach it")
    parser.add_argument("--port", type=int, default=8080, help="where to listen; 0 for any, which is printed")
    parser.add_argument("--users", type=Path, default=Path("chat-users.db"), help="file with the users' ids")
    options = parser.parse_args()
    chat = Chat(Users(options.users), os.environ["CHAT_SECRET"], options.logic, options.comet)
    web.run_app(chat.application(), sock=socket.create_server(("127.0.0.1", options.port)))


if __name__ == "__main__":
    main()
