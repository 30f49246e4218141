"""Every exit code of `imctl`, each by a command that really ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from imctl.cli.exits import Exit
from tests.imctl.cli.conftest import Invoke

SCENARIO = """\
name: tiny
seed: 1
clients:
  - {name: viewers, count: 20, room: "live://1"}
publish:
  - {to: room, rooms: viewers, rate: 50/s}
phases:
  - {name: steady, duration: 300ms}
expect:
  - delivery.lost == 0
"""


@dataclass
class Bench:
    invoke: Invoke
    target: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def scenario(self) -> str:
        path = self.folder / "tiny.yaml"
        path.write_text(SCENARIO)
        return str(path)

    def sim(self, *options: str) -> int:
        result = self.invoke("sim", self.scenario, "--target", self.target, "--workers", "1", "--json", *options)
        json.loads(result.stdout)  # one document, whatever the code
        return result.exit_code


def ok(bench: Bench) -> int:
    return bench.sim()


def failed(bench: Bench) -> int:
    return bench.sim("--set", "expect=[delivery.lost > 0]")


def usage(bench: Bench) -> int:
    return bench.invoke("sim", bench.scenario, "--clientz", "5").exit_code


def invalid(bench: Bench) -> int:
    return bench.sim("--set", "phases.steady.duration=fast")


def unreachable(bench: Bench) -> int:
    bench.target = "goim://127.0.0.1?tcp=1&ws=1&http=1"
    return bench.sim()


def run_invalid(bench: Bench) -> int:
    bench.monkeypatch.setattr("sim.run.outcome.MAX_CPU_PERCENT", 0.0)
    return bench.sim()


def aborted(bench: Bench) -> int:
    return bench.sim("--duration", "60s", "--set", "expect=[{expr: publish.messages < 1, abort: true}]")


def slower(bench: Bench) -> int:
    baseline = bench.folder / "baseline.json"
    slowly = "--set", "clients.viewers.connect={rate: 20/s}"
    assert bench.sim("--report", str(baseline), *slowly) == Exit.OK
    document = json.loads(baseline.read_text())
    document["clients"]["connects_per_s"] = 10_000.0  # so the same run connects a second more slowly
    baseline.write_text(json.dumps(document))
    return bench.sim("--baseline", str(baseline), *slowly)


def internal(bench: Bench) -> int:
    def broken(*args: object) -> None:
        raise ValueError("a fault of ours")

    bench.monkeypatch.setattr("imctl.cli.commands.sim._run", broken)
    return bench.sim()


def not_judged(bench: Bench) -> int:
    report = str(bench.folder / "short.json")
    assert bench.sim("--report", report, "--duration", "1s") == Exit.OK
    return bench.invoke("report", "compare", report, report).exit_code


def timed_out(bench: Bench) -> int:
    return bench.invoke("wait", "--timeout", "50ms").exit_code


def interrupted(bench: Bench) -> int:
    command = [sys.executable, "-m", "imctl", "sim", bench.scenario, "--target", bench.target, "--workers", "1"]
    report = bench.folder / "partial.json"
    with subprocess.Popen(
        [*command, "--duration", "60s", "--report", str(report)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        while (line := process.stderr.readline()) and b"steady: " not in line:
            pass
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert json.loads(report.read_text())["reasons"][0].startswith("interrupted after ")
    return process.returncode


def output_closed(bench: Bench) -> int:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "imctl", "scenarios"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert ended.stderr == b""
    return ended.returncode


CASES: dict[Exit, Callable[[Bench], int]] = {
    Exit.OK: ok,
    Exit.FAILED: failed,
    Exit.USAGE: usage,
    Exit.INVALID: invalid,
    Exit.UNREACHABLE: unreachable,
    Exit.RUN_INVALID: run_invalid,
    Exit.ABORTED: aborted,
    Exit.SLOWER: slower,
    Exit.INTERNAL: internal,
    Exit.NOT_JUDGED: not_judged,
    Exit.TIMED_OUT: timed_out,
    Exit.INTERRUPTED: interrupted,
    Exit.OUTPUT_CLOSED: output_closed,
}


def test_no_code_is_without_a_case() -> None:
    assert set(CASES) == set(Exit)


@pytest.mark.parametrize("code", list(CASES), ids=lambda code: code.name.lower())
def test_a_command_ends_with(
    code: Exit, invoke: Invoke, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MAX_CPU_PERCENT", "MAX_LOOP_LAG_MS", "MAX_SEND_LAG_MS"):
        monkeypatch.setattr(f"sim.run.outcome.{name}", 1e9)  # a busy machine is not what this is about

    assert CASES[code](Bench(invoke, target, tmp_path, monkeypatch)) == code
