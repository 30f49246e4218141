"""`imctl conform` beside a real cluster."""

from __future__ import annotations

import json

from tests.e2e.conftest import Imctl


def test_our_cluster_conforms(imctl: Imctl):
    imctl.json("up", "--any-port", "--comet", "2", "--detach")

    ended = imctl.run("conform", "--json", "--risky")

    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr
    assert ended.stdout.startswith("{"), ended.stdout[:2000] + ended.stderr
    document = json.loads(ended.stdout)
    assert document["verdict"] == "pass"
    assert document["not_tested"] == []
    assert document["counts"]["pass"] > 400
    assert document["took_s"] < 100
    assert {case["note"] for case in document["cases"] if case["verdict"] == "skipped"} == {"slow: only with --slow"}


def test_a_cluster_that_is_gone_is_unreachable(imctl: Imctl):
    up = imctl.json("up", "--any-port", "--detach")
    addresses = next(node["addresses"] for node in up["nodes"] if node["kind"] == "comet")
    imctl.run("down")

    ended = imctl.run("conform", "--tcp", addresses["tcp"], "--only", "tcp-frames")

    assert ended.returncode == 4
    assert "cannot be reached" in ended.stderr
