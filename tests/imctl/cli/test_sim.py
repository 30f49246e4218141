"""`imctl sim` in process, with a private cluster and workers that are processes."""

from __future__ import annotations

import io
import json

import pytest

from imctl.cli.output import OutputError
from imctl.cli.printer import Printer
from imctl.cli.progress import show_progress
from sim.run.runner import RunProgress
from tests.sim.kit import scenario_of
from tests.sim.report.samples import run_of

TINY = """\
name: tiny
seed: 1
clients:
  - {name: viewers, count: 20, transport: {tcp: 50%, ws: 50%}, room: "live://${1..2}", mid: 1000}
publish:
  - {to: room, rooms: viewers, rate: 50/s}
  - {to: mid, mids: viewers, rate: 50/s}
phases:
  - {name: steady, duration: 500ms}
expect:
  - delivery.lost == 0
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    # A busy machine is not what these tests are about.
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def test_json_is_one_document_with_everything_and_nothing_else_on_stdout(invoke, tiny, tmp_path):
    result = invoke("sim", tiny, "--json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert set(document) >= {
        *("schema_version", "scenario", "seed", "target", "started_at", "verdict", "reasons", "clients", "publish"),
        *("delivery", "latency_ms", "phases", "hops_ms", "series", "generator", "nodes", "expect", "machine"),
        *("events", "node_series", "latency_buckets_ms", "baseline"),
    }
    assert set(document["clients"]) >= {"wanted", "connected", "failed", "connects_per_s", "reconnects"}
    assert set(document["publish"]) >= {"messages", "errors", "rate_per_s", "send_lag_ms"}
    assert set(document["publish"]["send_lag_ms"]) == {"p50", "p99", "max"}
    assert set(document["delivery"]) >= {
        *("expected", "delivered", "lost", "duplicated", "reordered", "unexpected", "deliveries_per_s", "lost_at"),
    }
    assert set(document["latency_ms"]) == {"count", "min", "p50", "p90", "p95", "p99", "p999", "max"}
    assert set(document["phases"][0]) >= {"name", "publish", "delivery", "latency_ms"}
    assert set(document["generator"]) == {"workers", "cpu_percent", "loop_lag_ms", "overloaded", "broken"}
    assert {node["name"] for node in document["nodes"]} == {"core", "comet-1"}
    assert set(document["nodes"][0]) >= {"name", "pid", "cpu_s", "rss_bytes", "drops"}
    assert document["expect"] == [{"expr": "delivery.lost == 0", "value": 0.0, "pass": True}]
    assert document["verdict"] == "pass"
    assert document["delivery"]["expected"] == document["latency_ms"]["count"] == 25 * 10 + 25
    # Of the private cluster nothing is left, and that there was one was said.
    assert "starting a private one" in result.stderr
    assert list((tmp_path / "state").glob("*")) == []


def test_reports_are_written_also_where_stdout_cannot_be(invoke, tiny, tmp_path, monkeypatch):
    async def ran(*args):
        return run_of(), False

    def full(printer, value):
        raise OutputError("stdout cannot be written: No space left on device")

    monkeypatch.setattr("imctl.cli.commands.sim._run", ran)
    monkeypatch.setattr("imctl.cli.printer.Printer.result", full)

    result = invoke("sim", tiny, "--report", str(tmp_path / "run.json"))

    assert result.exit_code == 1
    assert "error: stdout cannot be written" in result.stderr
    assert json.loads((tmp_path / "run.json").read_text())["verdict"] == run_of().verdict.value


def test_a_failed_expectation_is_exit_code_1(invoke, tiny, target):
    result = invoke("sim", tiny, "--target", target, "--workers", "1", "--set", "expect=[delivery.lost > 0]")

    assert result.exit_code == 1, result.output
    assert "delivery.lost > 0" in result.stdout


def test_options_change_the_scenario(invoke, tiny, target):
    options = ("--clients", "6", "--duration", "300ms", "--workers", "2", "--seed", "9")

    result = invoke("sim", tiny, "--target", target, *options, "--json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["seed"], document["clients"]["wanted"], document["generator"]["workers"]) == (9, 6, 2)
    assert document["phases"][0]["duration_s"] == 0.3


def test_a_generator_that_did_not_keep_up_is_exit_code_5(invoke, tiny, target, monkeypatch):
    monkeypatch.setattr("sim.run.outcome.MAX_CPU_PERCENT", 0.0)

    result = invoke("sim", tiny, "--target", target, "--workers", "1")

    assert result.exit_code == 5
    assert "INVALID" in result.stdout


def test_find_max_runs_until_it_knows_the_rate(invoke, tiny, target):
    # 20 and 20 messages at x1; the limit is not the cluster's, so that it is where the test says.
    expect = "expect=[delivery.lost == 0, publish.messages < 55]"
    options = ("--target", target, "--workers", "1", "--duration", "400ms", "--set", expect)

    result = invoke("sim", tiny, "--find-max", *options, "--json")

    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    found = document["find_max"]
    assert [step["verdict"] for step in found["steps"][:2]] == ["pass", "fail"]
    assert 1.25 < found["factor"] <= 1.36
    assert found["rate_per_s"] == pytest.approx(100 * found["factor"], rel=1e-3)
    assert not found["at_least"]
    assert "publish.messages < 55: was" in found["limit"]
    # The document is of the run at that rate.
    assert document["verdict"] == "pass"
    assert document["publish"]["rate_per_s"] == pytest.approx(found["rate_per_s"], rel=0.05)
    assert len([line for line in result.stderr.splitlines() if line.startswith("x")]) == len(found["steps"])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--find-max-time", "1m"], 2, "needs --find-max"),
        (["--find-max", "--set", "expect=[]"], 3, "nothing is expected; --find-max needs what must hold"),
        (["--find-max", "--set", "publish=[]"], 3, "--find-max needs a rate to raise"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(invoke, tiny, tmp_path, options, code, message):
    result = invoke("sim", tiny, *options)

    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_lines_on_stderr_where_there_is_no_terminal_and_quiet_hides_them(invoke, tiny, quiet):
    result = invoke("sim", tiny, "--workers", "1", *(["--quiet"] if quiet else []))

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("PASS")
    assert "\x1b" not in result.stderr
    if quiet:
        assert result.stderr == ""
    else:
        assert "connecting: " in result.stderr
        assert "steady: " in result.stderr


def test_a_wrong_scenario_is_exit_code_3_before_anything_starts(invoke, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(TINY.replace("500ms", "fast"))

    result = invoke("sim", str(path), "--json")

    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["kind"] == "ScenarioError"
    assert "bad.yaml:9:" in result.stderr
    assert not (tmp_path / "state").exists()


def test_a_scenario_that_is_not_there_is_exit_code_3(invoke):
    assert invoke("sim", "no-such-scenario").exit_code == 3


def test_a_target_that_is_not_there_is_exit_code_4(invoke, tiny):
    result = invoke("sim", tiny, "--target", "goim://127.0.0.1?tcp=1&ws=1&http=1")

    assert result.exit_code == 4
    assert "comet tcp 127.0.0.1:1 cannot be reached" in result.stderr


def test_a_cluster_that_was_asked_for_by_name_has_to_be_there(invoke, tiny):
    result = invoke("sim", tiny, "--cluster", "blue")

    assert result.exit_code == 4
    assert "blue" in result.stderr


@pytest.mark.parametrize("other", ["http://127.0.0.1", "goim://127.0.0.1?tcp=x"])
def test_a_target_of_another_form_is_refused(invoke, tiny, other):
    result = invoke("sim", tiny, "--target", other)

    assert result.exit_code == 2
    assert other in result.stderr


def test_help_has_examples(invoke):
    result = invoke("sim", "--help")

    assert result.exit_code == 0
    assert "imctl sim room --clients 10000 --json" in result.stdout


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stderr, *progress, **options):
    with show_progress(Printer(stderr=stderr, stdout=io.StringIO(), **options), scenario_of()) as on_progress:
        for one in progress:
            on_progress(one)
    return stderr.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass with each look at the clock."""
    times = iter(range(100, 10_000, 10))
    monkeypatch.setattr("imctl.cli.progress.time.monotonic", lambda: float(next(times)))


