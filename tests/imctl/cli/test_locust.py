"""The options of `imctl sim --locust`; runs on Locust itself are in tests/sim/test_locust.py."""

import importlib.util
import json

import pytest

from imctl.cli import locust as cli_locust

needs_locust = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="Locust is missing: pip install 'imctl[locust]'"
)

TINY = """\
name: tiny
clients:
  - {name: viewers, count: 10, room: "live://1"}
publish:
  - {to: room, rooms: viewers, rate: 40/s}
phases:
  - {name: steady, duration: 500ms}
expect:
  - delivery.lost == 0
"""


def test_options_of_locust_without_locust_are_refused(invoke):
    result = invoke("sim", "smoke", "--", "--web-port", "8089")

    assert result.exit_code == 2
    assert "--web-port 8089: only --locust takes more than a scenario" in result.stderr


def test_without_locust_installed_the_error_names_the_extra(invoke, monkeypatch):
    monkeypatch.setattr("sim.run.locust_crew.importlib.util.find_spec", lambda name: None)

    result = invoke("sim", "smoke", "--locust")

    assert result.exit_code == 1
    assert "Locust is not installed" in result.stderr
    assert "pip install 'imctl[locust]'" in result.stderr


@needs_locust
def test_a_search_is_not_for_workers_of_other_machines(invoke):
    result = invoke("sim", "max", "--find-max", "--locust", "--", "--master")

    assert result.exit_code == 2
    assert "--find-max" in result.stderr


@needs_locust
def test_a_worker_becomes_locusts_and_reads_no_scenario(invoke, monkeypatch):
    commands = []

    def execute(program, command):
        commands.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(cli_locust.os, "execv", execute)

    result = invoke("sim", "no such scenario", "--locust", "--", "--worker", "--master-host", "10.0.0.4")

    assert result.exit_code == 0
    [command] = commands
    assert command[1:] == ["-P", "-m", "sim.run.locustfile", "--worker", "--master-host", "10.0.0.4"]


@needs_locust
def test_a_run_on_locust_is_one_document_on_stdout(invoke, tmp_path, monkeypatch):
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)

    result = invoke("sim", str(path), "--locust", "--workers", "1", "--json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["verdict"], document["delivery"]["expected"]) == ("pass", 20 * 10)
    assert [(clock["offset_ms"], clock["bound_ms"]) for clock in document["clocks"]] == [(0.0, 0.0)]
