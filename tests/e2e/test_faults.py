"""`imctl sim` with events against real processes: who comes back, what is lost, and what the report says of it."""

from __future__ import annotations

import json
import signal

import psutil
import pytest

from tests.e2e.conftest import wait_until

CLIENTS = 60
SCENARIO = """\
name: faults
seed: 3
clients:
  - name: viewers
    count: 60
    transport: {tcp: 50%, ws: 50%}
    room: "live://${1..2}"
    mid: 1000
    key: k-
    reconnect: {backoff: 50ms..500ms}
publish:
  - {to: room, rooms: viewers, rate: 50/s}
  - {to: mid, mids: viewers, rate: 100/s}
  - {to: key, keys: viewers, rate: 100/s}
  - {to: all, rate: 10/s}
phases:
  - {name: steady, duration: 3s, publish: x1}
events:
  - EVENTS
"""


@pytest.fixture
def run(imctl, tmp_path):
    """Run the scenario with these events against a private cluster, and return its document."""

    def ended(*events, duration="3s", rate="x1"):
        path = tmp_path / "faults.yaml"
        text = SCENARIO.replace("EVENTS", "\n  - ".join(events)).replace("duration: 3s", f"duration: {duration}")
        path.write_text(text.replace("publish: x1", f"publish: {rate}"))
        process = imctl.run("sim", str(path), "--workers", "1", "--json")
        document = json.loads(process.stdout)
        # A busy machine can make a run invalid; what was counted is right all the same.
        assert process.returncode == {"pass": 0, "invalid": 5}[document["verdict"]], process.stderr
        assert imctl.processes() == []
        return document

    return ended


def counts(document):
    delivery = document["delivery"]
    return [delivery[what] for what in ("lost", "duplicated", "reordered", "unexpected")]


