"""Hook `http`: another service says who a client is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from imctl.errors import ConfigError
from imctl.hooks.contract import ConnectEvent, HookError, Identity, Refusal
from imctl.hooks.http_auth import HttpAuthenticator

EVENT = ConnectEvent(b"token", "a=1", "comet-1")


class Service:
    """A user service; `answer` is a response, or an event that is never set."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.answer: web.Response | asyncio.Event = web.json_response({"mid": 7})
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.headers.append(request.headers)
        if isinstance(self.answer, asyncio.Event):
            await self.answer.wait()
            return web.Response()
        return self.answer


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    app.router.add_post("/auth", service.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}/auth"
    yield service
    await runner.cleanup()


async def ask(url: str, event: ConnectEvent = EVENT, **options: Any) -> Any:
    hook = HttpAuthenticator(url, **options)
    await hook.start(None)  # type: ignore[arg-type]  # it needs no context
    try:
        return await hook.authenticate(event)
    finally:
        await hook.stop()


async def test_the_service_is_asked_and_its_answer_is_the_identity(service):
    service.answer = web.json_response(
        {"mid": 7, "key": "k", "room": "live://1", "accepts": [1000], "rooms": ["live://*"], "name": "not needed"}
    )

    found = await ask(service.url)

    assert found == Identity(7, "k", "live://1", (1000,), b'{"rooms":["live://*"]}')
    assert service.asked == [{"token": "token", "cookie": "a=1", "server": "comet-1"}]


async def test_a_mid_is_enough(service):
    assert await ask(service.url) == Identity(7)


async def test_a_token_that_is_no_text_is_sent_as_base64(service):
    await ask(service.url, ConnectEvent(b"\xff\x00", "", "comet-1"))

    assert service.asked == [{"token_base64": "/wA=", "cookie": "", "server": "comet-1"}]


async def test_a_secret_goes_along(service, monkeypatch):
    monkeypatch.setenv("AUTH_SECRET", "s3cret")

    await ask(service.url, secret_env="AUTH_SECRET")

    assert service.headers[0]["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        (web.json_response({"reason": "banned"}, status=403), "banned"),
        (web.Response(status=401), ""),
        (web.json_response([1], status=401), ""),
        (web.Response(text="[" * 50_000, status=401), ""),
    ],
)
async def test_401_and_403_refuse(service, response, detail):
    service.answer = response

    assert await ask(service.url) == Refusal("rejected", detail)


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (web.Response(status=500), "status 500"),
        (web.Response(status=302, headers={"Location": "/elsewhere"}), "status 302"),
        (web.Response(text="hello"), "Invalid JSON"),
        (web.json_response({}), "mid: Field required"),
        (web.json_response({"mid": "7"}), "mid: Input should be a valid integer"),
        (web.json_response({"mid": 2**63}), "mid: "),
        (web.json_response({"mid": 7.0}), "mid: Input should be a valid integer"),
        (web.json_response({"mid": 7, "accepts": [1000, 2**31]}), "accepts.1: "),
        (web.Response(text="x" * 100_000), "over the limit of 65536 bytes"),
    ],
)
async def test_every_other_answer_is_a_failure_of_the_service(service, response, problem):
    service.answer = response

    with pytest.raises(HookError, match=problem):
        await ask(service.url)


async def test_a_service_that_hangs_is_a_failure_after_its_time(service):
    service.answer = asyncio.Event()

    with pytest.raises(HookError, match=r"did not answer within 0.05 s"):
        await ask(service.url, timeout_s=0.05)
    service.answer.set()


async def test_a_service_that_is_away_is_a_failure():
    with pytest.raises(HookError, match="127.0.0.1:1"):
        await ask("http://127.0.0.1:1/auth")


def test_options_that_do_not_fit_are_told():
    with pytest.raises(ConfigError, match="expected http://"):
        HttpAuthenticator("users.internal")
    with pytest.raises(ConfigError, match="timeout_s is 0; expected more than 0"):
        HttpAuthenticator("http://x", timeout_s=0.0)
    with pytest.raises(ConfigError, match="connections is 0; expected 1 or more"):
        HttpAuthenticator("http://x", connections=0)
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE is empty"):
        HttpAuthenticator("http://x", secret_env="NO_SUCH_VARIABLE")
