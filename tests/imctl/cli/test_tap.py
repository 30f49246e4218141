from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from imctl.cli.commands.tap import TapSession
from imctl.cli.exits import TimedOutError
from imctl.cli.output import OutputClosedError
from imctl.cli.printer import Printer
from imctl.cli.traffic import Filter
from imctl.errors import ImctlError
from protocol.aio import Client
from protocol.bodies import AuthToken
from protocol.frame import Frame
from tests.imctl.cli.background import Background
from tests.imctl.cli.said import Said
from tests.protocol.aio.fake_comet import FakeComet

HI, OTHER = Frame(1, 1000, 0, b"hi"), Frame(1, 1001, 4, b"there")
TOKEN = AuthToken(7, "k", "live://1", "imctl", (1000,))
STAMP = r"\d\d:\d\d:\d\d\.\d{3}"


class Out(io.StringIO):
    """A stdout that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def flush(self) -> None:
        self._more.set()

    async def until(self, text: str) -> None:
        """Wait for some text."""
        while text not in self.getvalue():
            self._more.clear()
            await self._more.wait()


class Run:
    """A tap that runs."""

    def __init__(self, *, json: bool = False, out: Out | None = None) -> None:
        self.out = out if out is not None else Out()
        self.said = Said()
        self.printer = Printer(json=json, stdout=self.out, stderr=self.said)
        self.task: asyncio.Task[None]

    async def port(self) -> int:
        """Wait until the tap says where it listens."""
        await self.said.written.wait()
        found = re.match(r"listening on 127\.0\.0\.1:(\d+)", self.said.getvalue())
        assert found, self.said.getvalue()
        return int(found[1])

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    @property
    def documents(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines]


@asynccontextmanager
async def tapping(
    comet: FakeComet,
    run: Run,
    wanted: Filter | None = None,
    *,
    timeout_s: float | None = None,
    **options: object,
) -> AsyncIterator[int]:
    session = TapSession(run.printer, ("127.0.0.1", comet.port), wanted or Filter(), **options)  # type: ignore[arg-type]
    run.task = asyncio.create_task(session.run(("127.0.0.1", 0), timeout_s=timeout_s))
    try:
        yield await run.port()
    finally:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)


async def talk(port: int, *, ws: bool = False, wanted: int = 2) -> None:
    """Be a client that gets some messages and leaves."""
    connect = Client.connect_ws if ws else Client.connect_tcp
    async with await connect("127.0.0.1", port, TOKEN, timeout_s=20) as client:
        for _ in range(wanted):
            await client.receive(20)


async def test_every_frame_is_shown_with_begin_and_end():
    run = Run()
    async with FakeComet(greeting=(HI, OTHER)) as comet, tapping(comet, run, count=4) as port:
        await talk(port)
        await run.task

    head, begin, auth, reply, hi, other, *_ = run.lines
    assert head.split() == ["time", "conn", "client", "way", "bytes", "ver", "op", "seq", "body"]
    assert re.fullmatch(rf"{STAMP}     1  127.0.0.1:\d+  begin  127.0.0.1:\d+ to 127.0.0.1:{comet.port}", begin)
    assert re.search(r' -->  +\d+    1  7 auth +1  \{"mid":7,"key":"k",', auth)
    assert re.search(r" <--  +16    1  8 auth_reply +1$", reply)
    assert re.search(r" <--  +18    1  1000 +0  hi$", hi)
    assert re.search(r" <--  +21    1  1001 +4  there$", other)
    listening, total = run.said.getvalue().splitlines()
    assert listening.endswith("--> is from a client, <-- from the comet; Ctrl-C ends it")
    assert total == "1 connection, 4 frames, nothing wrong"


async def test_websocket_is_found_out_and_json_is_a_line_an_event():
    run = Run(json=True)
    async with FakeComet(greeting=(HI, OTHER), ws=True) as comet, tapping(comet, run, count=5) as port:
        await talk(port, ws=True)
        await run.task

    listening, begin, *events = run.documents
    assert (listening["kind"], listening["to"]) == ("listening", f"127.0.0.1:{comet.port}")
    assert (begin["kind"], begin["connection"]) == ("begin", 1)
    assert [(event["from"], event["kind"], event.get("op")) for event in events[:7]] == [
        ("client", "upgrade request", None),
        ("comet", "upgrade response", None),
        ("client", "frame", 7),
        ("comet", "frame", 8),
        ("comet", "frame", 9),
        ("comet", "frame", 1000),
        ("comet", "frame", 1001),
    ]
    assert {event["client"] for event in events} == {begin["client"]}


async def test_only_the_operations_asked_for_are_shown_and_counted():
    run = Run(json=True)
    async with FakeComet(greeting=(HI, OTHER)) as comet, tapping(comet, run, Filter(ops=(1001,)), count=1) as port:
        await talk(port)
        await run.task

    assert [event.get("op") for event in run.documents if event["kind"] == "frame"] == [1001]
    assert run.said.getvalue().splitlines()[-1] == "1 connection, 4 frames (1 shown), nothing wrong"


async def test_heartbeats_are_left_out_when_not_wanted():
    run = Run(json=True)
    async with FakeComet() as comet, tapping(comet, run, Filter(heartbeats=False)) as port:
        async with await Client.connect_tcp("127.0.0.1", port, TOKEN, timeout_s=20) as client:
            await client.heartbeat()
            await client.send(5, b"x")
        await run.out.until('"kind": "end"')

    ops = [event["op"] for event in run.documents if event["kind"] == "frame"]
    assert ops[:2] == [7, 8]
    assert not {2, 3} & set(ops)


async def test_bad_bytes_are_passed_on_and_explained():
    run = Run()
    bad = bytes.fromhex("0000001000110001000003e800000000")
    got = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.readexactly(16))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    comet = FakeComet()
    comet.port = server.sockets[0].getsockname()[1]
    async with tapping(comet, run) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bad)
        passed = await got
        await reader.read()
        writer.close()
        await run.out.until("closed by the comet")
    server.close()

    assert passed == bad
    assert run.lines[2].endswith("-->    bad at offset 0: header length is 17; expected 16 (00 10) at offset 4")
    assert run.lines[3].strip() == "hint: comet closes the connection on this"
    assert "closed by the comet after" in run.lines[-1]


async def test_what_is_written_can_be_decoded(tmp_path: Path, invoke):
    run, path = Run(json=True), tmp_path / "traffic.pcapng"
    with path.open("wb", buffering=0) as file:
        async with FakeComet(greeting=(HI, OTHER)) as comet, tapping(comet, run, write=file) as port:
            await talk(port)
            await run.out.until('"kind": "end"')

    result = invoke("decode", "--pcap", str(path), "--json")

    _, *shown, ended = run.documents
    *decoded, ended_in_file, summary = map(json.loads, result.stdout.splitlines())
    assert decoded == shown
    # Both sockets are closed a moment after the last of both said that it would send no more.
    for event in (ended, ended_in_file):
        del event["time"], event["duration_ms"]
    assert ended_in_file == ended
    assert (result.exit_code, summary["ok"], summary["frames"]) == (0, True, 4)


async def test_a_file_that_cannot_be_written_is_told_and_costs_nothing_else():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    run = Run()
    with open("/dev/full", "wb", buffering=0) as file:
        async with FakeComet(greeting=(HI, OTHER)) as comet, tapping(comet, run, write=file, count=4) as port:
            await talk(port)
            with pytest.raises(ImctlError, match="--write: .*No space left"):
                await run.task

    assert "nothing wrong" in run.said.getvalue()


async def test_too_little_within_the_time_is_told():
    run = Run()
    async with FakeComet() as comet, tapping(comet, run, count=9, timeout_s=0.05):
        with pytest.raises(TimedOutError, match=r"0 of 9 frames within 0\.05 s"):
            await run.task


async def test_a_reader_that_has_seen_enough_ends_it():
    class Closed(Out):
        def write(self, text: str) -> int:
            raise OutputClosedError("stdout was closed by its reader")

    run = Run(out=Closed())
    async with FakeComet(greeting=(HI,)) as comet, tapping(comet, run) as port:
        await talk(port, wanted=1)
        with pytest.raises(OutputClosedError):
            await run.task


async def test_the_port_is_another_one_when_the_usual_one_is_taken():
    run = Run()
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    session = TapSession(run.printer, ("127.0.0.1", 1), Filter())
    task = asyncio.create_task(session.run(taken.sockets[0].getsockname(), fall_back=True))

    port = await run.port()

    assert port != taken.sockets[0].getsockname()[1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    taken.close()


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "imctl", "tap", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())["address"]
    assert isinstance(address, str)
    return address


@pytest.mark.parametrize(
    ("ended_by", "code", "summary"),
    [(signal.SIGINT, 130, "3 frames"), (signal.SIGTERM, 130, "3 frames"), (signal.SIGKILL, -signal.SIGKILL, "")],
)
def test_an_end_from_outside_leaves_a_file_that_can_be_read(ended_by, code, summary, tmp_path, invoke):
    path = tmp_path / "traffic.pcapng"
    with Background(lambda: FakeComet(greeting=(HI,))) as comet:
        args = ["--json", "--listen", "0", "--to", f"127.0.0.1:{comet.port}", "--write", str(path)]
        with start(*args) as process:
            port = int(address_of(process).rpartition(":")[2])
            asyncio.run(talk(port, wanted=1))
            assert process.stdout is not None
            while json.loads(process.stdout.readline())["kind"] != "end":
                pass
            while b"hi" not in path.read_bytes():
                pass
            process.send_signal(ended_by)
            rest, said = process.communicate(timeout=30)

    assert (process.returncode, rest) == (code, "")
    assert summary in said
    assert "Traceback" not in said
    assert "  1000  " in invoke("decode", "--pcap", str(path)).stdout


@pytest.mark.parametrize(
    ("args", "code", "problem"),
    [
        (["--to", "nowhere"], 2, "'nowhere' is no address"),
        (["--to", "127.0.0.1:1", "--listen", "x:y"], 2, "'x:y' is no port; expected PORT or HOST:PORT"),
        (["--to", "127.0.0.1:1", "--listen", "70000"], 2, "'70000' is no port"),
        (["--to", "127.0.0.1:1", "--write", "/no/such/folder/x"], 2, "--write /no/such/folder/x: No such file"),
        (["--to", "127.0.0.1:1", "--op", "x"], 2, "expected"),
        ([], 4, "imctl up"),
        (["--to", "127.0.0.1:1", "--listen", "0", "--timeout", "10ms"], 27, "0 frames within 0.01 s"),
    ],
)
def test_what_cannot_be_done_is_said(invoke, args, code, problem):
    result = invoke("tap", *args)

    assert result.exit_code == code
    assert problem in result.stderr
