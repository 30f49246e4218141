"""A node without a supervisor says what it drops."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging

import pytest

from imctl.cluster.drop_log import log_drops, log_stats
from imctl.node import NodeStats


def stats(**drops: int) -> dict[str, NodeStats]:
    return {"comet": {"kind": "comet", "counters": {"pushes": 3}, "drops": drops, "gauges": {}}}


async def test_only_what_was_dropped_since_the_line_before_is_told(caplog: pytest.LogCaptureFixture) -> None:
    said = iter([stats(a=0, b=2), stats(a=0, b=2), stats(a=1, b=5)])
    asked = itertools.count()
    done = asyncio.Event()

    def ask() -> dict[str, NodeStats]:
        if next(asked) == 2:
            done.set()
        return next(said)

    with caplog.at_level(logging.WARNING, "imctl.drops"):
        task = asyncio.create_task(log_drops(ask, every_s=0.001))
        async with asyncio.timeout(10):
            await done.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))

    assert [record.getMessage() for record in caplog.records] == [
        "dropped in the last 0.001 s: b 2",
        "dropped in the last 0.001 s: a 1, b 3",
    ]


def test_everything_is_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "imctl.drops"):
        log_stats(lambda: stats(a=1))

    word, _, document = caplog.records[0].getMessage().partition(" ")
    assert word == "stats"
    assert json.loads(document) == stats(a=1)
