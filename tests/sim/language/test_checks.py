import pytest

from sim.errors import ScenarioError
from sim.language.format import EVENT
from sim.language.load import parse_scenario
from sim.scenario.scenario import EventKind

BASE = """\
name: base
clients:
  - {name: viewers, count: 10, room: live://1, mid: 1000, key: v-, accepts: [1000, 1001]}
  - {name: lobby, count: 10, accepts: [1002]}
publish:
  - {to: all, rate: 1/s}
phases:
  - {name: steady, duration: 1s}
"""


def problems_of(text):
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, file="a.yaml", env={})
    return [(str(problem), problem.hint) for problem in caught.value.problems]


def changed(old, new):
    assert old in BASE
    return BASE.replace(old, new)


def test_the_base_is_right():
    assert parse_scenario(BASE, file="a.yaml", env={}).client_count == 20


@pytest.mark.parametrize(
    ("publisher", "problem", "hint"),
    [
        (
            "{to: room, rate: 1/s}",
            "a.yaml:6:5: publish[0] is to: room and has no rooms; expected whose rooms",
            "rooms: viewers",
        ),
        (
            "{to: room, rooms: lobby, rate: 1/s}",
            "a.yaml:6:23: publish[0].rooms is lobby, whose clients have no room",
            "in clients, lobby: room: live://${1..4}",
        ),
        (
            "{to: mid, mids: lobby, rate: 1/s, op: 1002}",
            "a.yaml:6:21: publish[0].mids is lobby, whose clients have no mid",
            "in clients, lobby: mid: 1000",
        ),
        (
            "{to: key, keys: lobby, rate: 1/s, op: 1002}",
            "a.yaml:6:21: publish[0].keys is lobby, whose clients have no key",
            "in clients, lobby: key: viewer-",
        ),
        (
            "{to: mid, mids: viewer, rate: 1/s}",
            'a.yaml:6:21: publish[0].mids is "viewer"; expected a name of clients: viewers, lobby',
            "did you mean viewers?",
        ),
        (
            "{to: mid, mids: viewers, rate: 1/s, op: 1002}",
            "a.yaml:6:45: publish[0] sends op 1002, which no client of viewers accepts; expected one of 1000, 1001",
            "accepts: [1002] in clients",
        ),
        (
            "{to: all, rate: 1/s, op: 1003}",
            "a.yaml:6:30: publish[0] sends op 1003, which no client of viewers, lobby accepts; "
            "expected one of 1000, 1001, 1002",
            "accepts: [1003] in clients",
        ),
        (
            "{to: room, rooms: viewers, mids: viewers, rate: 1/s}",
            "a.yaml:6:38: publish[0].mids does not go with to: room; expected only rooms",
            "to: mid",
        ),
        (
            "{to: all, keys: viewers, rate: 1/s}",
            "a.yaml:6:21: publish[0].keys does not go with to: all; expected none, because all clients are meant",
            "to: key",
        ),
        (
            "{to: mid, mids: viewers, rate: 1/s, speed: 5}",
            "a.yaml:6:48: publish[0].speed does not go with to: mid; expected no speed, which only a push to all has",
            "to: all",
        ),
    ],
)
def test_a_publisher_that_reaches_nobody_or_says_two_things(publisher, problem, hint):
    assert problems_of(changed("{to: all, rate: 1/s}", publisher)) == [(problem, hint)]


def test_a_push_to_a_room_does_not_ask_what_its_members_accept():
    text = changed("{to: all, rate: 1/s}", "{to: room, rooms: viewers, rate: 1/s, op: 5000}")

    assert parse_scenario(text, file="a.yaml", env={}).publish[0].op == 5000


def test_names_are_given_once():
    text = changed("name: lobby", "name: viewers").replace(
        "  - {name: steady, duration: 1s}", "  - {name: steady, duration: 1s}\n  - {name: steady, duration: 2s}"
    )

    assert [problem for problem, _ in problems_of(text)] == [
        'a.yaml:4:12: clients[1].name is "viewers", as clients[0].name; expected each name once',
        'a.yaml:9:12: phases[1].name is "steady", as phases[0].name; expected each name once',
    ]


def test_a_run_measures_something():
    text = changed("duration: 1s", "duration: 1s, measure: false")

    assert problems_of(text)[0] == (
        "a.yaml:8:43: phases[0] and all others have measure: false; expected a measured phase",
        "measure: true",
    )


@pytest.mark.parametrize(("mid", "overlaps"), [(1000, True), (1009, True), (1010, False), (991, True), (990, False)])
def test_every_client_has_its_own_mid(mid, overlaps):
    text = changed("name: lobby,", f"name: lobby, mid: {mid},")

    if overlaps:
        assert "expected a mid for each client" in problems_of(text)[0][0]
    else:
        assert parse_scenario(text, file="a.yaml", env={}).clients[1].mids == mid


