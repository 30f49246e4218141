from __future__ import annotations

from typing import Any

from imctl.doctor.contract import Status
from imctl.doctor.nodes import check_drops, check_nodes, check_peers


def process(name: str = "comet-1", **changes: Any) -> dict[str, Any]:
    return {"name": name, "pid": 7, "state": "running", "uptime_s": 3.0, "restarts": 0, "last_exit": "", **changes}


def answer(name: str = "comet-1", *, drops: dict[str, int] | None = None, problem: str = "", **gauges: Any) -> Any:
    parts = {part: {"gauges": values} for part, values in gauges.items()}
    return {"name": name, "drops": drops or {}, "problem": problem, "parts": parts}


def test_a_process_that_runs_and_answers_is_ok():
    (row,) = check_nodes([process()], [answer()])

    assert (row.name, row.status, row.found) == ("comet-1", Status.OK, "running, pid 7")


def test_a_paused_process_fails_and_names_the_command_of_its_cluster():
    (row,) = check_nodes([process(state="paused")], [answer(problem="paused")], lambda text: f"{text} --cluster b")

    assert (row.status, row.found, row.fix) == (Status.FAILED, "paused", "imctl resume comet-1 --cluster b")


def test_a_process_that_does_not_answer_fails():
    (row,) = check_nodes([process()], [answer(problem="comet-1 did not answer within 2 s")])

    assert (row.status, row.found) == (Status.FAILED, "comet-1 did not answer within 2 s")
    assert "imctl restart comet-1" in row.fix


def test_a_process_that_nobody_asked_fails():
    (row,) = check_nodes([process()], [])

    assert row.status is Status.FAILED


def test_a_process_that_was_restarted_is_a_warning_with_its_end():
    (row,) = check_nodes([process(restarts=2, last_exit="signal SIGKILL")], [answer()])

    assert (row.status, row.found) == (Status.WARNING, "restarted 2 times, last end: signal SIGKILL")


def test_nodes_that_know_each_other_share_a_row():
    answers = [answer("core", logic={"comets": 1}, job={"comets": 1}, registry={}), answer(comet={"logics": 1})]

    assert [(row.name, row.status) for row in check_peers(answers)] == [("nodes together", Status.OK)]


def test_a_node_that_knows_nobody_fails():
    answers = [answer("core", logic={"comets": 0}, job={"comets": 1}), answer(comet={"logics": 0})]

    rows = {row.name: (row.status, row.found) for row in check_peers(answers)}

    assert rows == {
        "core logic": (Status.FAILED, "knows none"),
        "comet-1": (Status.FAILED, "knows none"),
    }


def test_a_cluster_without_comets_of_its_own_is_warned():
    answers = [answer("core", logic={"comets": 0}, job={"comets": 0})]

    assert {row.status for row in check_peers(answers)} == {Status.WARNING}


def test_no_answers_say_nothing_about_peers():
    assert check_peers([answer(problem="gone")]) == []


def test_no_drops_are_one_row():
    assert [(row.found, row.status) for row in check_drops([answer()])] == [("0", Status.OK)]


def test_drops_of_nodes_that_did_not_answer_are_not_known():
    assert [row.status for row in check_drops([answer(problem="paused")])] == [Status.FAILED]


def test_drops_are_summed_over_nodes_with_what_they_mean():
    answers = [
        answer(drops={"comet.slow_client": 3, "comet.client_gone": 1}),
        answer("comet-2", drops={"comet.slow_client": 1_000}),
    ]

    slow, gone = check_drops(answers)

    assert (slow.status, slow.found) == (Status.WARNING, "1,003 on comet-1, comet-2")
    assert "write_buffer_bytes" in slow.fix
    assert slow.facts == {"count": 1_003, "nodes": {"comet-1": 3, "comet-2": 1_000}}
    assert gone.status is Status.INFO
