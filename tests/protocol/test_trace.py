from __future__ import annotations

import json

import pytest

from protocol.pb import comet, logic
from protocol.pb.protocol import Proto
from protocol.trace import Place, TracePoint, dump_trace_id, follow, parse_trace_id


def point(place: Place, at_ns: int, server: str = "", **facts: object) -> TracePoint:
    return TracePoint(7, place, "node", at_ns, server, **facts)  # type: ignore[arg-type]  # as the test gives them


def room_of_two() -> list[TracePoint]:
    """A room's message on its way to two comets."""
    return [
        point(Place.ACCEPTED, 10),
        point(Place.PUBLISHED, 20, room="live://1"),
        point(Place.READ, 30, room="live://1"),
        point(Place.ROUTED, 40, calls=2, messages=3),
        point(Place.SENT, 50, "comet-1", messages=3),
        point(Place.SENT, 51, "comet-2", messages=3),
        point(Place.WRITTEN, 70, "comet-1", began_ns=60, clients=5),
        point(Place.WRITTEN, 90, "comet-2", began_ns=80, clients=1),
    ]


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("00ff", 255), ("FFFFFFFFFFFFFFFF", 2**64 - 1)])
def test_an_id_is_hex(text, number):
    assert parse_trace_id(text) == number
    assert parse_trace_id(dump_trace_id(number)) == number


@pytest.mark.parametrize("text", ["", "0", "000", "xyz", "-1", "0x1", "1" * 17, " 1", "१"])
def test_what_is_no_id_says_what_was_expected(text):
    with pytest.raises(ValueError, match="expected 1 to 16 hex digits, not all 0"):
        parse_trace_id(text)


@pytest.mark.parametrize("given", room_of_two(), ids=lambda given: f"{given.place} {given.server}")
def test_a_point_survives_json(given):
    document = json.loads(json.dumps(given.dump()))

    assert TracePoint.load(document | {"later": "field"}) == given


@pytest.mark.parametrize("change", [{"place": "moon"}, {"trace": "zz"}, {"at_ns": None, "node": None}])
def test_what_is_no_point_is_refused(change):
    document = {name: value for name, value in (point(Place.SENT, 1).dump() | change).items() if value is not None}

    with pytest.raises(ValueError):  # each says something else
        TracePoint.load(document)


def test_a_message_without_id_has_the_bytes_of_goim():
    # Of a recording of goim: ROOM, op 1000, test://1
    record = "080110e8072a08746573743a2f2f313a0a7b2274657374223a317d"
    proto = Proto(ver=1, op=9, body=b"x")

    assert logic.PushMsg.FromString(bytes.fromhex(record)).trace == 0
    assert logic.PushMsg.FromString(bytes.fromhex(record)).SerializeToString().hex() == record
    for request in (
        comet.PushMsgReq(keys=["k"], proto=proto, protoOp=1),
        comet.BroadcastReq(proto=proto, protoOp=1),
        comet.BroadcastRoomReq(roomID="r", proto=proto),
    ):
        plain = request.SerializeToString()
        request.traces.extend([1, 2])

        # Only added at the end, under a number that goim does not have: tag 1000 is c2 3e.
        assert request.SerializeToString().startswith(plain)
        assert request.SerializeToString()[len(plain) :].hex() == "c23e10" + "0100000000000000" + "0200000000000000"


def test_the_way_to_each_comet_has_the_points_of_both():
    journey = follow(room_of_two())

    assert journey.accepted is not None
    assert (journey.accepted.at_ns, journey.records, journey.is_over) == (10, 1, True)
    assert [
        tuple(place and place.at_ns for place in (way.published, way.read, way.routed, way.sent, way.written))
        for way in journey.ways
    ] == [(20, 30, 40, 50, 70), (20, 30, 40, 51, 90)]
    assert [way.server for way in journey.ways] == ["comet-1", "comet-2"]


@pytest.mark.parametrize("missing", range(8))
def test_it_is_over_when_nothing_is_missing_but_the_beginning(missing):
    points = room_of_two()
    gone = points.pop(missing).place

    # A call that nobody noted is known by what it led to; without a record nothing more can come.
    assert follow(points).is_over == (gone in (Place.ACCEPTED, Place.PUBLISHED, Place.READ, Place.SENT))


def test_what_was_dropped_is_an_end_too():
    points = room_of_two()[:-1]

    dropped = follow([*points, point(Place.DROPPED, 95, "comet-2", reason="job.comet_timeout")])

    assert dropped.is_over
    assert [way.dropped.reason if way.dropped else "" for way in dropped.ways] == ["", "job.comet_timeout"]


def test_a_record_that_no_comet_is_known_for_has_a_way_of_its_own():
    points = room_of_two()[:3]
    lost = follow([*points, point(Place.DROPPED, 95, reason="job.no_comet")])

    assert [way.server for way in follow(points).ways] == [way.server for way in lost.ways] == [""]
    assert (follow(points).is_over, lost.is_over) == (False, True)


def test_a_push_to_users_on_two_comets_is_two_records():
    points = [point(Place.ACCEPTED, 1)]
    for at_ns, server in ((10, "comet-1"), (15, "comet-2")):
        points += [
            point(Place.PUBLISHED, at_ns, server),
            point(Place.READ, at_ns + 1, server),
            point(Place.ROUTED, at_ns + 2, server, calls=1),
            point(Place.SENT, at_ns + 3, server),
        ]
    points.append(point(Place.WRITTEN, 30, "comet-1", began_ns=29, clients=1))

    journey = follow(points)

    assert (journey.records, journey.is_over) == (2, False)
    assert [way.published.at_ns for way in journey.ways if way.published] == [10, 15]
    assert follow([*points, point(Place.WRITTEN, 31, "comet-2", began_ns=30)]).is_over


def test_the_first_delivery_counts_and_the_call_that_made_it():
    points = [
        *(point(Place.PUBLISHED, 1, "c"), point(Place.READ, 2, "c"), point(Place.ROUTED, 3, "c", calls=1)),
        *(point(Place.SENT, 4, "c"), point(Place.SENT, 50, "c"), point(Place.WRITTEN, 60, "c", began_ns=55)),
        # The job died before it could acknowledge: another one does it all again.
        *(point(Place.READ, 70, "c"), point(Place.ROUTED, 71, "c", calls=1), point(Place.SENT, 72, "c")),
        point(Place.WRITTEN, 80, "c", began_ns=75),
    ]

    [way] = follow(points).ways

    assert [at.at_ns for at in (way.read, way.routed, way.sent, way.written) if at] == [2, 3, 50, 60]


def test_nothing_known_is_no_way():
    journey = follow([])

    assert (journey.accepted, journey.ways, journey.records, journey.is_over) == (None, (), 0, True)
