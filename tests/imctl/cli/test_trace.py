from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from imctl.cli.printer import Printer
from imctl.cli.trace_report import Read, TraceReport, hidden_hops, hops_of
from imctl.cluster.inprocess import LocalCluster
from protocol.trace import Place, TracePoint, follow
from tests.imctl.cli.background import Background, FakeLogic

MS = 1_000_000
NOBODY = (200, '{"code":0,"message":"","data":{"mids":{"1":{}},"keys":{}}}')


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with Background(lambda: LocalCluster(comets=2)) as found:
        yield found


def at(place: Place, at_ms: float, server: str = "", **facts: object) -> TracePoint:
    return TracePoint(7, place, f"{place}-node", int(at_ms * MS), server, **facts)  # type: ignore[arg-type]  # as the test gives them


WAY = [
    at(Place.ACCEPTED, 1),
    at(Place.PUBLISHED, 1.5, room="live://1"),
    at(Place.READ, 2, room="live://1"),
    at(Place.ROUTED, 6, calls=2, messages=3),
    at(Place.SENT, 7, "comet-1", messages=3),
    at(Place.SENT, 7.5, "comet-2", messages=3),
    at(Place.WRITTEN, 9, "comet-1", began_ns=8 * MS, clients=2),
    at(Place.WRITTEN, 10, "comet-2", began_ns=9 * MS, clients=0, missed=1),
]


def report_of(points: list[TracePoint], read: Read | None = None, **changes: object) -> TraceReport:
    journey = follow(points)
    values = {
        "hops": hops_of(journey, 0, read),
        "hidden": hidden_hops(journey, logic_why="logic is mute", nodes_why="mute", listens=read is not None),
        **changes,
    }
    return TraceReport(7, "room live://1", 1000, 2, 3.0, **values)  # type: ignore[arg-type]  # as the test gives them


