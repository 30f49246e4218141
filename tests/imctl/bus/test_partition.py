from __future__ import annotations

import json
from pathlib import Path

import pytest

from imctl.bus.partition import fnv1a32, partition_of

RECORDED = [
    (line["what"], message, line["topic_partitions"])
    for line in map(json.loads, (Path(__file__).parents[2] / "vectors" / "kafka.jsonl").read_text().splitlines())
    for message in line["messages"]
]


@pytest.mark.parametrize(("data", "value"), [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_published_examples_of_the_hash(data, value):
    assert fnv1a32(data) == value


@pytest.mark.parametrize(("what", "message", "partitions"), RECORDED, ids=[what for what, _, _ in RECORDED])
def test_a_recorded_message_has_the_partition_that_goim_chose(what, message, partitions):
    assert partition_of(bytes.fromhex(message["key_hex"]), partitions) == message["partition"]


def test_recordings_have_every_partition():
    assert {message["partition"] for _, message, _ in RECORDED} == {0, 1, 2}
