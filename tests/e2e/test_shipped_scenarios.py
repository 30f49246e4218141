"""Every scenario that ships is run, small and short, on the cluster it asks for."""

from __future__ import annotations

import json

import pytest

from sim.language.shipped import shipped_scenarios
from tests.e2e.conftest import Imctl


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_a_shipped_scenario_runs_to_a_report_that_adds_up(imctl: Imctl, name: str) -> None:
    ended = imctl.run("sim", name, "--clients", "60", "--duration", "2s", "--workers", "1", "--json", "-")

    # Whether a busy machine is fast enough for the scenario's expectations is not the question here.
    assert ended.returncode in (0, 1, 5), ended.stderr
    report = json.loads(ended.stdout)
    delivery = report["delivery"]
    assert report["scenario"] == name
    assert report["clients"]["connected"] == report["clients"]["wanted"] == 60
    assert report["publish"]["messages"] > 0
    assert delivery["delivered"] + delivery["lost"] == delivery["expected"] > 0
    assert sum(delivery["lost_at"].values()) == delivery["lost"]
    assert delivery["duplicated"] == 0
    assert imctl.processes() == []
