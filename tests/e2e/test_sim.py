"""`imctl sim` as a process of its own: signals, terminals, and faults of the cluster under it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from protocol.bodies import AuthToken
from protocol.frame import pack_frame
from protocol.operation import Operation
from tests.e2e.conftest import wait_until

SCENARIO = """\
name: tiny
seed: 1
clients:
  - {{name: viewers, count: {count}, transport: {{tcp: 50%, ws: 50%}}, room: "live://1"}}
publish:
  - {{to: room, rooms: viewers, rate: {rate}, size: {size}}}
phases:
  - {{name: steady, duration: {duration}}}
expect:
  - delivery.lost == 0
  - delivery.duplicated == 0
  - delivery.reordered == 0
  - delivery.unexpected == 0
"""


@pytest.fixture
def scenario(tmp_path):
    def write(*, count=20, rate="50/s", size=64, duration="1s"):
        path = tmp_path / "tiny.yaml"
        path.write_text(SCENARIO.format(count=count, rate=rate, size=size, duration=duration))
        return str(path)

    return write


@pytest.fixture
def cluster(imctl):
    """A cluster that runs in the background; the value is what `imctl up --json` printed."""
    document = imctl.json("up", "--any-port", "--detach")
    yield document
    imctl.run("down")


def end_of(running):
    """Wait for the end of a command; what it still says is read, or it would wait for us."""
    with ThreadPoolExecutor(1) as beside:
        rest = beside.submit(running.stderr.read)
        running.stdout.read()
        rest.result()
    running.wait(80)


def generators(parent):
    """Return the workers and the publisher of an `imctl sim`."""
    found = []
    for child in psutil.Process(parent.pid).children(recursive=True):
        try:
            if {"sim.clients.worker", "sim.publish.publisher"} & set(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def family(parent):
    return psutil.Process(parent.pid).children(recursive=True)


def comet(document):
    return next(node for node in document["nodes"] if node["kind"] == "comet")


def test_a_run_against_a_cluster_in_the_background_leaves_it_running(imctl, cluster, scenario):
    ended = imctl.run("sim", scenario(), "--json")

    document = json.loads(ended.stdout)
    # A busy machine can make a run invalid; what was delivered is right all the same.
    assert ended.returncode == {"pass": 0, "invalid": 5}[document["verdict"]], ended.stderr
    assert document["delivery"]["expected"] == document["delivery"]["delivered"] == 50 * 20
    assert document["target"] == "cluster default"
    assert [node["name"] for node in document["nodes"]] == ["core", "comet-1"]
    assert imctl.run("ps").returncode == 0


def test_a_comet_that_stood_still_shows_in_the_latency_of_all_that_was_meant_to_be_sent_then(
    imctl, cluster, scenario, tmp_path
):
    running = imctl.start("sim", scenario(duration="5s"), "--report", str(tmp_path / "run.json"))
    wait_until(lambda: "steady: " in running.stderr.readline(), "the phase has begun")
    pid = comet(cluster)["pid"]
    time.sleep(0.8)

    os.kill(pid, signal.SIGSTOP)
    time.sleep(2.0)
    os.kill(pid, signal.SIGCONT)
    end_of(running)

    document = json.loads((tmp_path / "run.json").read_text())
    assert document["delivery"]["lost"] == 0
    latency = document["latency_ms"]
    assert latency["max"] >= 1900
    # 2 of 5 s: 40 % of the messages were meant for that time, the last of them for its end.
    assert latency["count"] == 250 * 20
    assert 1200 <= latency["p90"] <= latency["max"]
    assert latency["p95"] >= 1500


def test_a_client_of_another_that_does_not_read_delays_nobody(imctl, cluster, scenario):
    host, _, port = comet(cluster)["addresses"]["tcp"].rpartition(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(pack_frame(Operation.AUTH, AuthToken(room_id="live://1", accepts=(1000,)).serialize()))
        assert slow.recv(16)[8:12] == (8).to_bytes(4, "big")

        ended = imctl.run("sim", scenario(rate="100/s", size=8192, duration="2s"), "--json")

    document = json.loads(ended.stdout)
    assert ended.returncode in (0, 5), ended.stderr
    assert document["delivery"]["expected"] == document["delivery"]["delivered"] == 200 * 20
    assert document["latency_ms"]["p50"] < 5000  # one that waits for it waits until its queue is over
    # It is no client of the run, so what it lost is told of the node and not of the run.
    assert document["delivery"]["lost_at"] == {}
    assert document["nodes"][1]["drops"]["comet.slow_client"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_the_run_early_with_a_report_and_ends_everything_it_started(imctl, scenario, tmp_path, number):
    running = imctl.start("sim", scenario(count=200, duration="60s"), "--report", str(tmp_path / "run.json"))
    wait_until(lambda: "steady: " in running.stderr.readline(), "the phase has begun")
    started = family(running)
    time.sleep(0.8)  # some of it

    running.send_signal(number)
    end_of(running)

    document = json.loads((tmp_path / "run.json").read_text())
    assert running.returncode == 130
    assert document["verdict"] == "aborted"
    assert document["reasons"][0].startswith("interrupted after ")
    assert (
        document["delivery"]["expected"] == document["delivery"]["delivered"] == document["publish"]["messages"] * 200
    )
    assert 0 < document["phases"][0]["duration_s"] < 60
    assert [process for process in started if process.is_running()] == []
    assert imctl.processes() == []


@pytest.mark.parametrize("times", [1, 2], ids=["once while connecting", "twice"])
def test_ctrl_c_before_the_first_phase_or_twice_ends_the_run_without_a_report(imctl, scenario, times):
    running = imctl.start("sim", scenario(count=200, duration="60s"), "--set", "clients.viewers.connect={rate: 20/s}")
    wait_until(lambda: len(generators(running)) >= 2, "the generator runs")
    started = family(running)

    for _ in range(times):
        running.send_signal(signal.SIGINT)
        time.sleep(0.05)
    stdout, stderr = running.communicate(timeout=80)

    assert running.returncode == 130
    assert stdout == ""
    assert re.search("^error: .*ended (before|by)", stderr, re.MULTILINE)
    assert "Traceback" not in stderr
    wait_until(lambda: not any(process.is_running() for process in started), "all of them have ended")
    assert imctl.processes() == []


def test_a_killed_run_leaves_nothing_behind(imctl, scenario):
    running = imctl.start("sim", scenario(duration="60s"))
    wait_until(lambda: "steady: " in running.stderr.readline(), "the phase has begun")
    started = family(running)
    assert len(started) >= 4  # core, comet, worker, publisher

    running.kill()

    wait_until(lambda: not any(process.is_running() for process in started), "all of them have ended")


def test_a_worker_that_is_killed_is_exit_code_5(imctl, scenario):
    running = imctl.start("sim", scenario(duration="60s"), "--json")
    wait_until(lambda: len(generators(running)) == 2, "the generator runs")
    worker = next(process for process in generators(running) if "sim.clients.worker" in process.cmdline())

    worker.kill()
    stdout, _ = running.communicate(timeout=80)

    document = json.loads(stdout)
    assert (running.returncode, document["verdict"]) == (5, "invalid")
    assert document["reasons"][0].startswith("the load generator broke: worker 1 ended with exit code -9")


def on_terminal(imctl, *args):
    """Run imctl with a terminal as stderr; return its exit code, stdout and what the terminal got."""
    master, slave = pty.openpty()
    env = {**imctl.env, "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "imctl", *args], env=env, stdout=subprocess.PIPE, stderr=slave, text=True
    )
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 4096):
            shown += data
    except OSError:  # Linux: every process that had the other end has closed it
        pass
    finally:
        os.close(master)
    stdout, _ = process.communicate(timeout=80)
    return process.returncode, stdout, shown.decode()


def test_a_terminal_shows_one_line_that_moves_and_is_gone_at_the_end(imctl, scenario):
    code, stdout, shown = on_terminal(imctl, "sim", scenario())

    assert code in (0, 5), shown
    assert stdout.startswith(("PASS", "INVALID"))
    _note, _, live = shown.partition("\n")
    assert "connecting: " in live
    assert "steady: " in live
    assert "\n" not in live
    assert live.endswith("\r\x1b[K")


def test_json_on_a_terminal_is_one_document_without_progress(imctl, scenario):
    code, stdout, shown = on_terminal(imctl, "sim", scenario(), "--json", "--quiet")

    assert json.loads(stdout)["scenario"] == "tiny", code
    assert shown == ""
