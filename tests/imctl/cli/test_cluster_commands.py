"""What people see of a cluster, and what commands say when there is none."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imctl.cli.commands.env import Environment
from imctl.cli.commands.ps import Processes
from imctl.cli.commands.stats import Counted
from imctl.cli.commands.up import Banner
from imctl.cli.printer import Renderable
from imctl.cluster.state import ClusterFolder, process_start
from tests.imctl.cli.conftest import Invoke

NODE: dict[str, Any] = {
    "name": "comet-1",
    "kind": "comet",
    "pid": 42,
    "state": "running",
    "uptime_s": 185.0,
    "cpu_s": 1.5,
    "cpu_percent": 12.0,
    "rss_bytes": 57_500_000,
    "restarts": 2,
    "last_exit": "signal SIGKILL",
    "addresses": {"tcp": "127.0.0.1:3101", "wss": None},
}
SUMMARY: dict[str, Any] = {
    "cluster": "default",
    "ready_ms": 840,
    "bus": "memory://",
    "store": "memory://",
    "messages": None,
    "registry": "http://127.0.0.1:7171",
    "persistent": False,
    "nodes": [NODE],
}


def shown(value: Renderable, width: int = 80) -> str:
    out = io.StringIO()
    value.render(Console(file=out, width=width, no_color=True))
    return out.getvalue()


def test_banner_shows_addresses_what_lasts_and_what_to_try() -> None:
    text = shown(Banner(SUMMARY, detached=True))

    for part in ("ready in 840 ms", "tcp           127.0.0.1:3101", "gone after a stop", "http://127.0.0.1:7171"):
        assert part in text
    assert 'imctl push --mid 1 "hi"\n' in text
    assert "end it:  imctl down" in text
    assert "wss" not in text


def test_banner_of_a_named_persistent_cluster_in_the_foreground() -> None:
    text = shown(Banner({**SUMMARY, "cluster": "b", "store": "redis://h", "persistent": True}, detached=False))

    assert "sessions survive a stop" in text
    assert "imctl listen --mid 1 --cluster b" in text
    assert "end it:  Ctrl-C" in text


def test_banner_says_in_which_file_messages_survive_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")

    text = shown(Banner({**SUMMARY, "cluster": "b", "messages": "sqlite://?keep=all"}, detached=True))

    assert "sqlite://?keep=all  (kept for users who are away; survive a stop)" in text
    assert "          in /data/imctl/messages-b.db\n" in text


def test_banner_says_what_an_embedded_server_keeps() -> None:
    nodes = [NODE, {**NODE, "name": "valkey", "kind": "valkey", "addresses": {"valkey": "127.0.0.1:3179"}}]
    text = shown(Banner({**SUMMARY, "nodes": nodes, "store": "valkey://127.0.0.1:3179"}, detached=True), width=120)

    assert "valkey://127.0.0.1:3179  (embedded; sessions do not survive a stop)" in text
    assert "memory://  (messages under way are gone after a stop)" in text

    text = shown(
        Banner({**SUMMARY, "nodes": nodes, "bus": "valkey://127.0.0.1:3179?stream=s"}, detached=True), width=120
    )

    assert "valkey://127.0.0.1:3179?stream=s  (embedded; messages do not survive a stop)" in text


def test_ps_fits_into_80_columns() -> None:
    text = shown(Processes({"nodes": [NODE]}))

    row = next(line for line in text.splitlines() if "running" in line)
    assert " ".join(row.split()) == "comet-1 comet 42 running 3m05s 12% 57.5 MB 2 signal SIGKILL"
    assert "tcp           127.0.0.1:3101" in text
    assert max(map(len, text.splitlines())) <= 80


def test_ps_says_nothing_of_ends_where_there_were_none() -> None:
    assert "last end" not in shown(Processes({"nodes": [{**NODE, "restarts": 0, "last_exit": ""}]}))


def test_nothing_of_a_busy_cluster_is_cut_at_80_columns() -> None:
    name = "comet-eu-west-production-17"
    busy = {"state": "restarting", "pid": 4_194_304, "cpu_percent": 199.7, "rss_bytes": 12_345_678_901, "restarts": 123}
    node = {**NODE, **busy, "name": name, "addresses": {"tcp": "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:31011"}}
    drops = {"hooks.AVeryLongNamedRoomPolicyOfATeamWithAnEvenLongerName.already_logged_in": 1_234_567_890}
    stats = {"kind": "logic", "counters": {}, "gauges": {}, "drops": drops}
    counted = Counted("c", "", [{**node, "parts": {"logic": stats}, "problem": ""}])

    for result in (Processes({"nodes": [node]}), counted, Banner({**SUMMARY, "nodes": [node]}, detached=True)):
        text = shown(result)
        assert "…" not in text
    text = shown(Processes({"nodes": [node]}))
    for part in (
        name,
        "4194304",
        "restarting",
        "200%",
        "12.3 GB",
        "123",
        "signal SIGKILL",
        *node["addresses"].values(),
    ):
        assert part in text
    assert [f"{next(iter(drops))}", "1,234,567,890"] == shown(counted).split()[-2:]


def test_stats_show_what_counted_and_what_was_dropped() -> None:
    stats = {
        "kind": "comet",
        "counters": {"pushes": 12_345, "refused_auth": 0},
        "drops": {"comet.slow_client": 3},
        "gauges": {"connections": 7},
    }
    node = {**NODE, "parts": {"comet": stats}, "drops": stats["drops"], "problem": ""}

    text = shown(Counted("default", "2026-01-01T00:00:00", [node], {("comet-1", "comet", "pushes"): 1000.0}))

    rows = [line.split() for line in text.splitlines()]
    assert ["comet", "connections", "7"] in rows
    assert ["comet", "pushes", "12,345", "1,000/s"] in rows
    assert ["comet", "dropped:", "comet.slow_client", "3"] in rows
    assert "refused_auth" not in text


def test_stats_show_why_a_node_did_not_answer() -> None:
    node = {**NODE, "state": "paused", "parts": {}, "drops": {}, "problem": "comet-1 is paused"}

    assert "comet-1 is paused" in shown(Counted("default", "", [node]))


def test_env_is_quoted_and_never_wrapped() -> None:
    text = shown(Environment({"IMCTL_STORE": "redis://h/0?a=b c" + "x" * 100}), width=40)

    assert text == f"export IMCTL_STORE='redis://h/0?a=b c{'x' * 100}'\n"


@pytest.mark.parametrize("command", [["down"], ["ps"], ["stats"], ["env"], ["kill", "core"], ["restart", "core"]])
def test_without_a_cluster_a_command_says_how_to_start_one(invoke: Invoke, command: list[str]) -> None:
    ended = invoke(*command, "--json")

    assert ended.exit_code == 4
    assert json.loads(ended.stdout)["error"]["hint"] == "imctl up"
    assert "there is no cluster 'default'" in ended.stderr


def test_logs_are_shown_after_the_cluster_has_ended(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "default" / "logs"
    folder.mkdir(parents=True)
    (folder / "core.log").write_text(
        "2026-01-01T00:00:01.000 INFO imctl: one\n2026-01-01T00:00:02.000 ERROR imctl: two\n"
    )

    assert (
        invoke("logs", "core").stdout
        == "core       00:00:01.000 INFO imctl: one\ncore       00:00:02.000 ERROR imctl: two\n"
    )
    assert json.loads(invoke("logs", "-n", "1", "--json").stdout) == {
        "node": "core",
        "time": "2026-01-01T00:00:02.000",
        "text": "ERROR imctl: two",
    }
    unknown = invoke("logs", "comet-9")
    assert unknown.exit_code == 2
    assert "no log of 'comet-9'; there are: core" in unknown.stderr


def test_logs_names_the_nodes_of_the_cluster_that_runs(invoke: Invoke, tmp_path: Path) -> None:
    folder = write_running_state()
    folder.logs.mkdir()
    for node in ("core", "comet-1", "comet-2", "supervisor"):
        (folder.logs / f"{node}.log").write_text("2026-01-01T00:00:01.000 INFO imctl: one\n")

    unknown = invoke("logs", "nosuch")
    earlier = invoke("logs", "comet-2")

    assert unknown.exit_code == 2
    assert "there are: comet-1, core, supervisor\n" in unknown.stderr
    assert earlier.stdout == "comet-2    00:00:01.000 INFO imctl: one\n"


def test_logs_of_a_cluster_that_never_was_say_how_to_start_that_one(invoke: Invoke) -> None:
    shown = invoke("logs", "--cluster", "c")

    assert (shown.exit_code, shown.stderr.splitlines()[1]) == (4, "hint: imctl up --cluster c --any-port")


def write_running_state(cluster: str = "default") -> ClusterFolder:
    """Leave word of a cluster whose supervisor is this process."""
    folder = ClusterFolder(cluster)
    folder.make()
    nodes = [{"name": name, "kind": name, "pid": 1, "addresses": {}} for name in ("core", "comet-1")]
    folder.write(
        {
            "bus": "memory://",
            "store": "memory://",
            "registry": None,
            "started_at": "2026",
            "nodes": nodes,
            "supervisor": {"pid": os.getpid(), "start": process_start(os.getpid())},
            "control": str(folder.control),
            "logs": str(folder.logs),
        }
    )
    return folder


DAMAGED = {
    '{"supervisor":{}}': "supervisor.pid is missing; expected a whole number",
    '{"supervisor":{"pid":"x","start":"1"}}': 'supervisor.pid is "x"; expected a whole number',
    '{"supervisor":{"pid":true,"start":"1"}}': "supervisor.pid is true; expected a whole number",
    '{"supervisor":{"pid":1}}': "supervisor.start is missing; expected text",
    '{"supervisor":3}': "supervisor is 3; expected a mapping",
    "[]": "it is JSON, but no mapping",
    "": "it is no JSON",
    '{"a":': "it is no JSON",
}


COMMANDS = ("down", "stats", "env", "kill core", "push --mid 1 x", "listen", "online", "conform", "sim smoke")


@pytest.mark.parametrize(
    ("command", "text"),
    [*(("ps", text) for text in DAMAGED), *((command, '{"supervisor":{}}') for command in COMMANDS)],
)
def test_a_damaged_state_file_is_no_fault_of_ours(invoke: Invoke, command: str, text: str) -> None:
    folder = ClusterFolder("default")
    folder.make()
    folder.state.write_text(text)

    shown = invoke(*command.split())

    why = DAMAGED[text]
    assert shown.exit_code == 4
    assert shown.stderr.splitlines() == [
        f"error: cluster 'default': state file {folder.state} cannot be used: {why}",
        "hint: no supervisor runs there: `imctl up` replaces the file, or remove it",
    ]


@pytest.mark.parametrize("command", ["up --any-port", "up --any-port --detach", "up --any-port --tls", "ps"])
def test_a_state_folder_that_is_a_file_is_refused(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    place = tmp_path / "file"
    place.touch()
    monkeypatch.setenv("IMCTL_STATE_DIR", str(place))

    shown = invoke(*command.split())

    assert shown.exit_code == 3
    assert shown.stderr.startswith(f"error: the state folder cannot be used: {place}")
    assert "hint: set IMCTL_STATE_DIR to a folder" in shown.stderr


def test_how_to_end_a_pause_is_said_with_the_cluster(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(*args: object) -> dict[str, Any]:
        return {"node": "comet-1", "pid": 7}

    write_running_state("c")
    monkeypatch.setattr("imctl.cli.commands.control._ask", asked)

    shown = invoke("pause", "comet-1", "--cluster", "c")

    assert shown.stdout == "comet-1 (pid 7) is paused: imctl resume comet-1 --cluster c\n"


def test_a_name_that_is_up_already_is_ended_by_the_command_in_the_hint(invoke: Invoke) -> None:
    holder = ClusterFolder("c")
    holder.acquire()

    shown = invoke("up", "--cluster", "c", "--any-port")
    holder.release()

    assert shown.exit_code == 1
    assert f"error: cluster 'c' is already up (supervisor pid {os.getpid()})\n" in shown.stderr
    assert "end it with `imctl down --cluster c`, or" in shown.stderr
