"""The fixtures themselves."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio
import uvloop

from tests.conftest import require_program


async def test_tests_run_under_the_chosen_loop(request):
    wanted = {"uvloop": uvloop.Loop, "asyncio": asyncio.SelectorEventLoop}
    chosen = request.config.getoption("--loop")

    assert isinstance(asyncio.get_running_loop(), wanted.get(chosen, asyncio.AbstractEventLoop))


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_test_can_ask_for_plain_asyncio():
    assert isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)


def test_missing_program_skips_on_a_laptop(monkeypatch):
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match=r"imctl-nothing is not installed \(package nothing\)"):
        require_program("imctl-nothing", "nothing")


def test_missing_program_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match=r"imctl-nothing is not installed \(package nothing\)"):
        require_program("imctl-nothing", "nothing")


@pytest.mark.parametrize("round_", [1, 2])
async def test_redis_url_is_an_empty_redis_each_time(redis_url, round_):
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.dbsize() == 0

        await client.set("left", round_)


async def test_redis_server_comes_back_where_it_was(redis_server):
    before = redis_server.url

    redis_server.stop()
    async with redis.asyncio.from_url(before, retry=None) as client:
        with pytest.raises(redis.ConnectionError):
            await client.ping()
    redis_server.start()

    async with redis.asyncio.from_url(redis_server.url) as client:
        assert redis_server.url == before
        assert await client.ping()
