"""`imctl connect` and `imctl encode` as a user has them: a real cluster, a real terminal, pipes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from imctl.cli.line_editor import ERASE
from tests.e2e.conftest import Imctl

TIME = re.compile(r"\d\d:\d\d:\d\d\.\d{3}")
STYLE = re.compile(r"\x1b\[\d*m")  # NO_COLOR leaves bold and dim
BAD_HEADER = "00000010 0011 0001 00000002 00000000"


class Terminal:
    """A terminal with a program on it; reads what is drawn until something is there."""

    def __init__(self, imctl: Imctl, *args: str) -> None:
        self._user, self._program = pty.openpty()
        self.before = termios.tcgetattr(self._program)
        self._seen = ""
        self.process = imctl.start(*args, terminal=self._program)

    def type(self, keys: str) -> None:
        os.write(self._user, keys.encode())

    def until(self, text: str) -> str:
        """Return what was drawn since the last call, up to and with a text; times in it are T, without styles."""
        until_s = time.monotonic() + 80
        while text not in self._seen:
            left_s = until_s - time.monotonic()
            assert left_s > 0, f"{text!r} is not in {self._seen!r}"
            if select.select([self._user], [], [], left_s)[0]:
                self._seen = TIME.sub("T", STYLE.sub("", self._seen + os.read(self._user, 4096).decode()))
        found, _, self._seen = self._seen.partition(text)
        return found + text

    def end(self) -> tuple[int, str]:
        """Wait for the end of the program; return its exit code and what it left of the terminal's modes."""
        code = self.process.wait(80)
        same = termios.tcgetattr(self._program) == self.before
        return code, "as before" if same else "changed"

    def close(self) -> None:
        os.close(self._user)
        os.close(self._program)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imctl]:
    """One cluster for all that leave it as it is."""
    imctl = Imctl(tmp_path_factory.mktemp("connect") / "state")
    imctl.env["TERM"] = "xterm"
    try:
        imctl.json("up", "--any-port", "--detach")
        yield imctl
        imctl.run("down")
    finally:
        imctl.end_all()


@contextlib.contextmanager
def terminal(imctl: Imctl, *args: str) -> Iterator[Terminal]:
    found = Terminal(imctl, *args)
    try:
        yield found
    finally:
        found.close()


def test_a_prompt_shows_frames_and_keeps_the_line_being_typed(cluster):
    with terminal(cluster, "connect", "--mid", "1", "--heartbeat-every", "0s") as screen:
        screen.until("help shows the commands; Ctrl-D ends\r\n")
        screen.type("ro\tlive://7\r")
        changed = screen.until("13 change_room_reply    1    2  live://7\r\n")
        screen.type("ronm nowhere\r")
        screen.until("warning: 'ronm' is no command; is room meant?\r\n")
        screen.type("send 1001 half")
        screen.until("> send 1001 half")

        assert cluster.run("push", "--room", "live://7", "hello").returncode == 0
        pushed = screen.until(f"hello\r\n{ERASE}> send 1001 half")
        screen.type(" and half\x1b[D\x1b[D\x1b[DX\r")
        sent = screen.until("<- 1001                      1    3\r\n")
        screen.type("\x04")
        screen.until("closed: 3 sent, 4 received\r\n")
        ended = screen.end()

    assert f"{ERASE}> room live://7\r\n" in changed
    assert "T ->   12 change_room          1    2  live://7\r\n" in changed
    # The line goes away, the frame is printed, the line is back: nothing of one is within the other. Keys that were
    # read in two pieces have the line drawn once more before.
    assert pushed.endswith(f"{ERASE}T <- 1000                      1    0  hello\r\n{ERASE}> send 1001 half")
    assert set(pushed.split(ERASE)[:-2]) <= {"", "> send 1001 half"}
    assert "T -> 1001                      1    3  half and hXalf\r\n" in sent
    assert ended == (0, "as before")


def test_ctrl_c_and_a_comet_that_closes_leave_the_terminal_as_it_was(cluster):
    with terminal(cluster, "connect", "--mid", "1") as screen:
        screen.until("Ctrl-D ends\r\n")
        screen.type("half a li\x03")
        interrupted = screen.end()
    with terminal(cluster, "connect", "--mid", "1") as screen:
        screen.until("Ctrl-D ends\r\n")
        screen.type(f"raw {BAD_HEADER}\rhalf a li")
        screen.until("hex 00000010 00110001 00000002 00000000\r\n")
        said = screen.until("hint: the comet's log has the reason\r\n")
        closed = screen.end()

    assert interrupted == (130, "as before")
    assert f"{ERASE}error: comet: connection closed: " in said
    assert closed == (4, "as before")


def test_frames_go_to_a_pipe_while_the_prompt_is_on_the_terminal(cluster, tmp_path):
    user, program = pty.openpty()
    with open(tmp_path / "frames", "wb+") as out:
        command = [sys.executable, "-m", "imctl", "connect", "--ws", "--json", "--quiet"]
        process = subprocess.Popen(command, stdin=program, stdout=out, stderr=program, env=cluster.env)
        os.write(user, b"beat\rquit\r")
        assert process.wait(80) == 0
        out.seek(0)
        frames = [json.loads(line) for line in out]
    os.close(user)
    os.close(program)

    assert [(frame["direction"], frame["name"]) for frame in frames] == [
        *(("sent", "auth"), ("received", "auth_reply"), ("sent", "heartbeat"), ("received", "heartbeat_reply")),
    ]


def test_a_script_gets_what_is_pushed_and_a_reader_that_leaves_ends_it(cluster):
    command = [sys.executable, "-m", "imctl", "connect", "--mid", "1", "--accepts", "1000", "--json"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env=cluster.env, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("room live://2\nwait 13 60s\nwait 1000 60s\nbeat\n")
        process.stdin.flush()
        while json.loads(process.stdout.readline())["op"] != 13:
            pass
        cluster.run("push", "--room", "live://2", "to the script")
        pushed = json.loads(process.stdout.readline())
        answered = [json.loads(process.stdout.readline())["name"] for _ in range(2)]
        process.stdout.close()
        process.stdin.write("beat\nwait 3\n")
        process.stdin.close()
        process.stdin = None
        code = process.wait(80)

    assert (pushed["op"], pushed["body"]) == (1000, "to the script")
    assert answered == ["heartbeat", "heartbeat_reply"]
    assert code == 141


def test_encoded_bytes_are_what_a_comet_takes(cluster):
    beat = cluster.run("encode", "--op", "heartbeat", "--seq", "77", "--ver", "5").stdout
    script = f"raw {beat}\nwait heartbeat_reply\n"
    ended = subprocess.run(
        [sys.executable, "-m", "imctl", "connect", "--json"],
        env=cluster.env,
        input=script,
        capture_output=True,
        text=True,
        timeout=80,
    )

    *_, sent, reply = map(json.loads, ended.stdout.splitlines())
    assert (sent["op"], sent["ver"], sent["seq"]) == (2, 5, 77)
    assert (reply["op"], reply["ver"], reply["seq"], reply["online"]) == (3, 5, 77, 0)
    assert ended.returncode == 0


def test_raw_bytes_are_not_written_to_a_terminal(imctl):
    with terminal(imctl, "encode", "--op", "2", "--raw") as screen:
        said = screen.until("hint: imctl encode --help\r\n")
        ended = screen.end()

    assert "error: Invalid value for --raw: stdout is a terminal; bytes are for a pipe or a file" in said
    assert ended == (2, "as before")
