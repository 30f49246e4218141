"""docs/ci.md: its jobs are YAML, their steps run in a shell, its Python runs under pytest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.imctl.testing.test_plugin import INI, SCENARIO

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def load_steps():
    github, gitlab = (yaml.safe_load(block) for block in blocks("yaml"))
    (load,) = (step["run"] for step in github["jobs"]["delivery"]["steps"] if step.get("name") == "Load")
    return {"github": (["bash", "-e"], load), "gitlab": (["sh", "-e"], gitlab["delivery"]["script"][-1])}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A checkout with a scenario, and `imctl` on PATH."""
    (tmp_path / "load").mkdir()
    (tmp_path / "load" / "room.yaml").write_text(SCENARIO)
    programs = tmp_path / "bin"
    programs.mkdir()
    imctl = programs / "imctl"
    # Smaller than the page says: --clients and --duration that come later win.
    small = '"$@" --clients 10 --duration 300ms --workers 1'
    imctl.write_text(f"#!/bin/sh\necho run >> runs\n[ ! -f busy ] || exit 5\nexec {sys.executable} -m imctl {small}\n")
    imctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.parametrize("which", ["github", "gitlab"])
def test_the_load_step_leaves_reports_and_the_next_run_compares(job, which):
    shell, script = load_steps()[which]

    first = subprocess.run([*shell, "-c", script], cwd=job, capture_output=True, text=True, timeout=200)
    if first.returncode == 5:
        pytest.skip("this machine is too busy for a run that is valid")
    second = subprocess.run([*shell, "-c", script], cwd=job, capture_output=True, text=True, timeout=200)

    assert first.returncode == 0, first.stderr
    assert {path.name for path in (job / "report").iterdir()} == {"run.json", "run.html", "summary.md", "junit.xml"}
    assert second.returncode in (0, 5, 7), second.stderr
    assert json.loads((job / "report" / "run.json").read_text())["baseline"]["tolerance_percent"] == 25.0


@pytest.mark.parametrize("which", ["github", "gitlab"])
def test_a_busy_runner_has_a_second_chance_and_no_more(job, which):
    shell, script = load_steps()[which]
    (job / "busy").touch()

    done = subprocess.run([*shell, "-c", script], cwd=job, capture_output=True, timeout=200)

    assert done.returncode == 5
    assert (job / "runs").read_text().splitlines() == ["run", "run"]
    assert not (job / "baseline.json").exists()


def test_the_summary_step_takes_what_is_there(job, monkeypatch):
    github = yaml.safe_load(blocks("yaml")[0])
    (script,) = (step["run"] for step in github["jobs"]["delivery"]["steps"] if step.get("name") == "Summary")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job / "summary"))

    def run():
        return subprocess.run(["bash", "-e", "-c", script], cwd=job, timeout=100).returncode

    assert run() == 0
    (job / "report").mkdir()
    (job / "report" / "summary.md").write_text("## PASS")
    assert run() == 0
    assert (job / "summary").read_text() == "## PASS"


def test_the_tests_that_the_page_shows_pass(pytester, monkeypatch, tmp_path):
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{pytester.path}:{os.environ['PATH']}")
    with_pytest, without = blocks("python")
    pytester.makeini(f"{INI}asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makefile(".yaml", **{"load/room": SCENARIO})
    # The program of an application: a push by plain HTTP.
    sender = pytester.path / "our-sender"
    sender.write_text(
        f"#!{sys.executable}\nimport sys, urllib.request\nkind, _, room = sys.argv[3].partition('://')\n"
        "url = f'{sys.argv[2]}/goim/push/room?operation=1000&type={kind}&room={room}'\n"
        "urllib.request.urlopen(url, data=sys.argv[4].encode()).close()\n"
    )
    sender.chmod(0o755)
    # What a busy machine does to a run is not what this is about.
    calm = with_pytest.replace("clients=200", "clients=20, workers=1").replace('"5s"', '"500ms"')
    calm = calm.replace("not report.failures", "report.delivery.lost == 0").replace("p50 < 50", "p50 < 5000")
    pytester.makepyfile(test_page=calm, without=without)

    pytester.runpytest_subprocess().assert_outcomes(passed=4)
    assert pytester.runpython("without.py").ret == 0
