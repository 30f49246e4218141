"""Completion: what fits where, and the scripts in real shells."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from imctl.cli.app import COMMANDS, build_app
from imctl.cli.commands.completion import Shell, complete, completion_script
from imctl.cluster.state import ClusterFolder, process_start
from sim.language.shipped import shipped_scenarios
from tests.imctl.cli.conftest import Invoke

SHELLS = ["bash", "zsh", "fish"]

Words = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("IMCTL_CLUSTER", raising=False)
    return tmp_path / "state"


@pytest.fixture(scope="module")
def group() -> TyperGroup:
    found = typer.main.get_command(build_app())
    assert isinstance(found, TyperGroup)
    return found


@pytest.fixture
def words(group: TyperGroup) -> Words:
    """Return what fits in place of the last of the words."""
    return lambda *line, env=None: dict(complete(group, line, env or {}).words)


def leave_state(cluster: str, *nodes: str, start: str | None = None) -> None:
    """Leave word of a cluster whose supervisor is this process."""
    folder = ClusterFolder(cluster)
    folder.make()
    supervisor = {"pid": os.getpid(), "start": process_start(os.getpid()) if start is None else start}
    folder.write({"supervisor": supervisor, "nodes": [{"name": node, "pid": 10} for node in nodes]})


def test_commands_come_first_and_hidden_ones_never(words: Words) -> None:
    assert list(words("")) == list(COMMANDS)
    assert list(words("res")) == ["resume", "restart"]
    assert words("")["down"] == "End the cluster; nothing is left running"


def test_nothing_fits_after_an_unknown_command(words: Words) -> None:
    assert words("nope", "") == {}


def test_options_are_the_commands_and_the_global_ones(words: Words) -> None:
    found = words("down", "--")

    assert set(found) == {"--grace", "--json", "--quiet", "--no-color", "--cluster", "--version", "--help"}
    assert found["--grace"] == "How long nodes may drain (5s)"


def test_an_option_is_offered_once_unless_it_may_be_repeated(words: Words) -> None:
    assert "--mid" in words("push", "--mid", "1", "--m")
    assert "--op" not in words("push", "--op", "1", "--o")


def test_operations_are_offered_where_their_names_are_taken(words: Words) -> None:
    assert words("encode", "--op", "aut") == {"auth": "op 7", "auth_reply": "op 8"}
    assert words("push", "--op", "") == {}


def test_after_a_double_dash_nothing_is_an_option(words: Words) -> None:
    assert words("push", "--", "--") == {}


def test_both_names_of_a_pair_are_offered(words: Words) -> None:
    assert set(words("decode", "--")) >= {"--ws", "--tcp"}
    assert "--tcp" not in words("decode", "--ws", "--")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["node", "c"], ["comet", "core"]),
        (["env", "-o", ""], ["shell", "json"]),
        (["env", "--output=j"], ["--output=json"]),
        (["up", "--compat", ""], ["goim"]),
        (["completion", ""], [shell.value for shell in Shell]),
    ],
)
def test_values_of_a_closed_set(words: Words, line: list[str], expected: list[str]) -> None:
    assert list(words(*line)) == expected


@pytest.mark.parametrize("command", ["kill", "pause", "resume", "restart"])
def test_nodes_are_those_of_the_running_cluster(words: Words, command: str) -> None:
    leave_state("default", "core", "comet-1")
    leave_state("b", "comet-9")

    assert words(command, "") == {"core": "pid 10", "comet-1": "pid 10"}
    assert list(words(command, "com")) == ["comet-1"]
    assert list(words(command, "core", "")) == []


@pytest.mark.parametrize(
    ("line", "env"),
    [
        (["kill", "--cluster", "b", ""], {}),
        (["--cluster", "b", "kill", ""], {}),
        (["--cluster=b", "kill", ""], {}),
        (["kill", "--cluster", "=", "b", ""], {}),  # as bash cuts it
        (["kill", ""], {"IMCTL_CLUSTER": "b"}),
    ],
)
def test_nodes_are_those_of_the_cluster_that_was_named(words: Words, line: list[str], env: Mapping[str, str]) -> None:
    leave_state("default", "core", "comet-1")
    leave_state("b", "comet-9")

    assert list(words(*line, env=env)) == ["comet-9"]


def test_a_cluster_that_was_killed_has_no_nodes_and_is_not_offered(words: Words) -> None:
    leave_state("dead", "comet-1", start="never")
    leave_state("alive", "comet-1")

    assert words("kill", "--cluster", "dead", "") == {}
    assert list(words("--cluster", "")) == ["alive"]
    assert list(words("ps", "--cluster=al")) == ["--cluster=alive"]
    assert list(words("ps", "--cluster", "=")) == ["alive"]


def test_logs_are_of_nodes_that_have_any_also_after_the_end(words: Words) -> None:
    folder = ClusterFolder("default")
    folder.make()
    folder.logs.mkdir()
    for node in ("core", "comet-1", "supervisor"):
        (folder.logs / f"{node}.log").write_text("")

    assert set(words("logs", "")) == {"core", "comet-1", "supervisor"}
    assert set(words("logs", "core", "-f", "")) == {"comet-1", "supervisor"}


@pytest.mark.parametrize("command", ["sim", "check"])
def test_scenarios_are_the_shipped_ones_and_files(group: TyperGroup, command: str) -> None:
    found = complete(group, [command, ""], {})

    assert set(found.words) == set(shipped_scenarios())
    assert found.words["room"] == "Live rooms"
    assert found.files


@pytest.mark.parametrize("line", [["up", "--config", ""], ["push", "--file", ""], ["decode", ""]])
def test_files_where_a_file_is_wanted(group: TyperGroup, line: list[str]) -> None:
    assert complete(group, line, {}).files


@pytest.mark.parametrize("line", [["up", ""], ["push", "--mid", ""], ["kill", ""]])
def test_no_files_elsewhere(group: TyperGroup, line: list[str]) -> None:
    assert not complete(group, line, {}).files


def test_the_answer_to_a_script_is_a_line_a_candidate(invoke: Invoke) -> None:
    shown = invoke("__complete", "--", "node", "co")

    assert shown.exit_code == 0
    assert shown.stdout == ":nothing\ncomet\t\ncore\t\n"


def test_broken_state_gives_no_candidates_and_no_error(invoke: Invoke, state_dir: Path) -> None:
    ClusterFolder("default").make()
    (state_dir / "default" / "state.json").write_text(json.dumps({"supervisor": {}}))

    shown = invoke("__complete", "--", "kill", "")

    assert (shown.exit_code, shown.output) == (0, ":nothing\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(invoke: Invoke, shell: str) -> None:
    shown = invoke("completion", shell)

    assert shown.exit_code == 0
    assert shown.stdout == completion_script(shell)
    assert f"imctl completion {shell}" in shown.stdout


@pytest.fixture
def path_with_imctl(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose `imctl` is this one, whether or not it is installed."""
    program = tmp_path / "bin" / "imctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m imctl "$@"\n')
    program.chmod(0o755)
    here = str(Path(__file__).parents[3])
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": here}


