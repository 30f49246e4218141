"""The hook for kept messages over a file, with comets that tests steer by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from imctl.messages import offline
from imctl.messages.offline import OfflineMessages
from imctl.node import Counters
from tests.imctl.messages.fakes import FakeComets, context_of

Start = Callable[..., Awaitable[OfflineMessages]]


@pytest.fixture
async def comets() -> FakeComets:
    return FakeComets()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
async def start(comets: FakeComets, counters: Counters, tmp_path: Path) -> AsyncIterator[Start]:
    started: list[OfflineMessages] = []

    async def starting(**options: Any) -> OfflineMessages:
        hook = OfflineMessages(f"sqlite:///{tmp_path}/messages.db", **options)
        await hook.start(context_of(comets, counters))
        started.append(hook)
        return hook

    yield starting
    for hook in started:
        await hook.stop()


@pytest.fixture
def no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the round that finds, once a second, what nobody has told of."""
    monkeypatch.setattr(offline, "_SWEEP_EVERY_S", 3600.0)
