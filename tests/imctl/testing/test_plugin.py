"""The pytest plugin as a project of its own sees it: pytest in a process, in a folder with tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

pytest_plugins = ["pytester"]

# What loads for the plugin's sake in a run that does not use it.
HEAVY = {"aiohttp", "asyncio", "google", "grpc", "psutil", "pydantic", "redis", "rich", "typer", "uvloop", "yaml"}

SCENARIO = """\
name: tiny
seed: 1
clients:
  - {name: viewers, count: 10, transport: {tcp: 50%, ws: 50%}, room: "live://1"}
publish:
  - {to: room, rooms: viewers, rate: 50/s}
phases:
  - {name: steady, duration: 400ms}
expect:
  - delivery.lost == 0
"""


# Without a plugin of this project's own tests that takes as long to load as all the rest.
INI = "[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:cacheprovider -p no:hypothesispytest\n"

# Plugins of this project's own tests that load asyncio and more.
OTHERS = ("no:asyncio", "no:xdist", "no:timeout", "no:hypothesispytest", "no:anyio", "no:locust", "no:valkey")


@pytest.fixture
def project(pytester, tmp_path, monkeypatch):
    """A folder for tests; clusters of its runs are kept in a folder of their own."""
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini(INI + "asyncio_default_fixture_loop_scope = function\n")
    return pytester


def clusters(tmp_path):
    return list((tmp_path / "state").glob("*"))


def test_a_test_has_a_cluster_of_its_own_with_clients_and_pushes(project, tmp_path):
    project.makepyfile(
        """
        import json, os, subprocess, sys, urllib.request
        import pytest

        def test_pushes_reach_clients(goim_cluster, goim_client):
            alice = goim_client(mid=1, room="live://1")
            bob = goim_client(mid=2, key="bob", room="live://2", transport="ws")

            goim_cluster.push_mid(1, "to alice")
            assert alice.receive().body == b"to alice"
            goim_cluster.push_key("bob", b"to bob")
            assert bob.receive().body == b"to bob"
            goim_cluster.push_room("live://2", "to the room", op=1001)
            frame = bob.receive()
            assert (frame.op, frame.body) == (1001, b"to the room")
            goim_cluster.push_all("to all")
            assert alice.receive().body == bob.receive().body == b"to all"
            alice.receive_nothing()
            with pytest.raises(TimeoutError, match="no frame within 0.1 s"):
                alice.receive(timeout_s=0.1)
            assert alice.heartbeat() == 1
            alice.change_room("live://2")
            goim_cluster.push_room("live://2", "to both")
            assert alice.receive().body == bob.receive().body == b"to both"
            with pytest.raises(ValueError, match="live://1"):
                goim_cluster.push_room("lobby", "x")

        def test_addresses_are_for_whoever_wants_them(goim_cluster):
            with urllib.request.urlopen(f"{goim_cluster.http}/goim/online/total") as reply:
                assert json.load(reply)["code"] == 0
            env = goim_cluster.env
            assert env["IMCTL_LOGIC_HTTP"] == goim_cluster.http
            assert env["IMCTL_COMET_TCP"] == goim_cluster.tcp
            assert env["IMCTL_COMET_WS"] == goim_cluster.ws
            command = [sys.executable, "-m", "imctl", "ps", "--json"]
            shown = subprocess.run(command, env={**os.environ, **env}, capture_output=True, check=True)
            assert json.loads(shown.stdout)["cluster"] == goim_cluster.name

        @pytest.mark.goim_cluster(comets=2)
        def test_options_of_one_test(goim_client, request):
            cluster = request.getfixturevalue("goim_cluster")
            first, second = goim_client(mid=1), goim_client(mid=2, comet=1)
            cluster.push_all("x")
            assert first.receive().body == second.receive().body == b"x"
        """
    )

    result = project.runpytest_subprocess()

    result.assert_outcomes(passed=3)
    assert clusters(tmp_path) == []


def test_tests_without_a_cluster_of_their_own_share_one(project, tmp_path):
    project.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def goim_cluster_options():
            return {"comets": 2}
        """
    )
    project.makepyfile(
        """
        import pytest
        names = set()

        def test_one(goim_client, goim_cluster_session):
            names.add(goim_cluster_session.name)
            assert len(goim_cluster_session.info.comet_tcp) == 2
            client = goim_client(mid=7)
            goim_cluster_session.push_mid(7, "hi")
            assert client.receive().body == b"hi"

        @pytest.mark.asyncio
        async def test_two(goim_async_client, goim_cluster_session):
            names.add(goim_cluster_session.name)
            async with goim_async_client(mid=7, transport="ws") as client:
                goim_cluster_session.push_mid(7, "hi")
                assert (await client.receive(5)).body == b"hi"
            assert len(names) == 1
        """
    )

    result = project.runpytest_subprocess()

    result.assert_outcomes(passed=2)
    assert clusters(tmp_path) == []


