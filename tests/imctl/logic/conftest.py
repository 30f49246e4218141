from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from imctl.logic.config import LogicConfig
from imctl.logic.node import Logic
from imctl.store.contract import SessionStore
from imctl.store.memory import MemoryStore
from tests.imctl.logic.fakes import FakeBus, FakeRegistry

StartLogic = Callable[..., Awaitable[Logic]]


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
async def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
async def start_logic(registry: FakeRegistry, bus: FakeBus) -> AsyncIterator[StartLogic]:
    started: list[Logic] = []

    async def start(store: SessionStore | None = None, **settings: Any) -> Logic:
        config = LogicConfig(hostname=f"logic-{len(started)}", http_port=0, grpc_port=0, **settings)
        node = Logic(config, registry=registry, bus=bus, store=store or MemoryStore())
        await node.start()
        started.append(node)
        return node

    yield start
    for node in started:
        await node.stop(1)
