import json

import pytest
from typer.testing import CliRunner

from imctl.cli.app import build_app
from sim.language.shipped import shipped_scenarios
from tests.sim.language.texts import FIVE_MISTAKES

GOOD = """\
name: good
clients:
  - {name: viewers, count: "${N:-10}", room: live://1}
phases:
  - {name: steady, duration: 1s}
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(FIVE_MISTAKES)


def imctl(*args, env=None):
    return CliRunner().invoke(build_app(), list(args), env=env)


def test_a_right_scenario_is_ok(files):
    result = imctl("check", "good.yaml", "--set", "expect=[delivery.lost == 0]")

    assert (result.exit_code, result.stdout) == (0, "good.yaml: ok (10 clients, 1s)\n")


def test_a_scenario_that_expects_nothing_is_ok_with_a_note(files):
    result = imctl("check", "good.yaml")

    note = "no `expect`: the verdict will be pass whatever is lost"
    assert (result.exit_code, result.stdout) == (0, f"good.yaml: ok (10 clients, 1s)\n  note: {note}\n")
    assert json.loads(imctl("check", "good.yaml", "--json").stdout)["scenarios"][0]["notes"] == [note]


def test_all_five_mistakes_are_shown_with_line_and_column(files):
    result = imctl("check", "bad.yaml")

    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines if line.startswith("bad.yaml")] == [
        "bad.yaml:4:5",
        "bad.yaml:5:16",
        "bad.yaml:8:23",
        "bad.yaml:10:30",
        "bad.yaml:12:5",
    ]
    assert lines[1] == "  hint: did you mean count?"


def test_json_has_every_problem(files):
    result = imctl("--json", "check", "good.yaml", "bad.yaml")

    document = json.loads(result.stdout)
    assert result.exit_code == 3
    assert document["ok"] is False
    good, bad = document["scenarios"]
    assert len(good.pop("notes")) == 1
    assert good == {"ok": True, "scenario": "good.yaml", "clients": 10, "duration_s": 1.0, "problems": []}
    assert len(bad["problems"]) == 5
    assert bad["problems"][2] == {
        "file": "bad.yaml",
        "line": 8,
        "column": 23,
        "path": "publish[0].rooms",
        "message": 'publish[0].rooms is "viwers"; expected a name of clients: viewers',
        "hint": "did you mean viewers?",
    }


def test_zero_clients_is_a_mistake(files):
    result = imctl("check", "good.yaml", "--set", "clients.viewers.count=0")

    assert result.exit_code == 3
    assert "clients[0].count is 0; expected a whole number from 1" in result.stdout
    assert imctl("check", "good.yaml", "--clients", "0").exit_code == 3


def test_options_of_sim_are_checked_with_the_scenario(files):
    result = imctl("check", "good.yaml", "--set", "phases.steady.duration=3s", "--clients", "70", "--duration", "90s")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "good.yaml: ok (70 clients, 1m30s)"


def test_variables_come_from_the_environment(files):
    assert "ok (33 clients" in imctl("check", "good.yaml", env={"N": "33"}).stdout


def test_shipped_scenarios_are_right_and_found_by_name(files):
    result = imctl("check", *shipped_scenarios())

    assert result.exit_code == 0
    assert result.stdout.count(": ok (") == len(shipped_scenarios())


def test_a_file_that_is_not_there(files):
    result = imctl("check", "none.yaml")

    assert result.exit_code == 3
    assert "none.yaml: no such file, and no shipped scenario" in result.stdout


def test_without_a_scenario_it_is_a_usage_error():
    assert imctl("check").exit_code == 2


def test_schema_is_a_json_document():
    schema = json.loads(imctl("schema").stdout)

    assert schema["anyOf"][0] == {"required": ["name", "clients", "phases"]}
    assert json.loads(imctl("--json", "schema").stdout) == schema


def test_scenarios_lists_what_is_shipped():
    shown = imctl("scenarios")
    document = json.loads(imctl("--json", "scenarios").stdout)

    assert shown.exit_code == 0
    names = [row["name"] for row in document["scenarios"]]
    assert set(names) == set(shipped_scenarios())
    assert all(name in shown.stdout for name in names)
    room = document["scenarios"][names.index("room")]
    assert (room["clients"], room["duration_s"]) == (2000, 17.0)