def test_a_scenario_is_run_and_its_report_returned(project):
    project.makefile(".yaml", **{"load/tiny": SCENARIO})
    project.makepyfile(
        """
        import json
        import pytest

        def test_load(run_scenario, tmp_path):
            report = run_scenario("load/tiny.yaml", reports=[tmp_path / "out" / "run.json"])
            # A busy machine can make a run invalid; what was delivered is right all the same.
            assert report.passed or report.verdict == "invalid", report.failures
            assert report.delivery.expected == report.delivery.delivered == 20 * 10
            document = json.loads((tmp_path / "out" / "run.json").read_text())
            assert document == json.loads(json.dumps(report.to_dict()))
            assert {node["name"] for node in document["nodes"]} == {"core", "comet-1"}

        def test_overrides(run_scenario):
            report = run_scenario(
                "load/tiny.yaml", clients=4, duration="200ms", workers=1, seed=9,
                expect=["delivery.lost > 0"], **{"publish[0].rate": "100/s"},
            )
            assert not report.passed
            assert "delivery.lost > 0: was 0" in report.failures
            assert (report.seed, report.clients.wanted, report.publish.messages) == (9, 4, 20)

        def test_a_mistake(run_scenario):
            from sim.errors import ScenarioError
            with pytest.raises(ScenarioError, match="--set seed=x"):
                run_scenario("load/tiny.yaml", seed="x")
            with pytest.raises(ScenarioError, match="no such file"):
                run_scenario("tyny")
        """
    )

    project.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_failed_test_shows_what_happened_to_the_nodes_and_its_cluster_ends(project, tmp_path):
    project.makepyfile(
        """
        import time

        def test_fails(goim_cluster):
            goim_cluster.kill("comet-1")
            while not any("running again" in line for line in goim_cluster.events):
                time.sleep(0.02)
            goim_cluster.pause("comet-1")
            goim_cluster.resume("comet-1")
            goim_cluster.restart("comet-1")
            assert False

        def test_does_not_start():
            from imctl.testing import start_cluster
            with start_cluster(host="192.0.2.1"):
                raise AssertionError("not reached")
        """
    )

    result = project.runpytest_subprocess()

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*goim cluster test-*", "ready in * ms", "comet-1: ended (*SIGKILL*), restarting now", "comet-1: paused"]
    )
    result.stdout.fnmatch_lines(["E *192.0.2.1*"])
    assert clusters(tmp_path) == []


def test_a_run_that_is_killed_leaves_no_process_behind(project, tmp_path):
    path = project.makepyfile(
        """
        import time
        from pathlib import Path

        def test_hangs(goim_cluster):
            Path("pids").write_text(" ".join(str(node.pid) for node in goim_cluster.info.nodes))
            time.sleep(60)
        """
    )
    pids = path.parent / "pids"
    running = subprocess.Popen([sys.executable, "-m", "pytest", "-q", str(path)], stdout=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + 80
        while not pids.exists() or not pids.read_text():
            assert time.monotonic() < until_s
            time.sleep(0.02)
        nodes = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    finally:
        running.kill()
        running.wait()

    assert len(nodes) == 2
    assert psutil.wait_procs(nodes, timeout=60)[1] == []


def test_ctrl_c_ends_the_cluster(project, tmp_path):
    path = project.makepyfile(
        """
        import os, signal

        def test_interrupted(goim_cluster, goim_client):
            client = goim_client(mid=1)
            os.kill(os.getpid(), signal.SIGINT)
            client.receive(30)
        """
    )

    result = project.runpytest_subprocess(path)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert clusters(tmp_path) == []


def test_a_run_that_uses_none_of_it_loads_nothing_for_it(project):
    project.makeconftest(
        f"""
        import sys

        def pytest_sessionfinish():
            ours = ("imctl", "sim", "protocol")
            print("loaded:", *sorted({HEAVY!r} & set(sys.modules)))
            print("ours:", *sorted(name for name in sys.modules if name.partition(".")[0] in ours))
        """
    )
    project.makepyfile("def test_nothing(): pass")

    project.makeini(INI)

    result = project.runpytest_subprocess("-s", *(f"-p{name}" for name in OTHERS))

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*loaded:", "ours: imctl imctl.testing imctl.testing.plugin"])


def test_the_fixtures_explain_themselves(project):
    result = project.runpytest_subprocess("--fixtures", "-p", "imctl")

    for name in ("goim_cluster", "goim_cluster_session", "goim_client", "goim_async_client", "run_scenario"):
        result.stdout.re_match_lines([rf"{name}( \[session scope\])? -- .*plugin.py:\d+"])


def test_importing_it_needs_no_pytest():
    code = "import sys; sys.modules['pytest'] = None; import imctl.testing as t; t.start_cluster, t.GoimClient"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))

    assert done.returncode == 0, done.stderr
