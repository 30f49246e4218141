from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.imctl.comet.raw import UPGRADE, Raw, Rig, auth, eventually

BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])
CLIENT_HELLO_CUT = b"\x16\x03\x01\x02\x00\x01"


def rig_with_tls(certificate: tuple[Path, Path], **settings: Any) -> Rig:
    cert, key = map(str, certificate)
    return Rig(tls_port=0, wss_port=0, tls_cert=cert, tls_key=key, **settings)


def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


async def distrusting(client: Raw, certificate: tuple[Path, Path]) -> None:
    """Begin a handshake, and break it off over the certificate."""
    with pytest.raises(ssl.SSLCertVerificationError):
        await client.writer.start_tls(ssl.create_default_context(), server_hostname="localhost")


async def cut(client: Raw, certificate: tuple[Path, Path]) -> None:
    client.write(CLIENT_HELLO_CUT)
    client.writer.write_eof()


async def reset(client: Raw, certificate: tuple[Path, Path]) -> None:
    client.write(CLIENT_HELLO_CUT)
    client.abort()


async def plain(client: Raw, certificate: tuple[Path, Path]) -> None:
    client.write(UPGRADE)


async def auth_frame(client: Raw, certificate: tuple[Path, Path]) -> None:
    client.write(auth(key="plain"))


PROBLEMS = {cut: "the client has gone"}


@BOTH_LOOPS
@pytest.mark.parametrize("misdeed", [distrusting, cut, reset, plain, auth_frame])
@pytest.mark.parametrize("kind", ["tls", "wss"])
async def test_failed_handshake_costs_its_connection_and_is_counted(certificate, kind, misdeed, caplog):
    caplog.set_level("INFO", "imctl.comet.sessions")
    async with rig_with_tls(certificate) as rig:
        client = await Raw.connect(rig.address(kind))
        await misdeed(client, certificate)

        await eventually(lambda: rig.counters.get("closed.tls_handshake") == 1)
        await eventually(lambda: rig.gauges["connections"] == 0)
        assert rig.counters["accepted"] == 1
        assert f"127.0.0.1: TLS handshake failed: {PROBLEMS.get(misdeed, '')}" in caplog.text
        assert caplog.text.count("a client without TLS?") == (misdeed in (plain, auth_frame))
        if misdeed in (plain, auth_frame):
            await client.read_to_end()
        client.writer.transport.abort()
        async with await Raw.login(rig.address(kind), is_ws=kind == "wss", tls=trusting(certificate), key="k") as fine:
            await fine.no_frame()


@BOTH_LOOPS
async def test_stalled_handshake_ends_in_time_and_is_counted(certificate):
    async with (
        rig_with_tls(certificate, handshake_timeout_s=0.3) as rig,
        await Raw.connect(rig.address("tls")) as silent,
        await Raw.connect(rig.address("wss")) as slow,
    ):
        slow.write(CLIENT_HELLO_CUT)
        await eventually(lambda: rig.gauges["connections"] == 2)

        await silent.read_to_end()
        await slow.read_to_end()

        await eventually(lambda: rig.counters.get("closed.tls_handshake") == 2)
        assert rig.gauges["connections"] == 0


@BOTH_LOOPS
async def test_handshakes_count_towards_the_most_connections(certificate):
    async with (
        rig_with_tls(certificate, max_connections=1) as rig,
        await Raw.connect(rig.address("tls")) as silent,
    ):
        await eventually(lambda: rig.gauges["connections"] == 1)

        for kind in ("tls", "tcp"):
            async with await Raw.connect(rig.address(kind)) as refused:
                await refused.read_to_end()

        assert rig.counters["refused.max_connections"] == rig.counters["closed.refused"] == 2
        silent.writer.transport.abort()
        await eventually(lambda: rig.gauges["connections"] == 0)


@BOTH_LOOPS
async def test_clients_of_one_source_are_counted_over_all_listeners(certificate):
    async with (
        rig_with_tls(certificate, max_connections_per_source=2) as rig,
        await Raw.login(rig.tcp, key="k") as tcp,
        await Raw.login(rig.address("wss"), is_ws=True, tls=trusting(certificate), key="w") as wss,
    ):
        for kind in ("tls", "tcp", "ws"):
            async with await Raw.connect(rig.address(kind), upgrade=False) as refused:
                await refused.read_to_end()

        assert rig.counters["refused.max_connections_per_source"] == rig.counters["closed.refused"] == 3
        for client in (tcp, wss):
            await client.no_frame()
            await client.close()
            await eventually(lambda: rig.gauges["connections"] <= 1)
            async with await Raw.login(rig.tcp, key="next") as further:
                await further.no_frame()
            await eventually(lambda: rig.gauges["sessions"] <= 1)


@BOTH_LOOPS
async def test_what_comes_with_the_end_of_the_handshake_is_read(certificate):
    # The last flight of the handshake, the auth and the end of the input arrive in one piece.
    async with rig_with_tls(certificate) as rig:
        host, port = rig.address("tls").rsplit(":", 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(certificate).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        reader, writer = await asyncio.open_connection(host, int(port))
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        tls.write(auth(key="hasty"))
        writer.write(outgoing.read())

        await eventually(lambda: rig.counters["connected"] == 1)
        writer.write_eof()

        await eventually(lambda: rig.gauges["connections"] == 0)
        assert rig.counters["disconnected"] == 1
        writer.close()


@BOTH_LOOPS
async def test_stop_gives_up_handshakes(certificate):
    rig = rig_with_tls(certificate)
    async with rig:
        client = await Raw.connect(rig.address("tls"))
        await eventually(lambda: rig.gauges["connections"] == 1)

        # Far less than the grace: nothing is waited for.
        await asyncio.wait_for(rig.comet.stop(120.0), 30.0)

        await client.read_to_end()
        assert not rig.comet.sessions.handshaking
        await client.close()


@BOTH_LOOPS
async def test_no_handshake_of_many_at_once_is_lost(certificate):
    async with rig_with_tls(certificate) as rig:
        logins = [
            Raw.login(rig.address(kind), is_ws=kind == "wss", tls=trusting(certificate), key=f"{kind}-{n}")
            for kind in ("tls", "wss")
            for n in range(15)
        ]
        clients = await asyncio.gather(*logins)

        assert rig.counters["connected"] == rig.counters["accepted"] == 30
        assert "closed.tls_handshake" not in rig.counters
        for client in clients:
            await client.close()


@BOTH_LOOPS
async def test_clients_that_cannot_be_accepted_are_counted_and_tried_again(certificate, monkeypatch, caplog):
    caplog.set_level("INFO", "imctl.comet.sessions")
    monkeypatch.setattr("imctl.comet.tls_listener._OUT_OF_FILES_S", 0.01)
    accept = socket.socket.accept
    async with rig_with_tls(certificate) as rig:
        port = int(rig.address("tls").rsplit(":", 1)[1])

        def out_of_files(listening: socket.socket) -> Any:
            if listening.getsockname()[1] == port and not rig.counters.get("accept_errors"):
                raise OSError(errno.EMFILE, "Too many open files")
            return accept(listening)

        monkeypatch.setattr(socket.socket, "accept", out_of_files)

        async with await Raw.login(rig.address("tls"), tls=trusting(certificate), key="k") as client:
            await client.no_frame()

        assert rig.counters["accept_errors"] == 1
        assert "cannot accept a client: [Errno 24] Too many open files" in caplog.text
