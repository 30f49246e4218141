from __future__ import annotations

import json
from pathlib import Path

import pytest

from imctl.logic.config import Backoff, LogicConfig
from imctl.logic.nodes import Nodes
from protocol.discovery_api import Instance
from protocol.pb import logic
from tests.imctl.logic.fakes import comet_instance

RECORDED = [
    entry
    for entry in map(json.loads, (Path(__file__).parents[2] / "vectors" / "grpc.jsonl").read_bytes().splitlines())
    if entry["kind"] == "direct" and entry["method"] == "/goim.logic.Logic/Nodes"
]


def nodes_of(*comets: Instance, **settings) -> Nodes:
    nodes = Nodes(LogicConfig(**settings))
    nodes.update(comets)
    return nodes


@pytest.mark.parametrize("entry", RECORDED, ids=[entry["what"] for entry in RECORDED])
def test_recorded_replies(entry):
    request = logic.NodesReq.FromString(bytes.fromhex(entry["request_hex"]))

    reply = nodes_of(comet_instance()).reply(request)

    assert reply.SerializeToString().hex() == entry["reply_hex"]


def test_a_comet_may_have_many_addresses_or_none():
    assert nodes_of(comet_instance(addrs="1.1.1.1,2.2.2.2")).weighted("")["nodes"] == ["1.1.1.1", "2.2.2.2"]
    assert nodes_of(comet_instance(addrs="")).weighted("")["nodes"] == [""]


def test_what_is_zero_is_left_out_and_whole_numbers_have_no_point():
    data = nodes_of(wss_port=0, heartbeat_s=0.5, backoff=Backoff(factor=2.0, jitter=0.0)).weighted("web")

    assert data == {
        "domain": "conn.goim.io",
        "tcp_port": 3101,
        "ws_port": 3102,
        "nodes": ["conn.goim.io"],
        "backoff": {"max_delay": 300, "base_delay": 3, "factor": 2},
        "heartbeat_max": 2,
    }
    assert json.dumps(data["backoff"]) == '{"max_delay": 300, "base_delay": 3, "factor": 2}'


def test_totals_are_of_comets_that_are_not_offline():
    nodes = nodes_of(
        comet_instance("a", conns=3, ips=2), comet_instance("b", conns=4, ips=1), comet_instance("c", offline="true")
    )

    assert nodes.total() == {"conn_count": 7, "ip_count": 3}
