from __future__ import annotations

import socket

import pytest

from imctl.cli.logic_http import LogicHttp
from imctl.errors import ClusterError
from protocol.push_api import OnlineTotal


async def test_a_logic_that_is_silent_is_told_with_what_to_look_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with LogicHttp(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.1) as logic:
            with pytest.raises(ClusterError, match=r"did not answer within 0\.1 s") as raised:
                await logic.call(OnlineTotal())

    assert "imctl ps" in raised.value.hint
