from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from imctl.cli.commands.conform import target_of
from imctl.cluster.client import ClusterInfo, NodeInfo
from imctl.cluster.inprocess import LocalCluster
from imctl.conform import CASES, Target
from imctl.errors import ClusterError
from tests.imctl.cli.background import Background, FakeLogic


@pytest.fixture(scope="module")
def cluster():
    with Background(LocalCluster) as found:
        yield found


def test_cases_pass_against_a_target(invoke, cluster):
    result = invoke("conform", f"goim://127.0.0.1?http={cluster.http}", "--only", "*push-room-*", "--only", "tcp-ops")

    assert result.exit_code == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["CASE", "EXPECTED", "GOT", "VERDICT"]
    assert any(line.startswith("skipped: tcp-ops.") and "no address of comet tcp given" in line for line in lines)
    assert " passed, 0 failed, " in lines[-1]
    assert "not tested: comet tcp\n" in result.stderr


def test_options_name_parts_too(invoke, cluster):
    result = invoke("conform", "--tcp", cluster.tcp, "--ws", cluster.ws, "--only", "frames.header-len-15", "--json")

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["target"] == {"tcp": cluster.tcp, "ws": cluster.ws}
    assert document["verdict"] == "pass"
    assert [case["id"] for case in document["cases"]] == ["tcp-frames.header-len-15", "ws-frames.header-len-15"]
    assert document["cases"][0]["source"] == "tcp-sessions.jsonl: header-len-15"
    assert result.stderr == ""


def test_a_failure_exits_1_and_is_in_the_junit_file(invoke, tmp_path):
    path = tmp_path / "conform.xml"
    with Background(lambda: FakeLogic({"/goim/push/keys": (200, '{"code":7,"message":""}')})) as logic:
        result = invoke("conform", "--http", logic.address, "--only", "*push-keys-ok", "--junit", str(path))
        # One more request, behind which the server has seen the end of every connection before it.
        invoke("online", "--total", "--target", logic.address)

    assert result.exit_code == 1
    assert "logic-http.push-keys-ok" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("0 passed, 1 failed")
    suite = ElementTree.parse(path).getroot()[0]
    assert (suite.get("name"), suite.get("failures")) == ("logic-http", "1")


def test_a_run_in_which_nothing_was_tried_says_so(invoke, cluster):
    result = invoke("conform", "--tcp", cluster.tcp, "--only", "logic-grpc")

    assert result.exit_code == 0
    assert "warning: no case was tried\nhint: imctl conform --list" in result.stderr


def test_a_target_that_is_not_there_exits_4(invoke):
    result = invoke("conform", "--tcp", "127.0.0.1:1", "--http", "127.0.0.1:2", "--json")

    assert result.exit_code == 4
    message = json.loads(result.stdout)["error"]["message"]
    assert "comet tcp 127.0.0.1:1 cannot be reached: " in message
    assert "logic http 127.0.0.1:2 cannot be reached: " in message


def test_without_a_cluster_it_exits_4(invoke):
    result = invoke("conform")

    assert (result.exit_code, result.stderr.splitlines()[1]) == (4, "hint: imctl up")


def test_cases_are_listed(invoke):
    text = invoke("conform", "--list")
    document = json.loads(invoke("conform", "--list", "--json", "--only", "idle-pings").stdout)

    assert text.stdout.splitlines()[0].startswith("tcp-frames.header-len-15  ")
    assert text.stdout.splitlines()[-1].startswith(f"{len(CASES)} cases, ")
    assert [case["id"] for case in document["cases"]] == ["logic-grpc.idle-pings", "comet-grpc.idle-pings"]
    assert document["cases"][0]["slow"] is True


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ("h:3101", "goim://HOST?PART=PORT"),
        ("goim://h?tpc=1", "'tpc' is not one of"),
        ("goim://h", "names no part to test"),
        ("--tcp nowhere", "'nowhere' is no address"),
        ("--only nothing-like-it", "no case matches"),
        ("--timeout 0s", "must be more than 0"),
        ("--timeout 5", "is not a duration"),
        ("--junit /no/such/folder/x.xml", "there is no folder /no/such/folder"),
    ],
)
def test_wrong_use_exits_2_and_says_why(invoke, args, problem):
    result = invoke("conform", *args.split())

    assert result.exit_code == 2
    assert problem in result.stderr


def info(*nodes: NodeInfo, registry: str | None = None) -> ClusterInfo:
    from pathlib import Path

    return ClusterInfo("c", "memory://", "memory://", registry, nodes, "", 1, "", Path("x"), Path("x"), {})


def test_of_a_running_cluster_one_comet_and_one_logic_are_tested():
    core = {"logic.http": "h:3111", "logic.grpc": "h:3119", "registry.http": "h:7171"}
    comets = [
        NodeInfo(f"comet-{n}", "comet", n, {"tcp": f"h:{n}1", "ws": f"h:{n}2", "wss": None, "grpc": f"h:{n}9"})
        for n in (1, 2)
    ]

    found = target_of(info(NodeInfo("core", "core", 1, core), *comets))

    assert found == Target("h:11", "h:12", "h:3111", "h:3119", "h:19", "h:7171")


def test_a_registry_elsewhere_is_tested_too():
    logic = NodeInfo("logic-1", "logic", 1, {"http": "h:1", "grpc": "h:2"})

    assert target_of(info(logic, registry="http://d:7171/")) == Target(http="h:1", grpc="h:2", discovery="d:7171")
    with pytest.raises(ClusterError):
        target_of(info())
