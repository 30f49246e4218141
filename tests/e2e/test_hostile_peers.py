"""Crowds of hostile peers at every listener of a cluster, from seeds: nobody else notices, and nothing stays."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from pathlib import Path

import psutil
import pytest

from imctl.cluster.inprocess import LocalCluster
from imctl.cluster.tls import self_signed
from tests.e2e.hostile import KINDS, attack_of
from tests.imctl.comet.raw import Raw, eventually, http_post

PEERS = 40  # a listener


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.mark.parametrize(
    "seed", [0, 21, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(100, 160))]
)  # 21 has a broken body that nobody wanted
async def test_hostile_peers_cost_nobody_else_and_leave_nothing(seed, certificate, caplog):
    caplog.set_level(logging.WARNING)
    rng = random.Random(seed)
    cert, key = map(str, certificate)
    tls = ssl.create_default_context(cafile=cert)
    settings = {"comet": {"tls_port": 0, "wss_port": 0, "tls_cert": cert, "tls_key": key}}
    async with LocalCluster(settings=settings) as cluster:
        comet, logic = cluster.node("comet-1"), cluster.node("logic")
        addresses = {**comet.addresses, **logic.addresses, **cluster.node("registry").addresses}
        async with (
            await Raw.login(cluster.tcp, key="w-tcp", mid=100, room_id="live://w") as one,
            await Raw.login(cluster.ws, is_ws=True, key="w-ws", mid=101, room_id="live://w") as two,
        ):
            gathered = [attack_of(kind, rng, tls).run(addresses[kind] or "") for kind in KINDS for _ in range(PEERS)]
            rng.shuffle(gathered)
            files = psutil.Process().num_fds()
            await asyncio.gather(*gathered)

            url = "/goim/push/room?operation=1000&type=live&room=w"
            assert (await http_post(cluster.http, url, b"still there?"))[0] == 200
            for client in (one, two):
                assert b"still there?" in (await client.frame()).body
                await client.no_frame()
            await eventually(lambda: comet.stats()["gauges"]["connections"] == 2)
            await eventually(lambda: logic.stats()["gauges"]["http_connections"] == 0)
            await eventually(lambda: psutil.Process().num_fds() <= files + 5)
            counters = comet.stats()["counters"]
            assert sum(n for name, n in counters.items() if name.startswith("closed.")) == counters["accepted"] - 2
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
