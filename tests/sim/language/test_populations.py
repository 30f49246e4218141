import pytest

from sim.errors import ScenarioError
from sim.language.load import parse_scenario
from sim.scenario.scenario import Backoff, ConnectArrival, Event, EventKind, ExponentialTime, Session, Transport

TEXT = """\
name: sessions
clients:
  - name: viewers
    count: 10
    {keys}
publish:
  - {{to: all, rate: 1/s}}
phases:
  - {{name: steady, duration: 5s}}
events: [{event}]
"""


def parse(keys="", event="", file="a.yaml"):
    return parse_scenario(TEXT.format(keys=keys, event=event), file=file, env={})


def population(keys, **options):
    return parse(keys, **options).clients[0]


def problems_of(keys="", event=""):
    with pytest.raises(ScenarioError) as caught:
        parse(keys, event)
    return [(str(problem), problem.hint) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("distribution", "weights"),
    [
        ("", ()),
        (", distribution: uniform", (1.0, 1.0, 1.0, 1.0)),
        (", distribution: {zipf: 1}", (1.0, 1 / 2, 1 / 3, 1 / 4)),
        (", distribution: {zipf: 0.5}", tuple(pytest.approx(n**-0.5) for n in range(1, 5))),
        (", distribution: {weights: [5, 3.5, 0, 1]}", (5.0, 3.5, 0.0, 1.0)),
    ],
)
def test_rooms_have_sizes_by_a_distribution(distribution, weights):
    found = population(f"room: {{pattern: 'live://${{1..4}}'{distribution}}}")

    assert found.rooms == ("live://1", "live://2", "live://3", "live://4")
    assert found.room_weights == weights


def test_a_room_is_a_key_as_before():
    assert population("room: live://${1..2}").rooms == ("live://1", "live://2")


def test_several_clients_share_a_mid():
    assert population("{mid: 7, connections_per_mid: 3}".strip("{}").replace(", ", "\n    ")).connections_per_mid == 3


@pytest.mark.parametrize(
    ("written", "sources"),
    [
        ("127.0.0.2", ("127.0.0.2",)),
        ("127.0.0.254..127.0.1.1", ("127.0.0.254", "127.0.0.255", "127.0.1.0", "127.0.1.1")),
        ("'::1'", ("::1",)),
    ],
)
def test_sources_are_an_address_or_a_range(written, sources):
    assert population(f"source: {written}").sources == sources


def test_connects_can_be_spread_in_three_ways():
    assert [
        population(f"connect: {{arrival: {arrival}, inflight: 7}}").connect_arrival for arrival in ConnectArrival
    ] == list(ConnectArrival)
    assert population("connect: {rate: 7/s}").connect_arrival is ConnectArrival.UNIFORM


@pytest.mark.parametrize(
    ("written", "session"),
    [
        ("{length: 60s}", Session(Backoff(60.0, 60.0))),
        ("{length: 30s..90s, away: 1s}", Session(Backoff(30.0, 90.0), Backoff(1.0, 1.0))),
        ("{length: {exponential: 60s}, away: 1s..2s}", Session(ExponentialTime(60.0), Backoff(1.0, 2.0))),
    ],
)
def test_sessions_have_a_length_and_may_begin_again(written, session):
    assert population(f"session: {written}").session == session


