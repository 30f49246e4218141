from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imctl.cli.commands.wait import _wait
from imctl.cli.exits import TimedOutError
from imctl.cluster.control import ControlServer
from imctl.cluster.state import ClusterFolder, process_start


async def test_a_supervisor_that_stands_still_is_not_waited_for_longer_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path))

    async def hang(cmd: str, fields: Mapping[str, Any]) -> Any:
        return await asyncio.Event().wait()

    folder = ClusterFolder("a")
    folder.make()
    folder.write(
        {
            "bus": "memory://",
            "store": "memory://",
            "registry": None,
            "nodes": [],
            "started_at": "",
            "control": str(folder.control),
            "logs": str(folder.logs),
            "supervisor": {"pid": os.getpid(), "start": process_start(os.getpid())},
        }
    )
    server = ControlServer(folder.control, hang)
    await server.start()

    try:
        async with asyncio.timeout(9):  # an answer is otherwise given 10 s
            with pytest.raises(TimedOutError, match="did not answer ps: no answer within"):
                await _wait("a", 0.1)
    finally:
        await server.stop(0.0)
