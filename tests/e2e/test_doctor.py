"""`imctl doctor` beside real processes, and under real limits."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

from tests.e2e.conftest import wait_until

FEW_FILES = 512
KNOWN = (("comet", "logics"), ("logic", "comets"), ("job", "comets"))


def parts_of(imctl) -> dict[str, Any]:
    """Return what the nodes have counted, by their kind; one of each is there."""
    return {kind: part for node in imctl.json("stats")["nodes"] for kind, part in node["parts"].items()}


def know_each_other(parts: dict[str, Any]) -> bool:
    return all(parts[kind]["gauges"][gauge] for kind, gauge in KNOWN)


def rows_of(document: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    return {row["condition"]: row for row in document["conditions"] if row["section"] == section}


def test_a_cluster_is_well_until_a_node_of_it_is_paused(imctl):
    imctl.json("up", "--any-port", "--detach")
    # Nodes find each other in the registry, which tells them when it does.
    wait_until(lambda: know_each_other(parts_of(imctl)), "the nodes know each other")

    well = json.loads(imctl.run("doctor", "--probe", "--json").stdout)
    wait_until(lambda: not parts_of(imctl)["comet"]["gauges"]["sessions"], "the client of the probe has gone")
    imctl.run("push", "--mid", "1", "nobody is there")
    counters = parts_of(imctl)["comet"]["counters"]
    imctl.run("pause", "comet-1")
    ended = imctl.run("doctor", "--json")
    ill = json.loads(ended.stdout)
    imctl.run("down")

    rows = rows_of(well, "cluster")
    pushed = rows.pop("push to a client")
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(
        [
            *("core", "comet-1", "nodes together", "drops", "registry", "registry records", "node versions"),
            *("bus", "session store"),
        ],
        "ok",
    )
    assert pushed["status"] in ("ok", "warning")  # slow on a machine that is busy
    assert list(pushed["facts"]["hops_ms"]) == ["push", "logic", "bus", "job", "comet", "wire"]
    assert (counters["connected"], counters["disconnected"]) == (1, 1)
    assert ended.returncode == 1
    rows = rows_of(ill, "cluster")
    assert (rows["comet-1"]["status"], rows["comet-1"]["fix"]) == ("failed", "imctl resume comet-1")
    assert (rows["logic.offline"]["status"], rows["logic.offline"]["facts"]["count"]) == ("info", 1)


def test_a_low_limit_of_open_files_is_found_and_says_how_many_processes_would_do(imctl):
    ended = subprocess.run(
        [sys.executable, "-m", "imctl", "doctor", "--for", "20000", "--json"],
        env=imctl.env,
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, FEW_FILES)),
    )

    row = rows_of(json.loads(ended.stdout), "clients")["open files"]
    assert ended.returncode == 1
    assert (row["status"], row["found"]) == ("failed", f"soft {FEW_FILES}, hard {FEW_FILES}")
    assert "imctl up --comet 53, imctl sim --workers 53" in row["fix"]


def test_without_a_cluster_people_get_a_table_and_no_traceback(imctl):
    ended = imctl.run("doctor")

    assert ended.returncode in (0, 1)  # a default port may be taken where this runs
    assert ended.stdout.splitlines()[0].split() == ["Condition", "Required", "Found", "Fix"]
    assert "there is no cluster 'default'" in ended.stdout
    assert ended.stderr == ""