def test_certificates_are_looked_for_beside_the_scenario(tmp_path):
    (tmp_path / "ca.pem").write_text("a certificate")
    text = "transport: {tls: 50%}\n    tls: {ca: ca.pem}"

    found = population(text, file=str(tmp_path / "a.yaml"))

    assert found.transports == ((Transport.TLS, 0.5), (Transport.WSS, 0.5))
    assert (found.tls_ca, found.tls_verify) == (str(tmp_path / "ca.pem"), True)
    assert population("transport: wss\n    tls: {verify: false}").tls_verify is False


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (
            "transport: {tcp: 50%, tls: 20%}",
            [("a.yaml:5:16: clients[0].transport adds up to 70%; expected 100%", "{tcp: 50%, tls: 50%}")],
        ),
        (
            "tls: {verify: false}",
            [("a.yaml:5:10: clients[0].tls is given, and no client uses tls or wss", "transport: tls")],
        ),
        (
            "transport: tls\n    tls: {ca: gone.pem}",
            [("a.yaml:6:15: clients[0].tls.ca is gone.pem: no such file; expected a PEM file", "")],
        ),
        (
            "transport: tls\n    tls: {ca: gone.pem, verify: false}",
            [
                ("a.yaml:6:15: clients[0].tls.ca does not go with verify: false; expected one of them", ""),
                ("a.yaml:6:15: clients[0].tls.ca is gone.pem: no such file; expected a PEM file", ""),
            ],
        ),
        (
            "room: {pattern: live://1, distribution: {weights: [1, 2]}}",
            [
                (
                    "a.yaml:5:55: clients[0].room.distribution has 2 weights for 1 rooms; expected a weight for each "
                    "room, and one over 0",
                    "weights: [1]",
                )
            ],
        ),
        (
            "room: {pattern: 'live://${1..2}', distribution: {weights: [0, 0]}}",
            [
                (
                    "a.yaml:5:63: clients[0].room.distribution has nothing but zeros; expected a weight for each room, "
                    "and one over 0",
                    "weights: [2, 1]",
                )
            ],
        ),
        (
            "room: {pattern: live://1, distribution: zipf}",
            [('a.yaml:5:45: clients[0].room.distribution is "zipf"; expected uniform', "distribution: uniform")],
        ),
        (
            "room: {distribution: {zipf: 9}}",
            [
                (
                    "a.yaml:5:11: clients[0].room has no pattern; expected a room key such as live://1, or several as "
                    "live://${1..4}",
                    "pattern: live://${1..4}",
                ),
                (
                    "a.yaml:5:33: clients[0].room.distribution.zipf is 9; expected a number over 0, at most 5",
                    "zipf: 1.1",
                ),
            ],
        ),
        (
            "connections_per_mid: 3",
            [("a.yaml:5:26: clients[0].connections_per_mid is 3, and the clients have no mid", "mid: 1000")],
        ),
        (
            "connect: {rate: 10/s, arrival: at_once}",
            [
                (
                    "a.yaml:5:21: clients[0].connect.rate does not go with arrival: at_once; expected only inflight",
                    "rate is for uniform, poisson",
                )
            ],
        ),
        (
            "source: 127.0.0.9..127.0.0.2",
            [
                (
                    'a.yaml:5:13: clients[0].source is "127.0.0.9..127.0.0.2"; expected a range that goes up and has '
                    "at most 65536 addresses",
                    "source: 127.0.0.2..127.0.0.9",
                )
            ],
        ),
        (
            "source: localhost",
            [
                (
                    'a.yaml:5:13: clients[0].source is "localhost"; expected an address of this machine, or several '
                    "as 127.0.0.2..127.0.0.9",
                    "source: 127.0.0.2..127.0.0.9",
                )
            ],
        ),
        (
            "session: {away: 1s}",
            [
                (
                    "a.yaml:5:14: clients[0].session has no length; expected a duration such as 500ms, or a range of "
                    "them such as 100ms..2s",
                    "length: 100ms..2s",
                )
            ],
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(keys, found):
    assert problems_of(keys) == found


def test_populations_may_not_share_mids_however_many_clients_share_one():
    text = TEXT.format(keys="mid: 1\n    connections_per_mid: 5\n  - {name: others, count: 4, mid: MID}", event="")

    assert parse_scenario(text.replace("MID", "3"), file="a.yaml", env={}).clients[1].mids == 3
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text.replace("MID", "2"), file="a.yaml", env={})
    assert "2 to 5 overlaps the 1 to 2 of clients[0]" in str(caught.value)


@pytest.mark.parametrize(
    ("written", "event"),
    [
        (
            "{at: 1s, do: subscribe, who: viewers, ops: [1001, 1002, 1001]}",
            Event(1.0, EventKind.SUBSCRIBE, "viewers", ops=(1001, 1002), line=10, column=10),
        ),
        (
            "{at: 1s, do: unsubscribe, who: viewers, ops: [1001]}",
            Event(1.0, EventKind.UNSUBSCRIBE, "viewers", ops=(1001,), line=10, column=10),
        ),
        (
            "{at: 1s, do: take_over, who: viewers, fraction: 50%, comet: other}",
            Event(1.0, EventKind.TAKE_OVER, "viewers", 0.5, other_comet=True, line=10, column=10),
        ),
        (
            "{at: 1s, do: add_device, who: viewers, for: 2s}",
            Event(1.0, EventKind.ADD_DEVICE, "viewers", for_s=2.0, line=10, column=10),
        ),
    ],
)
def test_events_of_membership_and_login(written, event):
    scenario = parse("mid: 1\n    key: v-", written.replace("line", "").strip())

    assert [
        (one.at_s, one.kind, one.who, one.fraction, one.for_s, one.ops, one.other_comet) for one in scenario.events
    ] == [(event.at_s, event.kind, event.who, event.fraction, event.for_s, event.ops, event.other_comet)]
    assert scenario.comets == (2 if event.other_comet else 1)


@pytest.mark.parametrize(
    ("event", "message", "hint"),
    [
        (
            "{at: 1s, do: subscribe, who: viewers}",
            "events[0] is do: subscribe and has no ops; expected which operations",
            "ops: [1001]",
        ),
        (
            "{at: 1s, do: take_over, who: viewers}",
            "events[0] is do: take_over, and the clients of viewers have no key of their own",
            "in clients, viewers: key: viewer-",
        ),
        (
            "{at: 1s, do: add_device, who: viewers}",
            "events[0] is do: add_device, and the clients of viewers have no mid of their own",
            "in clients, viewers: mid: 1000",
        ),
        (
            "{at: 1s, do: silence, who: viewers, ops: [1001]}",
            "events[0].ops does not go with do: silence; expected only at, do, who, fraction, for",
            "ops is for subscribe, unsubscribe",
        ),
    ],
)
def test_an_event_that_its_clients_cannot_have(event, message, hint):
    [(problem, its_hint)] = problems_of(event=event)

    assert problem.endswith(message)
    assert its_hint == hint


def test_an_operation_that_somebody_subscribes_to_is_heard():
    text = TEXT.format(keys="", event="{at: 1s, do: subscribe, who: viewers, ops: [2000]}").replace(
        "rate: 1/s", "rate: 1/s, op: 2000"
    )

    assert parse_scenario(text, file="a.yaml", env={}).publish[0].op == 2000
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text.replace("do: subscribe", "do: unsubscribe"), file="a.yaml", env={})
    assert "sends op 2000, which no client of viewers accepts" in str(caught.value)
