from __future__ import annotations

import asyncio

import pytest

from imctl.conform import Target, parse_target, probe
from imctl.conform.target import split_address
from imctl.errors import ClusterError, ConfigError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("goim://h?tcp=1", Target(tcp="h:1")),
        ("goim://h/?tcp=&discovery=", Target(tcp="h:3101", discovery="h:7171")),
        (
            "goim://10.0.0.1?tcp=3101&ws=3102&http=3111&grpc=3119&comet-grpc=b:3109&discovery=7171",
            Target("10.0.0.1:3101", "10.0.0.1:3102", "10.0.0.1:3111", "10.0.0.1:3119", "b:3109", "10.0.0.1:7171"),
        ),
        ("goim://[::1]?tcp=1&ws=[::2]:3", Target(tcp="[::1]:1", ws="[::2]:3")),
    ],
)
def test_parts_that_are_named_have_addresses(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        *("", "h:3101", "http://h?tcp=1", "goim://?tcp=1", "goim://h:1?tcp=1", "goim://h/x?tcp=1", "goim://u@h?tcp=1"),
        *("goim://h", "goim://h?", "goim://h?tcp=0", "goim://h?tcp=65536", "goim://h?tcp=x", "goim://h?tcp=:1"),
        *("goim://h?tpc=1", "goim://h?tcp=1&tcp=2", "goim://[::1?tcp=1", "goim://h?tcp=1&x"),
    ],
)
def test_everything_else_is_refused_with_an_example(text):
    with pytest.raises(ConfigError) as info:
        parse_target(text)

    assert "target" in str(info.value)


def test_what_is_missing_is_named_as_people_call_it():
    target = Target(tcp="h:1", comet_grpc="h:2")

    assert target.given() == {"tcp": "h:1", "comet_grpc": "h:2"}
    assert target.missing(["tcp", "http", "grpc"]) == ["logic http", "logic grpc"]
    assert target.with_parts({"tcp": None, "ws": "h:3"}) == Target(tcp="h:1", ws="h:3", comet_grpc="h:2")
    assert split_address("[::1]:3101") == ("::1", 3101)


async def test_a_probe_names_every_part_that_is_not_there():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    await probe(Target(tcp=f"127.0.0.1:{port}"))
    with pytest.raises(ClusterError) as info:
        await probe(Target(tcp=f"127.0.0.1:{port}", ws="127.0.0.1:1", http="127.0.0.1:2"))
    server.close()

    assert "comet ws 127.0.0.1:1 cannot be reached: " in str(info.value)
    assert "logic http 127.0.0.1:2 cannot be reached: " in str(info.value)
    assert "comet tcp" not in str(info.value)
