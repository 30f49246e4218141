import shutil
from pathlib import Path

import pytest

import sim.language.shipped
from sim.errors import ScenarioError
from sim.language.load import load_scenario
from sim.language.shipped import find_scenario, shipped_folder, shipped_scenarios, summary_of
from sim.scenario.publishing import Arrival, GammaArrival
from sim.scenario.scenario import EventKind
from sim.scenario.shapes import send_times

ROOT = Path(__file__).parents[3]


def test_a_checkout_has_its_scenarios_beside_the_package():
    assert shipped_folder() == ROOT / "scenarios"
    assert shipped_scenarios().keys() >= {"room", "smoke"}


def test_an_installed_package_has_them_inside(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "sim"
    package.mkdir(parents=True)
    monkeypatch.setattr(sim.language.shipped, "__file__", str(package / "language" / "shipped.py"))
    # Somebody else's folder of that name in site-packages is not ours.
    (package.parent / "scenarios").mkdir()
    assert shipped_folder() is None
    assert shipped_scenarios() == {}

    shutil.copytree(ROOT / "scenarios", package / "scenarios_data")

    assert shipped_folder() == package / "scenarios_data"
    assert find_scenario("room") == package / "scenarios_data" / "room.yaml"


@pytest.mark.parametrize("name", ["room", "room.yaml", "scenarios/room.yaml"])
def test_a_shipped_scenario_is_found_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert find_scenario(name) == ROOT / "scenarios" / "room.yaml"


def test_a_file_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "room").write_text("name: mine")

    assert find_scenario("room") == Path("room")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("roon", "roon: no such file, and no shipped scenario; those are "),
        ("elsewhere/room.yaml", "elsewhere/room.yaml: no such file"),
        (".", ".: is a folder; expected a scenario file"),
    ],
)
def test_what_is_neither_a_file_nor_a_name(name, message):
    with pytest.raises(ScenarioError) as caught:
        find_scenario(name)

    assert str(caught.value.problems[0]).startswith(message)


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_said_to_be_empty(name):
    with pytest.raises(ScenarioError) as caught:
        find_scenario(name)

    [problem] = caught.value.problems
    assert str(problem).startswith('"": the name of the scenario is empty; expected a file')
    assert problem.hint == "imctl scenarios lists those"


def test_a_near_name_is_suggested():
    with pytest.raises(ScenarioError) as caught:
        find_scenario("roon")

    assert caught.value.problems[0].hint == "did you mean room?"


def test_the_first_comment_is_the_summary(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# One thing,\n# and another.\n#\n# More.\nname: a\n")

    assert summary_of(path) == "One thing, and another"


def test_every_shipped_scenario_says_what_it_is():
    for path in shipped_scenarios().values():
        assert 20 < len(summary_of(path)) < 120


def test_room_is_what_its_comments_say():
    scenario = load_scenario(find_scenario("room"), env={})
    sends = list(send_times(scenario.publish, scenario.phases, scenario.seed))

    assert scenario.client_count == 2000
    assert scenario.duration_s == 17.0
    assert [sum(send.phase == phase for send in sends) for phase in range(3)] == [80, 400, 800]


def test_smoke_can_be_scaled():
    scenario = load_scenario(find_scenario("smoke"), clients=10_000, env={})

    assert scenario.client_count == 10_000


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_every_shipped_scenario_can_be_made_small_and_short(name):
    scenario = load_scenario(find_scenario(name), clients=40, duration_s=2.0, env={})

    assert scenario.name == name
    assert scenario.client_count == 40
    assert scenario.measured_s == pytest.approx(2.0)
    assert all(event.at_s < scenario.duration_s for event in scenario.events)


def test_the_shipped_scenarios_teach_every_kind_of_event_and_publish():
    scenarios = [load_scenario(path, env={}) for path in shipped_scenarios().values()]
    taught = {event.kind for scenario in scenarios for event in scenario.events}

    assert taught >= {EventKind.DISCONNECT, EventKind.STOP_READING, EventKind.KILL, EventKind.PAUSE, EventKind.RESTART}
    publishers = [publisher for scenario in scenarios for publisher in scenario.publish]
    assert {publisher.to.value for publisher in publishers} >= {"room", "mid", "all"}
    assert {publisher.arrival for publisher in publishers} >= {Arrival.UNIFORM, Arrival.POISSON, GammaArrival(0.3)}
    assert any(publisher.closed for publisher in publishers)
    assert any(publisher.mix and publisher.targets and publisher.body for publisher in publishers)
    assert max(publisher.burst for publisher in publishers) > 1
    assert any(phase.publish_factor_end for scenario in scenarios for phase in scenario.phases)


def test_soak_is_room_for_longer():
    room, soak = (load_scenario(find_scenario(name), env={}) for name in ("room", "soak"))

    assert (soak.clients, soak.publish, soak.seed) == (room.clients, room.publish, room.seed)
    assert soak.measured_s == 600.0


def test_the_storm_begins_with_its_phase():
    scenario = load_scenario(find_scenario("storm"), env={})

    assert scenario.events[0].at_s == sum(phase.duration_s for phase in scenario.phases[:2])
