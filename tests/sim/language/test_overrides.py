import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.language.load import load_scenario
from sim.language.overrides import apply_set, move_events, scale_clients, scale_phases
from sim.language.shipped import shipped_scenarios
from sim.language.yaml_tree import parse_tree
from sim.scenario.scenario import Backoff, Churn, Event, EventKind, Phase, Population

TEXT = """\
name: a
clients:
  - {name: viewers, count: 10, accepts: [1, 2]}
  - {name: lobby, count: 5}
"""
ENTRIES = "expected its name, viewers or lobby, or its number, 0 to 1"


def change(text):
    problems = []
    root = parse_tree(TEXT, file="a.yaml", env={}, problems=problems)
    apply_set(root, text, problems)
    return root, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "path", ["clients.lobby.count", "clients[1].count", "clients.1.count", "clients[1]count", " clients[1].count "]
)
def test_an_entry_of_a_list_is_named_by_its_name_or_number(path):
    root, problems = change(f"{path}=7")

    assert problems == []
    assert root.value["clients"].value[1].value["count"].value == 7


def test_a_value_may_be_a_list_or_have_an_equals_sign():
    root, problems = change("clients.viewers.accepts=[5, 6]")
    assert problems == []
    assert [item.value for item in root.value["clients"].value[0].value["accepts"].value] == [5, 6]

    root, problems = change("expect=['a == 0']")
    assert problems == []
    assert root.value["expect"].value[0].value == "a == 0"


def test_an_item_of_a_plain_list_can_be_changed():
    root, problems = change("clients[0].accepts[1]=9")

    assert problems == []
    assert root.value["clients"].value[0].value["accepts"].value[1].value == 9


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("clients", '--set clients: "clients" is not a change; expected path=value'),
        ("=3", '--set =3: "=3" is not a change; expected path=value'),
        (".a=3", '--set .a=3: ".a=3" is not a change; expected path=value'),
        ("a..b=3", '--set a..b=3: "a..b=3" is not a change; expected path=value'),
        ("a[b]=3", '--set a[b]=3: "a[b]=3" is not a change; expected path=value'),
        ("client.viewers.count=3", "the scenario has no client; expected one of name, clients"),
        (
            "clients.viewrs.count=3",
            'clients has no entry "viewrs"; expected its name, viewers or lobby, or its number, 0 to 1',
        ),
        ("clients[2].count=3", 'clients has no entry "2"; expected its name, viewers or lobby, or its number, 0 to 1'),
        ("clients[2]=3", 'clients has no entry "2"; expected its name, viewers or lobby, or its number, 0 to 1'),
        ("name.x=3", 'name is "a"; expected a mapping with x'),
        ("name.x.y=3", 'name is "a"; expected a mapping with x'),
        ("clients.viewers.transport.tcp=1%", "clients[0] has no transport; expected one of name, count, accepts"),
        ("name=[", "--set name=[: not YAML"),
    ],
)
def test_a_change_that_cannot_be_made(text, problem):
    _, problems = change(text)

    assert len(problems) == 1
    assert problems[0].startswith(f"--set {text}: ")
    assert problem in problems[0]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(1, 20_000))
def test_scaled_populations_keep_total_and_share(counts, total):
    populations = [Population(f"p{number}", count) for number, count in enumerate(counts)]
    if total < len(counts):
        with pytest.raises(ValueError, match="expected at least one for each"):
            scale_clients(populations, total)
        return

    scaled = [population.count for population in scale_clients(populations, total)]

    assert sum(scaled) == total
    assert min(scaled) >= 1
    exact = [count * total / sum(counts) for count in counts]
    if min(exact) >= 1:
        assert all(abs(count - share) < 1 for count, share in zip(scaled, exact, strict=True))


def test_a_multiple_is_exact():
    scaled = scale_clients([Population("a", 3), Population("b", 1)], 8)

    assert [population.count for population in scaled] == [6, 2]


def test_churn_goes_with_its_population():
    churn = Churn(50.0, Backoff(0.5, 2.0))

    scaled = scale_clients([Population("a", 1000, churn=churn), Population("b", 1000)], 200)

    assert [population.churn for population in scaled] == [Churn(5.0, Backoff(0.5, 2.0)), None]


def test_only_measured_phases_are_scaled():
    phases = (Phase("warmup", 2, measure=False), Phase("a", 10), Phase("b", 5))

    assert [phase.duration_s for phase in scale_phases(phases, 3)] == [2, 2, 1]


def test_events_stay_where_they_were_in_their_phases():
    before = (Phase("warmup", 2, measure=False), Phase("a", 10), Phase("b", 5))
    events = tuple(Event(at_s, EventKind.PAUSE, node="core", for_s=2.0) for at_s in (0, 1, 2, 7, 12, 16))

    moved = move_events(events, before, scale_phases(before, 3))

    assert [event.at_s for event in moved] == pytest.approx([0, 1, 2, 3, 4, 4.8])


def test_an_event_goes_on_for_its_share_of_a_shorter_phase_and_never_longer():
    before = (Phase("warmup", 2, measure=False), Phase("a", 10), Phase("b", 5))
    events = tuple(Event(at_s, EventKind.PAUSE, node="core", for_s=4.0) for at_s in (2, 1, 16, 0))
    events += (Event(3.0, EventKind.STOP_READING, "viewers"),)

    shorter = move_events(events, before, scale_phases(before, 3))
    longer = move_events(events, before, scale_phases(before, 150))

    # All of it in a phase a fifth as long; a second of the warm-up, three of that; one of it, three after the end; ...
    assert [event.for_s for event in shorter] == [0.8, 1.6, 3.2, 2.4, None]
    assert [event.for_s for event in longer] == [4.0, 4.0, 4.0, 4.0, None]


@pytest.mark.parametrize("duration_s", [12.0, 6.0, 4.5])
def test_the_pause_of_a_shipped_scenario_stays_within_its_phase(duration_s):
    scenario = load_scenario(shipped_scenarios()["slow"], duration_s=duration_s, env={})

    [event] = scenario.events
    asleep = scenario.phases[2]
    start_s = sum(phase.duration_s for phase in scenario.phases[:2])
    assert event.at_s == pytest.approx(start_s)
    assert event.for_s == pytest.approx(asleep.duration_s * 3 / 4)
