"""What --set, --clients, the duration and the environment make of a scenario file."""

import pytest

from tests.sim.language.texts import BASE, CLIENT_KEYS, EVENTS, MINIMAL, parse, problems_of


def test_events_move_with_their_phases_when_the_run_gets_another_length():
    scenario = parse(BASE.replace("expect:\n", EVENTS + "expect:\n"), duration_s=60.0)

    # One second that is not measured, then ten times slower.
    assert [event.at_s for event in scenario.events] == pytest.approx([0, 1, 11, 21, 31, 41, 51, 51])


def test_set_changes_events():
    scenario = parse(
        BASE.replace("expect:\n", EVENTS + "expect:\n"), sets=["events[0].fraction=50%", "events[1].for=3s"]
    )

    assert scenario.events[2].fraction == 0.5
    assert scenario.events[3].for_s == 3.0


def test_set_changes_values_before_they_are_checked():
    scenario = parse(
        BASE,
        sets=["clients.viewers.count=30", "phases[1].duration=5s", "phases.2.publish=x8", "expect=[]", "seed=9"],
    )

    assert scenario.clients[0].count == 30
    assert [phase.duration_s for phase in scenario.phases] == [1.0, 5.0, 4.0]
    assert scenario.phases[2].publish_factor == 8.0
    assert (scenario.expect, scenario.seed) == ((), 9)


def test_a_bad_value_of_set_is_reported_with_the_option():
    assert problems_of(BASE, sets=["phases.steady.duration=fast", "clients[0].cuont=3"]) == [
        "--set clients[0].cuont=3: clients[0].cuont is not known; expected one of " + CLIENT_KEYS,
        '--set phases.steady.duration=fast: phases[1].duration is "fast"; expected a duration such as 500ms, 10s or 4m',
    ]


def test_clients_scales_the_populations():
    text = BASE.replace("publish:\n", "  - {name: lobby, count: 30}\npublish:\n", 1)

    scenario = parse(text, clients=1000)

    assert [population.count for population in scenario.clients] == [250, 750]
    assert scenario.client_count == 1000


@pytest.mark.parametrize(
    ("clients", "problem"),
    [
        (0, "--clients 0: 0 clients; expected at least 1"),
        (-3, "--clients -3: -3 clients; expected at least 1"),
        (1, "--clients 1: 1 clients for 2 populations; expected at least one for each"),
    ],
)
def test_too_few_clients_is_a_problem(clients, problem):
    text = BASE.replace("publish:\n", "  - {name: lobby, count: 30}\npublish:\n", 1)

    assert problems_of(text, clients=clients) == [problem]


def test_mids_that_overlap_after_scaling_are_a_problem():
    text = BASE.replace("publish:\n", "  - {name: lobby, count: 10, mid: 2000}\npublish:\n", 1)

    assert parse(text).client_count == 20
    assert problems_of(text, clients=4000) == [
        "a.yaml:8:35: clients[1].mid: 2000 to 3999 overlaps the 1000 to 2999 of clients[0]; expected a mid for each "
        "client"
    ]


def test_duration_scales_the_measured_phases():
    scenario = parse(BASE, duration_s=60.0)

    assert [phase.duration_s for phase in scenario.phases] == [1.0, 20.0, 40.0]
    assert (scenario.duration_s, scenario.measured_s) == (61.0, 60.0)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_that_is_no_time_is_a_problem(duration_s):
    assert "expected a time over 0" in problems_of(BASE, duration_s=duration_s)[0]


def test_variables_come_from_env():
    text = MINIMAL.replace("count: 10", 'count: "${N:-10}"')

    assert parse(text).client_count == 10
    assert parse(text, env={"N": "25"}).client_count == 25
    assert problems_of(text, env={"N": "many"}) == [
        'a.yaml:3:28: clients[0].count is "many"; expected a whole number from 1 to 1000000'
    ]
