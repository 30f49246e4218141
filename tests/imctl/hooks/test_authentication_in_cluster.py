"""Authenticators in a whole cluster: what clients see, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from protocol.aio import AuthRefusedError
from tests.imctl.comet.raw import eventually
from tests.imctl.hooks.clusters import HOOKS, cluster_with, connect


@pytest.mark.parametrize("token", [b"raise 1", b"exit 1", b"wrong 1", b"refused 1", b"unknown 1", b"hang 1"])
async def test_a_hook_that_fails_refuses_its_client_without_a_word(token):
    async with cluster_with(f"{HOOKS}:Tokens", hook_timeout_s=0.2) as cluster:
        with pytest.raises(AuthRefusedError):
            await connect(cluster, token)
        async with await connect(cluster, b"user 1"):
            pass
        assert cluster.stats()["comet-1"]["comet"]["counters"]["refused_auth"] == 1


async def test_while_some_hang_others_connect_as_fast_as_ever():
    async with cluster_with(f"{HOOKS}:Tokens", hook_timeout_s=3.0) as cluster:
        hanging = [asyncio.create_task(connect(cluster, b"hang")) for _ in range(50)]
        hooks = cluster.node("logic")._hooks  # type: ignore[attr-defined]  # nothing public tells of one call

        def under_way():
            return hooks.stats()[0]["points"]["authenticate"]["under_way"]

        await eventually(lambda: under_way() == 50)
        async with await connect(cluster, b"user 1"):
            hung_meanwhile = under_way()

        assert hung_meanwhile == 50
        assert all(isinstance(e, AuthRefusedError) for e in await asyncio.gather(*hanging, return_exceptions=True))
