"""Every message log; a new one is a fixture that opens it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from imctl.messages.contract import Limits, MessageLog
from imctl.messages.factory import open_messages

_names = itertools.count()
OpenLog = Callable[..., MessageLog]


@pytest.fixture
def sqlite_log(tmp_path: Path) -> OpenLog:
    return lambda **limits: open_messages(f"sqlite:///{tmp_path}/messages.db", Limits(**limits))


@pytest.fixture
def fakeredis_log() -> OpenLog:
    pytest.importorskip("lupa", reason="fakeredis:// needs lupa")
    url = f"fakeredis://contract-{next(_names)}"
    return lambda **limits: open_messages(url, Limits(**limits))


@pytest.fixture
def redis_log(redis_url: str) -> OpenLog:
    return lambda **limits: open_messages(redis_url, Limits(**limits))


@pytest.fixture
def redis_cluster_log(redis_cluster_url: str) -> OpenLog:
    return lambda **limits: open_messages(redis_cluster_url, Limits(**limits))


@pytest.fixture(params=["sqlite", "fakeredis", "redis", "redis_cluster"])
async def open_log(request: pytest.FixtureRequest) -> AsyncIterator[OpenLog]:
    opener: OpenLog = request.getfixturevalue(f"{request.param}_log")
    opened: list[MessageLog] = []

    def opening(**limits: object) -> MessageLog:
        opened.append(opener(**limits))
        return opened[-1]

    yield opening
    for log in opened:
        await log.close()


@pytest.fixture
def log(open_log: OpenLog) -> MessageLog:
    return open_log()
