from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from protocol.aio import Client, ConnectError
from protocol.bodies import AuthToken
from protocol.frame import Frame
from tests.conftest import require_program
from tests.protocol.aio.fake_comet import FakeComet

HI = Frame(1, 1000, 0, b"hi")


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [require_program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=cert)


@pytest.mark.parametrize("ws", [False, True])
async def test_a_client_speaks_tls(contexts, ws):
    server, trusting = contexts
    make = Client.connect_ws if ws else Client.connect_tcp
    async with FakeComet(ws=ws, ssl=server, greeting=(HI,)) as comet:
        async with await make("127.0.0.1", comet.port, AuthToken(mid=1), ssl=trusting) as client:
            assert await client.receive(5) == HI
            assert await client.heartbeat() == 3


async def test_a_certificate_nobody_vouches_for_is_a_connect_error(contexts):
    async with FakeComet(ssl=contexts[0]) as comet:
        with pytest.raises(ConnectError, match="(?i)certificate verify failed"):
            await Client.connect_tcp("127.0.0.1", comet.port, AuthToken(), ssl=ssl.create_default_context())
