"""HTTP calls to a discovery of one or more nodes, with fail-over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp

from imctl.errors import ConfigError, ImctlError
from imctl.registry.factory import node_url
from protocol.discovery_api import Code

__all__ = ["Answer", "Backoff", "DiscoveryNodes", "RegistryUnreachableError"]

_CONNECT_S = 3.0  # as goim's discovery client
_MAX_ANSWER = 16 << 20  # bytes


class RegistryUnreachableError(ImctlError):
    """A registry node does not answer, or not as discovery does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The envelope of a reply; `missing` are the apps that polls names as unknown."""

    code: int
    data: object = None
    missing: tuple[str, ...] = ()


class Backoff:
    """Pauses between attempts, doubling from `first_s` to `most_s`."""

    def __init__(self, first_s: float = 0.05, most_s: float = 3.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s

    def next(self) -> float:
        """Return how long to wait now."""
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, self._most_s)
        return pause_s

    def reset(self) -> None:
        """Start again with the first pause."""
        self._next_s = self._first_s


class DiscoveryNodes:
    """The nodes of a discovery; all calls go to the current one until it fails.

    Args:
        nodes: URLs or `host:port`, at least one.
    """

    def __init__(self, nodes: Sequence[str]) -> None:
        if not nodes:
            raise ConfigError("no registry node given", hint="such as http://127.0.0.1:7171")
        self._nodes = [node_url(node) for node in nodes]
        self._at = 0
        self._calls: aiohttp.ClientSession | None = None
        self._polls: aiohttp.ClientSession | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def current(self) -> str:
        """The node that is called."""
        return self._nodes[self._at % len(self._nodes)]

    def leave(self, node: str) -> None:
        """Go on to the next node if `node` is still the current one."""
        if node == self.current:
            self._at += 1

    async def post(self, path: str, form: str, *, timeout_s: float = 5.0) -> Answer:
        """Send a form to the current node.

        Raises:
            RegistryUnreachableError: no usable answer; the next call goes to another node.
        """
        if self._calls is None:
            self._calls = aiohttp.ClientSession()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._send(self._calls, "POST", path, timeout_s, form, headers)

    async def get(self, path: str, query: Sequence[tuple[str, str]], *, timeout_s: float) -> Answer:
        """Ask the current node on a connection of its own, so that successive polls share one.

        Raises:
            RegistryUnreachableError: no usable answer; the next call goes to another node.
        """
        if self._polls is None:
            self._polls = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        return await self._send(self._polls, "GET", f"{path}?{urlencode(query)}", timeout_s, None, {})

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._calls, self._polls):
            if session is not None:
                await session.close()
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        timeout_s: float,
        body: str | None,
        headers: dict[str, str],
    ) -> Answer:
        node = self.current
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_S, timeout_s))
        try:
            async with session.request(method, node + path, data=body, headers=headers, timeout=timeout) as response:
                text = bytearray()
                async for chunk in response.content.iter_any():
                    text += chunk
                    if len(text) > _MAX_ANSWER:
                        raise ValueError(f"answer is over the limit of {_MAX_ANSWER} bytes")
                return _answer(response.status, bytes(text))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as exc:
            self.leave(node)
            reason = str(exc) or type(exc).__name__
            raise RegistryUnreachableError(f"registry {node}: {reason}", hint="is it running there?") from exc


def _answer(status: int, body: bytes) -> Answer:
    if status >= 400:
        raise ValueError(f"HTTP status {status}")
    data = json.loads(body)
    code = data.get("code") if isinstance(data, dict) else None
    if not isinstance(code, int):
        raise ValueError("the answer has no code; not a discovery?")
    if code == Code.SERVER_ERROR:
        # Overloaded, or protecting itself after a start.
        raise ValueError("answered with -500")
    error = data.get("error")
    missing = error.get(str(int(Code.NOT_FOUND))) if isinstance(error, dict) else None
    return Answer(code, data.get("data"), tuple(missing) if isinstance(missing, list) else ())
