from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imctl.cli.output import OutputClosedError, OutputError, output_stream
from imctl.cli.printer import Printer

FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


class Short(io.RawIOBase):
    """A descriptor that takes a little of each write, as a pipe does when its write is cut short."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)[:1000]
        self.taken += part
        return len(part)


def test_a_long_document_arrives_whole_on_an_unbuffered_stream() -> None:
    raw = Short()
    unbuffered = io.TextIOWrapper(raw, "utf-8", write_through=True)  # type: ignore[arg-type]  # as python -u makes it

    Printer(json=True, stdout=output_stream(unbuffered)).result({"text": "é" * 100_000})

    assert json.loads(raw.taken) == {"text": "é" * 100_000}


def test_a_stream_without_a_descriptor_stays_as_it_is() -> None:
    stream = io.StringIO()

    assert output_stream(stream) is stream


def stream_on(descriptor: int) -> io.TextIOWrapper:
    """Return a stream as Python makes its own: its end leaves the descriptor open."""
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False)), "utf-8")


@pytest.fixture
def unread() -> Iterator[io.TextIOWrapper]:
    """Yield the writing end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    yield stream_on(write)
    os.close(write)


def test_a_reader_that_went_away_is_told_from_other_troubles(unread: io.TextIOWrapper) -> None:
    out = Printer(stdout=output_stream(unread))

    with pytest.raises(OutputClosedError):
        out.write("x\n")
    out.write("and what follows goes nowhere, without another word\n")


def test_rich_does_not_end_the_program_by_itself(unread: io.TextIOWrapper) -> None:
    with pytest.raises(OutputClosedError):
        Console(file=output_stream(unread)).print("x")


@needs_full
def test_a_full_disk_is_an_error_with_its_reason() -> None:
    descriptor = os.open(FULL, os.O_WRONLY)
    stream = stream_on(descriptor)

    with pytest.raises(OutputError, match="stdout cannot be written: No space left") as caught:
        Printer(stdout=output_stream(stream)).write("x\n")

    os.close(descriptor)
    assert not isinstance(caught.value, OutputClosedError)


def imctl(*args: str, shell: str) -> subprocess.CompletedProcess[str]:
    """Run `imctl ...` with its streams as a shell's redirections make them."""
    command = ["sh", "-c", f'"$@" {shell}', "sh", sys.executable, "-m", "imctl", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@needs_full
def test_a_command_whose_result_cannot_be_written_says_so_in_a_line() -> None:
    ended = imctl("scenarios", "--json", shell="> /dev/full")

    assert (ended.returncode, ended.stderr) == (1, "error: stdout cannot be written: No space left on device\n")


@needs_full
def test_the_first_error_decides_the_exit_code() -> None:
    ended = imctl("nosuch", "--json", shell="> /dev/full")

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[0] == "error: No such command 'nosuch'."


def test_a_closed_stdout_is_an_error_and_a_closed_stderr_is_none() -> None:
    without_stdout = imctl("scenarios", shell=">&-")
    without_stderr = imctl("scenarios", shell="2>&-")

    assert (without_stdout.returncode, without_stdout.stderr) == (
        1,
        "error: stdout cannot be written: Bad file descriptor\n",
    )
    assert without_stderr.returncode == 0
    assert "room" in without_stderr.stdout