def test_a_storm_of_reconnects_loses_nothing(run):
    document = run(
        "{at: 500ms, do: disconnect, who: viewers, reconnect: {backoff: 1ms}}",
        "{at: 1500ms, do: disconnect, who: viewers, fraction: 50%, reconnect: {backoff: 100ms..300ms}}",
        duration="6s",
        rate="x0.5",
    )

    assert [event["count"] for event in document["events"]] == [CLIENTS, CLIENTS // 2]
    assert document["clients"]["reconnects"] == CLIENTS + CLIENTS // 2
    assert (document["clients"]["connected"], document["clients"]["disconnected"]) == (CLIENTS, 0)
    assert document["series"][-1]["connected"] == CLIENTS
    assert counts(document) == [0, 0, 0, 0]
    assert 0 < document["delivery"]["expected"] < document["publish"]["messages"] * CLIENTS


def test_clients_of_a_killed_comet_all_come_back_and_lose_only_what_was_on_its_way_to_them(run):
    # A busy machine starts a comet in seconds.
    document = run("{at: 1s, do: kill, node: comet-1}", duration="10s", rate="x0.5")

    assert [(event["do"], event["target"]) for event in document["events"]] == [("kill", "comet-1")]
    assert (document["clients"]["disconnected"], document["clients"]["reconnects"]) == (CLIENTS, CLIENTS)
    assert document["series"][-1]["connected"] == CLIENTS
    lost, *others = counts(document)
    assert others == [0, 0, 0]
    assert document["delivery"]["lost_at"] == ({"comet-1.killed": lost} if lost else {})
    assert document["publish"]["errors"] == 0


def test_clients_of_a_killed_comet_go_elsewhere_and_what_they_lost_is_told_with_its_name(imctl, tmp_path):
    imctl.json("up", "--any-port", "--comet", "3", "--detach")
    path = tmp_path / "faults.yaml"
    many = SCENARIO.replace("count: 60", "count: 300").replace("rate: 50/s}", "rate: 200/s}")
    # On a busy machine it takes seconds until all are back.
    many = many.replace("duration: 3s, publish: x1}", "duration: 2s}\n  - {name: quiet, duration: 8s, publish: x0.1}")
    path.write_text(many.replace("EVENTS", "{at: 1s, do: kill, node: comet-2}"))

    ended = imctl.run("sim", str(path), "--json")
    imctl.run("down")

    document = json.loads(ended.stdout)
    assert ended.returncode == {"pass": 0, "invalid": 5}[document["verdict"]], ended.stderr
    lost, *others = counts(document)
    assert others == [0, 0, 0]
    assert 0 < document["clients"]["disconnected"] < 300
    assert document["clients"]["reconnects"] == document["clients"]["disconnected"]
    assert document["series"][-1]["connected"] == 300
    # A push on its way to a connection of the dead comet, or to a key that had not yet come back elsewhere.
    places = document["delivery"]["lost_at"]
    assert sum(places.values()) == lost
    assert "unknown" not in places
    assert {place for place in places if place.startswith("comet-")} <= {"comet-2.killed"}


def test_a_paused_comet_loses_nothing_and_the_latency_shows_the_pause(run):
    document = run("{at: 1s, do: pause, node: comet-1, for: 500ms}")

    assert counts(document) == [0, 0, 0, 0]
    assert document["clients"]["disconnected"] == 0
    assert document["events"][0]["for_s"] == 0.5
    latency = document["latency_ms"]
    # Everybody gets everything: half a second of three was stood still, the first message of it for all of that time.
    assert latency["count"] == document["delivery"]["expected"] == 150 * CLIENTS // 2 + 600 + 30 * CLIENTS
    assert latency["max"] >= 450
    assert latency["p90"] >= 100


def test_faults_of_the_network_lose_only_what_was_on_its_way_through_them_and_are_named(run):
    document = run(
        "{at: 300ms, do: network, who: viewers, latency: 100ms, jitter: 20ms, for: 400ms}",
        "{at: 1s, do: reset, who: viewers, fraction: 30%}",
        "{at: 2500ms, do: black_hole, who: viewers, fraction: 30%, for: 1500ms}",
        "{at: 4500ms, do: cut, who: viewers, fraction: 30%}",
        "{at: 4800ms, do: half_open, who: viewers, fraction: 30%}",
        duration="9s",
        rate="x0.75",
    )

    taken = [event["count"] for event in document["events"]]
    # On a busy machine two events come at once: some clients are on their way back, or lose one connection to both.
    assert (taken[:2], min(taken) > 0) == ([CLIENTS, 18], True)
    assert CLIENTS // 2 < document["clients"]["disconnected"] == document["clients"]["reconnects"] <= sum(taken[1:])
    assert document["series"][-1]["connected"] == CLIENTS
    lost, *others = counts(document)
    assert others == [0, 0, 0]
    places = document["delivery"]["lost_at"]
    assert set(places) <= {"network.reset", "network.black_hole", "network.cut", "network.half_open"}
    assert sum(places.values()) == lost
    # Some 29 a second for each client: in its room, by mid, by key and to all.
    assert places["network.black_hole"] > taken[2] * 10
    assert document["latency_ms"]["max"] >= 100


def test_clients_move_between_rooms_and_come_back_without_a_loss(run):
    document = run(
        '{at: 500ms, do: change_room, who: viewers, fraction: 50%, room: "live://2"}',
        '{at: 1s, do: change_room, who: viewers, fraction: 50%, room: "live://1"}',
        "{at: 1500ms, do: change_room, who: viewers, fraction: 30%, room: none}",
        "{at: 1800ms, do: disconnect, who: viewers, fraction: 30%, reconnect: {backoff: 10ms}}",
    )

    assert counts(document) == [0, 0, 0, 0]
    assert [event["count"] for event in document["events"]] == [30, 30, 18, 18]
    assert document["clients"]["reconnects"] == 18


def test_ctrl_c_while_a_node_is_paused_lets_it_go_on(imctl, tmp_path):
    imctl.json("up", "--any-port", "--detach")
    path = tmp_path / "faults.yaml"
    text = SCENARIO.replace("EVENTS", "{at: 500ms, do: pause, node: comet-1, for: 50s}")
    path.write_text(text.replace("duration: 3s", "duration: 60s"))

    def comet():
        [found] = [node for node in imctl.json("ps")["nodes"] if node["kind"] == "comet"]
        return found

    process = psutil.Process(comet()["pid"])
    running = imctl.start("sim", str(path))
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the comet stands still")
    wait_until(lambda: comet()["state"] == "paused", "the comet is paused")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=80)

    assert running.returncode == 130
    assert comet()["state"] == "running"
    assert process.status() != psutil.STATUS_STOPPED
    imctl.run("down")


def test_a_core_that_is_restarted_is_told_in_errors_and_losses_with_their_place(run):
    # A busy machine needs seconds for it.
    document = run("{at: 500ms, do: restart, node: core}", duration="16s", rate="x0.25")

    assert document["clients"]["disconnected"] == 0
    _, *others = counts(document)
    assert others == [0, 0, 0]
    # Pushes that nobody answered are errors and no losses.
    assert document["publish"]["errors"] > 0
    assert document["delivery"]["expected"] < document["publish"]["messages"] * CLIENTS
    # A new core does not know at once which comets and users there are; what it accepts until then is lost there.
    places = document["delivery"]["lost_at"]
    assert sum(places.values()) == document["delivery"]["lost"]
    assert set(places) <= {"job.no_comet", "logic.offline", "core.restarted"}
    *_, last = [row for row in document["series"] if row["messages"]]
    assert (last["lost"], last["delivered"] > 0) == (0, True)