def in_bash(lines: Sequence[str], env: Mapping[str, str], folder: Path) -> list[list[str]]:
    """Return COMPREPLY for each line, whose cursor is at its end, cut into words as bash does it."""
    asked = "".join(f"answer {shlex.quote(line)} {shlex.join(line.replace('=', ' = ').split(' '))}\n" for line in lines)
    script = f"""
eval "$(imctl completion bash)"
answer() {{
    COMP_LINE=$1
    shift
    COMP_WORDS=("$@")
    COMP_CWORD=$(( $# - 1 ))
    COMPREPLY=()
    _imctl_completion
    echo "${{COMPREPLY[*]}}"
}}
{asked}"""
    command = [shutil.which("bash") or "bash", "--norc", "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, env=dict(env), cwd=folder, timeout=60)

    assert ended.stderr == ""
    return [answer.split() for answer in ended.stdout.splitlines()]


def require_shell(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def test_bash(path_with_imctl: dict[str, str], tmp_path: Path) -> None:
    require_shell("bash")
    leave_state("default", "core", "comet-1")
    leave_state("b", "comet-9")
    (tmp_path / "own.yaml").write_text("")

    answers = {
        "imctl res": ["resume", "restart"],
        "imctl kill ": ["core", "comet-1"],
        "imctl kill --cluster=b ": ["comet-9"],
        "imctl kill --cluster=": ["b", "default"],
        "imctl stats --fo": ["--follow"],
        "imctl sim roo": ["room"],
        "imctl sim ow": ["own.yaml"],
    }
    assert in_bash(list(answers), path_with_imctl, tmp_path) == list(answers.values())


def test_zsh_takes_the_script(path_with_imctl: dict[str, str], tmp_path: Path) -> None:
    require_shell("zsh")
    # _describe shows candidates only inside the line editor: what it is given is looked at instead.
    script = """
compdef() { : }
_files() { print -r -- FILES }
_describe() { print -rl -- "${(@P)2}" }
eval "$(imctl completion zsh)"
for line in "$@"; do
    words=("${(@s: :)line}"); CURRENT=$#words
    _imctl
    print -r -- .
done
"""
    leave_state("default", "core")

    lines = ["imctl kill ", "imctl completion f", "imctl sim roo"]
    command = ["zsh", "--no-rcs", "-c", script, "zsh", *lines]
    ended = subprocess.run(command, capture_output=True, text=True, env=path_with_imctl, cwd=tmp_path, timeout=60)

    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["core:pid 10", ".", "fish:", ".", "room:Live rooms", "FILES", "."]


def test_fish_takes_the_script(path_with_imctl: dict[str, str], tmp_path: Path) -> None:
    require_shell("fish")
    leave_state("default", "core")
    env = {**path_with_imctl, "HOME": str(tmp_path)}

    lines = ["imctl kill ", "imctl down --"]
    script = "imctl completion fish | source\n" + "".join(f"complete -C {json.dumps(line)}; echo =\n" for line in lines)
    command = ["fish", "--no-config", "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60)

    assert ended.stderr == ""
    nodes, options = (answer.splitlines() for answer in ended.stdout.split("\n=\n")[:2])
    assert nodes == ["core\tpid 10"]
    assert "--grace\tHow long nodes may drain (5s)" in options