@pytest.mark.parametrize(
    ("key", "count", "overlaps"),
    [
        ("v-", 10, True),
        ("v-1", 10, False),
        ("v-1", 11, True),
        ("v-01", 200, False),
        ("w-", 10, False),
        ("v", 10, False),
    ],
)
def test_every_client_has_its_own_key(key, count, overlaps):
    text = changed("count: 10, room", f"count: {count}, room").replace("name: lobby,", f"name: lobby, key: {key},")

    if overlaps:
        assert "expected a key for each client" in problems_of(text)[0][0]
    else:
        assert parse_scenario(text, file="a.yaml", env={}).clients[1].keys == key


@pytest.mark.parametrize(
    ("event", "problems"),
    [
        (
            "{at: 1s, do: kill, node: core}",
            [
                (
                    'a.yaml:10:10: events[0].at is "1s", and the run is over at 1s; expected a time before',
                    "",
                )
            ],
        ),
        (
            "{at: 0s, do: disconnect, who: viewer}",
            [
                (
                    'a.yaml:10:35: events[0].who is "viewer"; expected a name of clients: viewers, lobby',
                    "did you mean viewers?",
                )
            ],
        ),
        (
            "{at: 0s, do: disconnect}",
            [
                (
                    "a.yaml:10:5: events[0] is do: disconnect and has no who; expected whom it happens to",
                    "who: viewers",
                )
            ],
        ),
        (
            "{at: 0s, do: disconnect, who: viewers, fraction: 0%}",
            [('a.yaml:10:54: events[0].fraction is "0%"; expected a share such as 70%, over 0%', "fraction: 20%")],
        ),
        (
            "{at: 0s, do: pause, node: comet-1}",
            [("a.yaml:10:5: events[0] is do: pause and has no for; expected how long", "for: 2s")],
        ),
        (
            "{at: 0s, do: pause}",
            [
                ("a.yaml:10:5: events[0] is do: pause and has no node; expected which node", "node: comet-1"),
                ("a.yaml:10:5: events[0] is do: pause and has no for; expected how long", "for: 2s"),
            ],
        ),
        (
            "{at: 0s, do: kill, who: viewers, node: core}",
            [
                (
                    "a.yaml:10:29: events[0].who does not go with do: kill; expected only at, do, node",
                    "who is for " + ", ".join(kind for kind in EventKind if not kind.for_nodes),
                )
            ],
        ),
        (
            "{at: 0s, do: silence, who: lobby, node: core}",
            [
                (
                    "a.yaml:10:45: events[0].node does not go with do: silence; "
                    "expected only at, do, who, fraction, for",
                    "node is for kill, pause, restart",
                )
            ],
        ),
        (
            "{at: 0s, do: stop_reading, who: lobby, reconnect: {backoff: 1s}}",
            [
                (
                    "a.yaml:10:55: events[0].reconnect does not go with do: stop_reading; "
                    "expected only at, do, who, fraction, for",
                    "reconnect is for disconnect",
                )
            ],
        ),
        (
            "{at: 0s, do: change_room, who: lobby}",
            [
                (
                    "a.yaml:10:5: events[0] is do: change_room and has no room; expected where to",
                    "room: live://1, or room: none",
                )
            ],
        ),
        (
            "{at: 0s, do: change_room, who: lobby, room: 'live://${1..2}'}",
            [
                (
                    'a.yaml:10:49: events[0].room is "live://${1..2}"; expected a room key such as live://1, or none '
                    "for out of every room",
                    "room: live://1",
                )
            ],
        ),
        (
            "{at: 0s, do: diconnect, who: lobby}",
            [
                (
                    'a.yaml:10:18: events[0].do is "diconnect"; expected ' + " or ".join(EventKind),
                    "did you mean disconnect?",
                )
            ],
        ),
        (
            "{at: 2, do: kill, node: core, fro: 2s}",
            [
                ("a.yaml:10:10: events[0].at is 2; expected a duration such as 500ms, 10s or 4m", "at: 8s"),
                (
                    "a.yaml:10:35: events[0].fro is not known; expected one of "
                    + ", ".join(known.name for known in EVENT.fields),
                    "did you mean for?",
                ),
            ],
        ),
    ],
)
def test_an_event_that_cannot_happen(event, problems):
    assert problems_of(BASE + f"events:\n  - {event}\n") == problems


def test_who_changes_to_a_room_that_nobody_publishes_to_is_right():
    text = BASE + "events:\n  - {at: 0s, do: change_room, who: lobby, room: quiet://1}\n"

    assert parse_scenario(text, file="a.yaml", env={}).events[0].room == "quiet://1"


def test_an_event_is_not_blamed_for_a_phase_that_is_wrong():
    text = changed("duration: 1s", "duration: fast") + "events:\n  - {at: 9s, do: kill, node: core}\n"

    assert len(problems_of(text)) == 1


def test_all_problems_of_several_events_are_told():
    text = BASE + "events:\n  - {at: 5s, do: kill}\n  - {at: 0s, do: silence, who: nobody, room: none}\n"

    assert len(problems_of(text)) == 4
