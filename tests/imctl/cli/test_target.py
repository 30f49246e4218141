from __future__ import annotations

from types import SimpleNamespace

import pytest
import typer

from imctl.cli.context import Context
from imctl.cli.target import comet_address, logic_address, parse_room, parse_target
from imctl.errors import ClusterError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:3111", "127.0.0.1:3111"),
        ("http://logic.example:3111/", "logic.example:3111"),
        ("ws://h:1", "h:1"),
        ("[::1]:03111", "[::1]:3111"),
    ],
)
def test_a_target_is_an_address_with_or_without_its_scheme(text, address):
    assert parse_target(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "h:1/path", "a b:1", "::1:3111"])
def test_other_text_is_refused(text):
    with pytest.raises(typer.BadParameter, match="expected HOST:PORT"):
        parse_target(text)


def test_rooms_have_a_type_and_an_id():
    assert parse_room("live://a://b") == ("live", "a://b")
    for text in ("live", "live://", "://1", ""):
        with pytest.raises(typer.BadParameter, match="expected TYPE://ID"):
            parse_room(text)


def test_a_target_goes_before_the_cluster():
    assert logic_address(Context(), "h:1") == "h:1"
    assert comet_address(Context(), "[::1]:3101", ws=False) == ("::1", 3101)


def test_without_a_target_the_cluster_tells(monkeypatch):
    found = SimpleNamespace(logic_http="127.0.0.1:3111", comet_tcp=["127.0.0.1:3101", "127.0.0.1:3104"], comet_ws=[])
    monkeypatch.setattr("imctl.cluster.client.find_cluster", lambda name: found)

    assert logic_address(Context(), None) == "127.0.0.1:3111"
    assert comet_address(Context(), None, ws=False) == ("127.0.0.1", 3101)
    with pytest.raises(ClusterError, match="no comet that listens for WebSocket"):
        comet_address(Context(), None, ws=True)