def shown(report: TraceReport, capsys: pytest.CaptureFixture[str]) -> list[str]:
    Printer(color=False).result(report)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_every_hop_is_a_row_with_its_end_and_its_length(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")

    assert shown(report_of(WAY, Read(11 * MS, "comet-1", "TCP")), capsys) == [
        "trace 0000000000000007 room live://1, op 1000, 2 bytes",
        "hop node at ms took ms",
        "push accepted-node 1.00 1.00 logic has the request",
        "logic published-node 1.50 0.50 bus is given the record",
        "bus read-node 2.00 0.50 job has the record",
        "job sent-node 7.00 5.00 calls comet-1; 4.00 ms of it for the room's batch, 3 messages in one call",
        "comet written-node 9.00 2.00 written to 2 clients",
        "job sent-node 7.50 5.50 calls comet-2; 4.00 ms of it for the room's batch, 3 messages in one call",
        "comet written-node 10.00 2.50 written to 0 clients, 1 missed: gone or too slow",
        "wire client 11.00 2.00 read over TCP",
    ]


def test_as_json_every_number_is_there():
    document = report_of(WAY, Read(11 * MS, "comet-1", "TCP")).to_json()

    assert document["total_ms"] == 11.0
    assert document["hidden"] == {}
    assert [(hop["hop"], hop["at_ms"], hop["took_ms"]) for hop in document["hops"]][-3:] == [
        *(("job", 7.5, 5.5), ("comet", 10.0, 2.5), ("wire", 11.0, 2.0))
    ]
    job, comet = document["hops"][3:5]
    assert (job["server"], job["messages"], job["batching_ms"]) == ("comet-1", 3, 4.0)
    assert (comet["clients"], comet["missed"], comet["writing_ms"]) == (2, 0, 1.0)


def test_a_hop_that_nobody_told_of_has_its_reason(capsys):
    assert shown(report_of(WAY[:3]), capsys)[-2:] == [
        "not visible: job, comet (mute)",
        "not visible: wire (no client of ours is there; --listen connects one)",
    ]
    assert report_of([]).hidden["logic"] == "logic is mute"


def test_a_client_may_read_before_its_comet_has_written_to_the_others():
    hops = hops_of(follow(WAY), 0, Read(int(8.5 * MS), "comet-1", "TCP"))

    assert (hops[-1].at_ms, hops[-1].took_ms) == (8.5, 0.0)


def test_times_of_another_clock_are_compared_with_each_other_only():
    hops = hops_of(follow(WAY), 0, Read(11 * MS, "comet-1", "TCP"), same_clock=False)

    assert [(hop.name, hop.at_ms, hop.took_ms) for hop in hops if hop.name in ("push", "logic", "wire")] == [
        *(("push", None, None), ("logic", None, 0.5), ("wire", 11.0, None))
    ]


def test_what_was_lost_is_said_and_ends_with_a_failure(capsys):
    report = report_of(WAY[:4], lost=("job-1: job.no_comet",))

    assert "lost job-1: job.no_comet" in shown(report, capsys)


@pytest.mark.parametrize("ws", [False, True])
def test_a_client_of_our_own_reads_it(invoke, cluster, ws):
    result = invoke(
        *("trace", "--room", "live://1", "--listen", "--json", "--target", cluster.http),
        *("--comet", cluster.ws if ws else cluster.tcp, *(["--ws"] if ws else [])),
    )

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [hop["hop"] for hop in document["hops"]] == ["push", "logic", "wire"]
    assert list(document["hidden"]) == ["bus", "job", "comet"]
    assert document["hops"][-1]["server"] == "comet-1"
    assert document["total_ms"] >= document["hops"][1]["at_ms"] >= document["hops"][0]["at_ms"] > 0


def test_a_key_that_is_connected_is_not_taken_over(invoke, cluster):
    sessions = (200, '{"code":0,"message":"","data":{"mids":{},"keys":{"k":"comet-1"}}}')
    with Background(lambda: FakeLogic({"/imctl/sessions": sessions})) as logic:
        result = invoke("trace", "--key", "k", "--listen", "--target", logic.address, "--comet", cluster.tcp)

    assert result.exit_code == 2
    assert "key k is connected" in result.stderr
    assert not any(method == "POST" for method, _, _ in logic.requests)


def test_nobody_online_is_said_and_no_failure(invoke, cluster):
    result = invoke("trace", "--mid", "99", "hi", "--target", cluster.http)

    assert result.exit_code == 0
    assert "warning: mid 99 has no online connection: nothing was published\nhint: --listen" in result.stderr
    assert result.stdout.splitlines()[2].startswith("push")


def test_of_a_go_logic_nothing_is_visible_but_that_it_took_the_push(invoke):
    with Background(lambda: FakeLogic({"/imctl/sessions": NOBODY})) as logic:
        result = invoke("trace", "--mid", "1", "hi", "--json", "--target", logic.address)

    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["hops"] == []
    assert list(document["hidden"]) == ["logic", "bus", "job", "comet", "wire"]
    assert document["hidden"]["logic"] == f"logic {logic.address} is a Go one, which does not tell"
    assert document["answered_ms"] > 0


def test_a_message_that_does_not_come_is_exit_27_and_what_is_known_is_shown(invoke, cluster):
    # This logic takes the push and delivers nothing.
    with Background(lambda: FakeLogic({"/imctl/sessions": NOBODY})) as logic:
        result = invoke(
            *("trace", "--mid", "1", "--listen", "--timeout", "100ms", "--json"),
            *("--target", logic.address, "--comet", cluster.tcp),
        )

    assert result.exit_code == 27
    assert json.loads(result.stdout)["total_ms"] is None
    assert "the client did not get the message within 0.1 s" in result.stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ((), "give one of --mid, --key, --room and --all"),
        (("--mid", "1", "--all"), "give one of --mid, --key, --room and --all"),
        (("--room", "lobby"), "TYPE://ID"),
        (("--all", "--op", "0"), "goim takes no op 0"),
        (("--mid", "1", "--ws"), "needs --listen"),
        (("--mid", "1", "--comet", "127.0.0.1:1"), "needs --listen"),
    ],
)
def test_wrong_usage_says_what_is_wrong(invoke, args, why):
    result = invoke("trace", *args)

    assert result.exit_code == 2
    assert why in result.stderr


def test_without_a_cluster_it_is_exit_4(invoke):
    result = invoke("trace", "--mid", "1")

    assert result.exit_code == 4
    assert "imctl up" in result.stderr


def test_a_comet_that_is_not_there_is_exit_4(invoke, cluster):
    result = invoke("trace", "--mid", "1", "--listen", "--target", cluster.http, "--comet", "127.0.0.1:1")

    assert result.exit_code == 4
    assert "--comet HOST:PORT" in result.stderr
