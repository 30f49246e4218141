"""What people see of a cluster, and what commands say when there is none."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imctl.cli.commands.env import Environment
from imctl.cli.commands.ps import Processes
from imctl.cli.commands.stats import Counted
from imctl.cli.commands.up import Banner
from imctl.cli.printer import Renderable
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

    assert "sessions: survives a stop" in text
    assert "imctl listen --mid 1 --cluster b" in text
    assert "end it:  Ctrl-C" in text


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
    assert " ".join(row.split()) == "comet-1 comet 42 running 3m05s 12% 57.5 MB 2 (signal SIGKILL)"
    assert "tcp           127.0.0.1:3101" in text


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
    assert unknown.exit_code == 4
    assert "there are: core" in unknown.stderr