CONNECTING = RunProgress(stage="connecting", wanted=2000, connected=1500, failed=2)
STEADY = RunProgress("steady", 5.0, 10.0, 2000, 2000, 0, 1234, 3, 99_999)


def test_a_terminal_has_one_line_that_is_gone_at_the_end(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    text = shown(Terminal(), CONNECTING, STEADY)

    assert "\n" not in text
    assert text.split("\r\x1b[K") == [
        "",
        "connecting: 1,500/2,000 clients, 2 failed",
        "[==========          ] 5/10 s  steady: 1,234 pushed, 99,999 delivered, 3 push errors",
        "",
    ]


def test_a_line_is_cut_to_the_width_of_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")

    lines = shown(Terminal(), STEADY).split("\r\x1b[K")

    assert [len(line) for line in lines] == [0, 29, 0]


def test_a_terminal_without_cursor_control_has_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")

    text = shown(Terminal(), CONNECTING, STEADY)

    assert "\x1b" not in text
    assert text.count("\n") == 2


def test_a_terminal_is_drawn_at_most_four_times_a_second(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    times = iter(100 + number * 0.05 for number in range(1000))
    monkeypatch.setattr("imctl.cli.progress.time.monotonic", lambda: next(times))

    text = shown(Terminal(), *[CONNECTING] * 100)

    assert 15 <= text.count("connecting") <= 20


@pytest.mark.parametrize("options", [{"quiet": True}, {"json": True}], ids=["quiet", "json"])
def test_quiet_and_json_show_no_progress(options):
    assert shown(Terminal(), CONNECTING, STEADY, **options) == ""
