"""A caller of logic's HTTP API, goim's or ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from imctl.errors import ClusterError, ImctlError

if TYPE_CHECKING:
    import aiohttp

    from protocol.push_api import Request

__all__ = ["LogicHttp", "LogicRefusedError", "NotServedError"]

_HINT = "does a logic run there, and is that its HTTP address?"
_SILENT_HINT = "is it paused, or its machine overloaded? `imctl ps` shows the nodes of a cluster here"


class LogicRefusedError(ImctlError):
    """Logic answered that it did not do it.

    Args:
        code: Of goim's envelope, such as -400.
        text: Its message; goim leaves it empty in places.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"logic answered code {code}: {text or 'no reason given'}")
        self.code = code
        self.text = text


class NotServedError(ImctlError):
    """This logic does not know the path; a Go one does not know /imctl/."""


class LogicHttp:
    """One connection to logic: `async with LogicHttp(address) as logic: await logic.call(PushAll(1000), b"hi")`.

    Args:
        address: `host:port`.
        timeout_s: Limit of each call.
    """

    def __init__(self, address: str, *, timeout_s: float = 10.0) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        # Without trust_env: a proxy of the environment is not for a cluster.
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, request: Request, body: bytes = b"", *, headers: Mapping[str, str] | None = None) -> Any:
        """Send a request and return the `data` of the reply. Any: JSON.

        Raises:
            LogicRefusedError: logic's code is not 0.
            NotServedError: there is no such path.
            ClusterError: nobody answers there, or not as a logic does.
        """
        import aiohttp
        from yarl import URL

        from protocol.push_api import OK, ReplyError, parse_reply

        assert self._session is not None, "use async with"
        # encoded: request.target is escaped as it has to be, and yarl would take some of that back.
        url = URL(f"http://{self._address}{request.target}", encoded=True)
        try:
            async with self._session.request(request.method, url, data=body or None, headers=headers) as response:
                status, text = response.status, await response.read()
        except TimeoutError as exc:
            raise ClusterError(
                f"logic {self._address} did not answer within {self._timeout_s:g} s", hint=_SILENT_HINT
            ) from exc
        except aiohttp.ClientConnectorError as exc:
            why = os.strerror(exc.errno) if exc.errno else str(exc)
            raise ClusterError(f"logic {self._address} cannot be reached: {why}", hint=_HINT) from exc
        except aiohttp.ClientError as exc:
            raise ClusterError(f"logic {self._address} broke off: {str(exc) or type(exc).__name__}") from exc
        if status == 404:
            raise NotServedError(f"logic {self._address} does not serve {request.path}")
        if not text:  # what goim's handler leaves behind when it panics
            raise LogicRefusedError(-status, f"HTTP status {status} and no body")
        try:
            reply = parse_reply(text)
        except ReplyError as exc:
            raise ClusterError(f"{self._address} answered HTTP status {status}, and not as a logic: {exc}") from exc
        if reply.code != OK:
            raise LogicRefusedError(reply.code, reply.message)
        return reply.data
