"""Followed messages across real processes: `imctl trace`, and the hops of `imctl sim`."""

from __future__ import annotations

import json

import pytest

SCENARIO = """\
name: tiny
clients: [{name: viewers, count: 10, room: "live://1"}]
publish: [{to: room, rooms: viewers, rate: 50/s}]
phases: [{name: steady, duration: 1s}]
trace: 20/s
"""


def test_a_push_is_followed_from_process_to_process(imctl):
    imctl.json("up", "--any-port", "--comet", "2", "--detach")

    document = imctl.json("trace", "--room", "live://1", "--listen")
    imctl.run("pause", "comet-2")
    paused = imctl.json("trace", "--all", "--timeout", "300ms")
    imctl.run("down")

    hops = document["hops"]
    assert [(hop["hop"], hop["node"]) for hop in hops] == [
        *(("push", "logic-1"), ("logic", "logic-1"), ("bus", "job-1")),
        *(("job", "job-1"), ("comet", "comet-1"), ("job", "job-1"), ("comet", "comet-2"), ("wire", "client")),
    ]
    assert document["hidden"] == {}
    assert [hop["clients"] for hop in hops if hop["hop"] == "comet"] == [1, 0]
    # One clock for all processes: along the way of the client's comet the parts are the whole.
    comet, wire = hops[4], hops[-1]
    own = [hop["took_ms"] for hop in (*hops[:5], wire)]
    assert all(took_ms >= 0 for took_ms in own)
    # A comet that loses its core between the write and its note of it says a later time than the client.
    assert sum(own) == pytest.approx(max(comet["at_ms"], wire["at_ms"]), abs=0.01)
    # A node that stands still hides its own hop, and no other.
    assert paused["hidden"]["comet"] == "comet-2 is paused"
    assert [hop["server"] for hop in paused["hops"] if hop["hop"] == "comet"] == ["comet-1"]


def test_a_simulated_run_has_hops(imctl, tmp_path):
    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(SCENARIO)

    document = json.loads(imctl.run("sim", str(scenario), "--json").stdout)

    hops = document["hops_ms"]
    assert hops["reason"] == ""
    assert 8 <= hops["traced"] <= 30
    assert {hops[name]["count"] for name in ("publish", "logic", "bus", "job", "comet", "wire", "total")} == {
        hops["traced"]
    }
    assert 0 <= hops["job"]["batching_percent"] <= 100
