from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from imctl.comet.config import CometConfig
from imctl.comet.node import Comet
from imctl.errors import ConfigError, PortInUseError, StartError
from imctl.registry.config import RegistryConfig
from imctl.registry.node import RegistryServer
from tests.imctl.comet.raw import Raw, Rig, eventually

PORTS = {"tcp_port": 0, "ws_port": 0, "grpc_port": 0}


async def test_it_registers_what_logic_and_job_need_and_keeps_its_counts_true():
    server = RegistryServer(RegistryConfig())
    seen: list[Any] = []
    watch = server.local.watch("goim.comet", lambda instances: seen.append(instances))
    config = {"hostname": "c7", "weight": 3, "offline": True, "public_addrs": ("a.example", "b.example")}
    async with Rig(registry=server.local, counts_s=0.02, **config) as rig:
        await eventually(lambda: seen)
        (instance,) = seen[-1]
        assert (instance.hostname, instance.addrs) == ("c7", (f"grpc://{rig.address('grpc')}",))
        assert instance.metadata == {
            "weight": "3",
            "offline": "true",
            "addrs": "a.example,b.example",
            "imctl.link": "1",
            "conn_count": "0",
            "ip_count": "0",
        }
        assert rig.comet.addresses.keys() == {"tcp", "ws", "wss", "tls", "grpc"}
        assert (rig.comet.addresses["tls"], rig.comet.addresses["wss"]) == (None, None)
    await eventually(lambda: seen[-1] == ())
    watch.close()
    await server.stop()


async def test_connection_counts_are_published():
    async with Rig(counts_s=0.02) as rig:
        counts: list[tuple[str, str]] = []
        watch = rig.registry.watch(
            "goim.comet",
            lambda found: counts.extend((one.metadata["conn_count"], one.metadata["ip_count"]) for one in found),
        )
        async with await Raw.login(rig.tcp, key="a"), await Raw.login(rig.ws, is_ws=True, key="b"):
            await eventually(lambda: counts and counts[-1] == ("2", "1"))
        await eventually(lambda: counts[-1] == ("0", "0"))
        watch.close()


async def test_room_counts_are_reported_soon_after_a_change():
    async with Rig(online_delay_s=0.02, renew_online_s=60.0) as rig:
        rig.logic.rooms = {"live://1": 40}
        async with await Raw.login(rig.tcp, key="a", room_id="live://1") as client:
            await eventually(lambda: rig.logic.named("RenewOnline")[-1].roomCount == {"live://1": 1})
            await eventually(lambda: rig.comet.sessions.hub.online == {"live://1": 40})
            assert await client.heartbeat() == 40
        await eventually(lambda: rig.logic.named("RenewOnline")[-1].roomCount == {})
        assert {request.server for request in rig.logic.named("RenewOnline")} == {"comet-1"}


@pytest.mark.parametrize("what", ["tcp_port", "ws_port", "grpc_port"])
async def test_port_in_use_is_said_and_leaves_nothing_open(what):
    server = RegistryServer(RegistryConfig())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        comet = Comet(CometConfig(**{**PORTS, what: taken.getsockname()[1]}), registry=server.local)

        with pytest.raises(PortInUseError) as caught:
            await comet.start()

    assert caught.value.what == f"comet {what.removesuffix('_port')}"
    assert [task.get_name() for task in asyncio.all_tasks() if "comet-1" in task.get_name()] == []
    await comet.stop()
    await server.stop()


async def test_address_it_cannot_bind_is_said(monkeypatch):
    async def started(self: Any) -> None:
        """Stand for a gRPC listener that has come up."""

    monkeypatch.setattr("imctl.comet.node.LinkServer.start", started)
    server = RegistryServer(RegistryConfig())
    comet = Comet(CometConfig(host="192.0.2.1", **PORTS), registry=server.local)

    with pytest.raises(StartError, match="comet tcp: cannot listen on 192.0.2.1:0: ") as caught:
        await comet.start()

    assert not isinstance(caught.value, PortInUseError)
    await server.stop()


@pytest.mark.parametrize("files", [{}, {"tls_cert": "nowhere.pem", "tls_key": "nowhere.pem"}])
async def test_tls_without_a_certificate_is_a_config_error(files):
    server = RegistryServer(RegistryConfig())
    comet = Comet(CometConfig(**PORTS, tls_port=0, **files), registry=server.local)

    with pytest.raises(ConfigError):
        await comet.start()
    await comet.stop()
    await server.stop()


async def test_it_stops_also_when_the_registry_is_gone(caplog):
    async with Rig() as rig:
        async with await Raw.login(rig.tcp, key="a") as client:

            async def fail(appid: str, hostname: str) -> None:
                raise StartError("no registry")

            rig.registry.cancel = fail
            await rig.comet.stop(1.0)

            await client.read_to_end()
            assert client.closed == "eof"
        assert "comet-1 could not leave the registry: no registry" in caplog.text
        del rig.registry.cancel
        await rig.registry.cancel("goim.comet", "comet-1")


async def test_stats_are_json_ready_and_complete():
    async with Rig() as rig:
        async with await Raw.login(rig.tcp, key="a", room_id="r"):
            stats: Any = rig.comet.stats()

        assert stats["kind"] == "comet"
        assert stats["drops"] == {}
        assert stats["gauges"] == {
            "connections": 1,
            "sessions": 1,
            "ips": 1,
            "rooms": 1,
            "paced_broadcasts": 0,
            "logics": 1,
        }
        assert {"accepted", "connected", "disconnected", "refused_auth", "pushes", "delivered", "link_calls"} <= set(
            stats["counters"]
        )
        assert (stats["counters"]["accepted"], stats["counters"]["connected"]) == (1, 1)
