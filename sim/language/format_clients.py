"""The keys of a population of clients, what each takes, and what it does."""

from __future__ import annotations

from sim.language import kinds
from sim.language.fields import Either, Field, ListOf, Section
from sim.language.kinds import one_of
from sim.scenario.scenario import DEFAULT_OP, ConnectArrival, Transport

__all__ = ["CLIENTS", "NETWORK_FIELDS", "RECONNECT"]

TRANSPORT = Section(
    (
        Field("tcp", kinds.SHARE, "Share of the clients on TCP.", None, "the rest, beside `ws` alone"),
        Field("ws", kinds.SHARE, "Share of the clients on WebSocket.", None, "the rest, beside `tcp` alone"),
        Field("tls", kinds.SHARE, "Share of the clients on TLS over TCP.", None, "the rest, beside `wss` alone"),
        Field("wss", kinds.SHARE, "Share of the clients on WebSocket over TLS.", None, "the rest, beside `tls` alone"),
    )
)
TLS = Section(
    (
        Field(
            "ca",
            kinds.PEM,
            "PEM file, from this one's folder, with the certificate of the comets or of who signed it.",
            None,
            "the cluster's own, else what the system trusts",
        ),
        Field("verify", kinds.BOOL, "`false`: any certificate will do.", True, "true"),
    )
)
DISTRIBUTION = Section(
    (
        Field("zipf", kinds.EXPONENT, "Room n has 1/n to this power of what the first one has: 1 halves the second."),
        Field("weights", ListOf(kinds.WEIGHT, at_least=1), "For each room how many clients, as against the others."),
    ),
    one_of=True,
)
ROOM = Section(
    (
        Field("pattern", kinds.ROOM, "Room key such as `live://1`, or several as `live://${1..100}`."),
        Field(
            "distribution",
            Either(one_of(("uniform",)), DISTRIBUTION),
            "How large each room is. How many each has follows from that alone, which clients those are from the seed. "
            "`uniform`: all the same.",
            None,
            "one after the other",
        ),
    )
)
CONNECT = Section(
    (
        Field("rate", kinds.RATE, "Connects started a second.", 1000.0, "1000/s"),
        Field("inflight", kinds.INFLIGHT, "Connects under way at any time, at most.", 200, "200"),
        Field(
            "arrival",
            one_of(tuple(ConnectArrival)),
            "`uniform`: evenly spaced. `poisson`: at random. `at_once`: without a `rate`, all that `inflight` allows.",
            ConnectArrival.UNIFORM,
            "uniform",
        ),
    )
)
RECONNECT = Section(
    (
        Field(
            "backoff",
            kinds.BACKOFF,
            "Wait before each attempt to connect: `100ms..2s` begins with 100 ms, doubled by each failure up to 2 s; "
            "chance takes up to half of it off. `500ms` does not grow.",
        ),
    )
)
CHURN = Section(
    (
        Field("rate", kinds.RATE, "Clients of the population that leave a second; which ones is drawn by the seed."),
        Field("away", kinds.BACKOFF, "How long each stays away: `1s`, or drawn from `500ms..2s`."),
    )
)
LENGTH = Section(
    (Field("exponential", kinds.DURATION, "Mean of lengths that chance ends: most are shorter, some much longer."),),
    one_of=True,
)
SESSION = Section(
    (
        Field("length", Either(kinds.BACKOFF, LENGTH), "How long a client stays: `60s`, or drawn from `30s..90s`."),
        Field("away", kinds.BACKOFF, "How long it then stays away: `1s`, or drawn.", None, "it leaves for good"),
    )
)
NETWORK_FIELDS = (
    Field(
        "latency", kinds.DELAY, "What everything takes longer, in each direction: a round trip twice that.", None, "0"
    ),
    Field(
        "jitter",
        kinds.DELAY,
        "What it may take longer still, drawn for each chunk of bytes; nothing overtakes, as in TCP.",
        None,
        "0",
    ),
    Field("bandwidth", kinds.BANDWIDTH, "What each client gets through at most, in each direction.", None, "no limit"),
)
CLIENTS = Section(
    (
        Field("name", kinds.NAME, "What publishers, events and reports call this population."),
        Field("count", kinds.COUNT, "Number of clients, from 1."),
        Field(
            "transport",
            Either(one_of(tuple(Transport)), TRANSPORT),
            "`tcp`, `ws`, `tls`, `wss`, or the share of each.",
            "tcp",
            "tcp",
        ),
        Field("tls", TLS, "Which certificates its `tls` and `wss` clients trust.", None),
        Field(
            "source",
            kinds.SOURCE,
            "Address of this machine that the clients connect from; `127.0.0.2..127.0.0.9` takes several in turn.",
            None,
            "on loopback one for each 10,000 clients",
        ),
        Field(
            "room",
            Either(kinds.ROOM, ROOM),
            "Room key such as `live://1`; `live://${1..4}` spreads the clients over four rooms, one after the other.",
            None,
            "no room",
        ),
        Field(
            "mid",
            kinds.MID,
            "Mid of the first client, `1000` or `${1000..}`; the next has the next. No two populations share one.",
            None,
            "0 for all",
        ),
        Field(
            "connections_per_mid",
            kinds.CONNECTIONS,
            "Clients that share a mid, as a user's devices do; each has to get a push to it. `count` counts clients.",
            1,
            "1",
        ),
        Field(
            "key",
            kinds.KEY,
            "What keys begin with: `viewer-` gives `viewer-0`, `viewer-1` and so on.",
            None,
            "made by logic",
        ),
        Field(
            "accepts",
            ListOf(kinds.OP),
            "Operations taken from pushes by mid, by key and to all. A push to a room asks nobody, as in goim.",
            (DEFAULT_OP,),
            "[1000]",
        ),
        Field("connect", CONNECT, "How fast the clients connect, before the first phase begins.", None),
        Field("heartbeat", kinds.DURATION, "Time between a client's heartbeats.", 30.0, "30s"),
        Field(
            "reconnect",
            RECONNECT,
            "What a client does that loses its connection without wanting to.",
            None,
            "it stays away",
        ),
        Field("churn", CHURN, "Clients that leave and come back while the phases run.", None, "all stay"),
        Field(
            "session",
            SESSION,
            "How long each client stays, from the first phase and then from coming back; drawn by the seed.",
            None,
            "to the end",
        ),
        Field(
            "network",
            Section(NETWORK_FIELDS),
            "What is between each client and its comet, for the whole run.",
            None,
            "the real one alone",
        ),
    )
)
