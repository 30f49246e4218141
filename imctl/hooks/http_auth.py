"""Hook `http`: another service says who a client is.

    imctl up --hooks 'http?url=http://users.internal/im/auth&secret_env=AUTH_SECRET'

Each connect is one POST of `{"token": text, "cookie": text, "server": comet}`;
a token that is not UTF-8 is `token_base64` instead. The answer is

    200 {"mid": 1, "key": "", "room": "live://1", "accepts": [1000], "rooms": ["live://*"]}

where all but the mid may be left out and `rooms` are patterns for
`rooms?grant=true`; or 401 or 403, with `{"reason": text}` for the log.
Everything else is a failure of the service: the client is refused, and it is
counted apart.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Annotated, Any

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imctl.errors import ConfigError
from imctl.hooks.context import HookContext
from imctl.hooks.contract import ConnectEvent, HookError, Identity, Refusal
from imctl.hooks.room_list import dump_grant

__all__ = ["HttpAuthenticator"]

_MAX_ANSWER_BYTES = 65_536


class _Answer(BaseModel):
    """A user, as the service writes it; names it does not know here are passed over."""

    model_config = ConfigDict(strict=True)

    mid: int = Field(ge=-(2**63), lt=2**63)
    key: str = ""
    room: str = ""
    accepts: list[Annotated[int, Field(ge=-(2**31), lt=2**31)]] = []
    rooms: list[str] | None = None


class HttpAuthenticator:
    """Asks a service over HTTP.

    Args:
        url: Where to POST.
        timeout_s: For one answer; keep it under `hook_timeout_s`.
        connections: To the service at a time; further questions wait for their turn.
        secret_env: Environment variable whose value is sent as `Authorization: Bearer`; empty for none.

    Raises:
        ConfigError: the URL is not one of http, a number is not above 0, or the variable is empty.
    """

    def __init__(self, url: str, timeout_s: float = 2.0, connections: int = 100, secret_env: str = "") -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"hook http: url is {url!r}; expected http://... or https://...")
        if timeout_s <= 0:
            raise ConfigError(f"hook http: timeout_s is {timeout_s:g}; expected more than 0")
        if connections < 1:
            raise ConfigError(f"hook http: connections is {connections}; expected 1 or more")
        self._url = url
        self._timeout_s = timeout_s
        self._connections = connections
        self._headers = {}
        if secret_env:
            secret = os.environ.get(secret_env, "")
            if not secret:
                raise ConfigError(f"hook http: environment variable {secret_env} is empty")
            self._headers = {"Authorization": f"Bearer {secret}"}
        self._session: aiohttp.ClientSession | None = None

    async def start(self, context: HookContext) -> None:
        """Open the connections' pool."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            headers=self._headers,
        )

    async def stop(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def authenticate(self, event: ConnectEvent) -> Identity | Refusal:
        """See Authenticator.authenticate."""
        assert self._session is not None, "not started"
        try:
            async with self._session.post(self._url, json=_question(event), allow_redirects=False) as reply:
                body = b""
                async for chunk in reply.content.iter_any():
                    body += chunk
                    if len(body) > _MAX_ANSWER_BYTES:
                        raise HookError(f"the service's answer is over the limit of {_MAX_ANSWER_BYTES} bytes")
                return _answer(reply.status, body)
        except TimeoutError as exc:
            raise HookError(f"{self._url} did not answer within {self._timeout_s:g} s") from exc
        except aiohttp.ClientError as exc:
            raise HookError(f"{self._url}: {exc}") from exc


def _question(event: ConnectEvent) -> dict[str, str]:
    question = {"cookie": event.cookie, "server": event.server}
    try:
        question["token"] = event.token.decode()
    except UnicodeDecodeError:
        question["token_base64"] = base64.b64encode(event.token).decode()
    return question


def _answer(status: int, body: bytes) -> Identity | Refusal:
    if status in (401, 403):
        return Refusal("rejected", _reason(body))
    if status != 200:
        raise HookError(f"the service answered with status {status}; expected 200, 401 or 403")
    try:
        user = _Answer.model_validate_json(body)
    except ValidationError as exc:
        problem = exc.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "answer"
        raise HookError(f"the service's answer: {where}: {problem['msg']}") from exc
    grant = dump_grant(user.rooms) if user.rooms is not None else b""
    return Identity(user.mid, user.key, user.room, tuple(user.accepts), grant)


def _reason(body: bytes) -> str:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):  # no JSON, or nested deeply
        return ""
    reason = document.get("reason", "") if isinstance(document, dict) else ""
    return str(reason)[:200]
