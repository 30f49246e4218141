from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from imctl.cli.app import build_app, hoist_globals
from imctl.cli.context import Context
from imctl.errors import ClusterError, ConfigError
from tests.imctl.cli.conftest import Invoke


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        (["ps", "--json"], ["--json", "ps"]),
        (["--json", "ps"], ["--json", "ps"]),
        (["push", "--mid", "1", "--cluster", "b", "hi"], ["--cluster", "b", "push", "--mid", "1", "hi"]),
        (["push", "--cluster=b", "hi", "--quiet"], ["--cluster=b", "--quiet", "push", "hi"]),
        (["push", "--", "--json"], ["push", "--", "--json"]),
        (["ps", "--cluster"], ["--cluster"]),
        (["ps", "--cluster", "--json"], ["--cluster"]),
    ],
)
def test_global_options_stand_anywhere_before_a_double_dash(given: list[str], expected: list[str]) -> None:
    assert hoist_globals(given) == expected


def test_help_names_every_command_and_an_example(invoke: Invoke) -> None:
    shown = invoke("--help")

    assert shown.exit_code == 0
    for name in ("up", "down", "ps", "logs", "stats", "env", "wait", "kill", "pause", "resume", "restart", "node"):
        assert f"\n  {name} " in shown.output
    assert "imctl up" in shown.output


@pytest.mark.parametrize("args", [("ps", "--cluster"), ("ps", "--cluster", "--json")])
def test_a_cluster_without_its_name_is_a_usage_error(invoke: Invoke, args: tuple[str, ...]) -> None:
    ended = invoke(*args)

    assert ended.exit_code == 2
    assert "Option '--cluster' requires an argument." in ended.stderr


def test_help_cuts_no_command_short(invoke: Invoke) -> None:
    commands = invoke("--help").output.partition("Commands:")[2].partition("Examples:")[0]

    assert "..." not in commands
    assert "nobody online is only a warning" in " ".join(commands.split())


def test_a_word_that_is_none_of_the_choices_is_said_without_the_parsers_own_words(invoke: Invoke) -> None:
    ended = invoke("env", "-o", "xml")

    assert ended.exit_code == 2
    assert ended.stderr.startswith("error: Invalid value for '-o' / '--output': 'xml' is not one of 'shell', 'json'.")


def test_no_arguments_show_the_help(invoke: Invoke) -> None:
    assert invoke().output == invoke("--help").output


@pytest.mark.parametrize(
    "command", ["up", "down", "ps", "logs", "stats", "env", "wait", "kill", "pause", "resume", "restart", "node"]
)
def test_help_of_a_command_has_an_example(invoke: Invoke, command: str) -> None:
    shown = invoke(command, "-h")

    assert shown.exit_code == 0
    assert "Example" in shown.output
    assert f"imctl {command}" in shown.output.partition("Example")[2]


def test_help_imports_nothing_that_is_slow(tmp_path: Path) -> None:
    # A new process: this one has imported everything already.
    script = """
import sys
from imctl.cli.app import main
try:
    main(["--help"])
except SystemExit as exc:
    assert exc.code == 0
slow = {"aiohttp", "asyncio", "grpc", "google", "psutil", "pydantic", "redis", "rich", "uvloop", "yaml"}
sys.exit(f"imported: {sorted(slow & set(sys.modules))}" if slow & set(sys.modules) else 0)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)

    assert ended.returncode == 0, ended.stderr


def test_version(invoke: Invoke) -> None:
    shown = invoke("--version")

    assert shown.exit_code == 0
    assert shown.stdout.startswith("imctl ")


def test_unknown_option_is_a_usage_error_with_a_hint(invoke: Invoke) -> None:
    shown = invoke("ps", "--jsn")

    assert shown.exit_code == 2
    assert shown.stdout == ""
    assert "No such option: --jsn" in shown.stderr
    assert "hint: imctl ps --help" in shown.stderr


def test_unknown_command_with_json_is_one_document_on_stdout_and_text_on_stderr(invoke: Invoke) -> None:
    shown = invoke("pss", "--json")

    assert shown.exit_code == 2
    error = json.loads(shown.stdout)["error"]
    assert error["kind"] == "UsageError"
    assert error["exit"] == 2
    assert "pss" in error["message"]
    assert "error: " in shown.stderr


def invoke_failing(exc: BaseException, *args: str) -> Result:
    app = build_app()

    @app.command("fail")
    def fail(ctx: typer.Context) -> None:
        if ctx.obj.cluster == "after":
            ctx.obj.printer.result({"done": 1})
        raise exc

    return CliRunner().invoke(app, ["fail", *args])


@pytest.mark.parametrize(
    ("exc", "code"),
    [(ConfigError("bad"), 3), (ClusterError("gone"), 4), (KeyboardInterrupt(), 130), (typer.Exit(5), 5)],
)
def test_an_error_ends_with_its_code(exc: BaseException, code: int) -> None:
    assert invoke_failing(exc).exit_code == code


def test_an_error_shows_its_hint_and_is_a_document_with_json() -> None:
    shown = invoke_failing(ClusterError("no cluster", hint="imctl up"), "--json")

    assert json.loads(shown.stdout) == {
        "error": {"kind": "ClusterError", "message": "no cluster", "hint": "imctl up", "exit": 4}
    }
    assert shown.stderr == "error: no cluster\nhint: imctl up\n"


def test_a_fault_of_our_own_is_short_and_says_where_the_traceback_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("IMCTL_DEBUG", raising=False)

    shown = invoke_failing(ZeroDivisionError("division by zero"))

    assert shown.exit_code == 8
    assert "error: ZeroDivisionError: division by zero" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert str(tmp_path / "fault.txt") in shown.stderr
    assert "Traceback" in (tmp_path / "fault.txt").read_text()


def test_a_fault_shows_its_traceback_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMCTL_DEBUG", "1")

    assert "Traceback" in invoke_failing(ZeroDivisionError("x")).stderr


def test_context_has_the_global_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMCTL_CLUSTER", "from-env")
    seen: list[Context] = []
    app = build_app()

    @app.command("look")
    def look(ctx: typer.Context) -> None:
        seen.append(Context.of(ctx))

    CliRunner().invoke(app, ["look"])
    CliRunner().invoke(app, ["look", "--cluster", "b", "--json", "--quiet", "--no-color"])

    assert (seen[0].cluster, seen[0].json, seen[0].quiet, seen[0].color) == ("from-env", False, False, True)
    assert (seen[1].cluster, seen[1].json, seen[1].quiet, seen[1].color) == ("b", True, True, False)
