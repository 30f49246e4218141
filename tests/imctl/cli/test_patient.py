from __future__ import annotations

import io
import os

from imctl.cli.patient import PatientOutput


def test_a_stream_in_memory_takes_everything():
    stream = io.StringIO()
    output = PatientOutput(stream)

    output.write("one ")
    output.write("two")

    assert output.send()
    assert stream.getvalue() == "one two"


def test_what_a_pipe_does_not_take_is_kept_and_nothing_waits():
    reading, writing = os.pipe()
    text = "".join(f"{number:07d}\n" for number in range(100_000))
    got = b""

    with open(writing, "w", encoding="utf-8") as stream, open(reading, "rb", buffering=0) as reader:
        output = PatientOutput(stream)
        output.write(text)
        sent = [output.send(), output.send()]
        while not output.send():
            got += reader.read(65536)
        while len(got) < len(text):
            got += reader.read(65536)

    assert sent == [False, False]
    assert got.decode() == text
