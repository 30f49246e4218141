import json

import pytest

from sim.report.model import (
    DeliveryReport,
    ExpectResult,
    NodeReport,
    PhaseReport,
    RunReport,
    SeriesRow,
    Verdict,
)


def report(**parts):
    return RunReport("room", 7, "goim://here", "2026-11-23T05:00:00Z", **{"verdict": Verdict.PASS, **parts})


def test_the_document_has_the_shape_that_is_promised():
    document = report(
        phases=(PhaseReport("steady", 10.0),),
        series=(SeriesRow(0, "steady", 10, 40, 400, 1.0, 2.0),),
        nodes=(NodeReport("core", 1, 0.5, 1000, {"a.b": 1}),),
        delivery=DeliveryReport(lost_at={"comet.slow_client": 2}),
        expect=(ExpectResult("delivery.lost == 0", 0.0, True, "", ""),),
        hops_ms={"logic": 0.2},
        machine={"cpus": 2},
        reasons=("because",),
    ).to_dict()

    assert list(document) == [
        "schema_version", "scenario", "seed", "target", "started_at", "verdict", "reasons", "clients", "publish",
        "delivery", "latency_ms", "phases", "hops_ms", "series", "generator", "nodes", "events", "expect",
        "machine", "node_series", "latency_buckets_ms", "baseline", "find_max",
        "fanout", "populations", "publishers", "clocks",
    ]  # fmt: skip
    assert document["schema_version"] == 1
    assert list(document["clients"]) == [
        "wanted",
        "connected",
        "failed",
        "connects_per_s",
        "disconnected",
        "reconnects",
        "provoked",
        "second_logins",
        "second_logins_failed",
    ]
    assert list(document["publish"]) == ["messages", "errors", "rate_per_s", "send_lag_ms"]
    assert list(document["publish"]["send_lag_ms"]) == ["p50", "p99", "max"]
    delivery = ["expected", "delivered", "lost", "duplicated", "reordered", "unexpected", "deliveries_per_s"]
    delivery += ["lost_at", "lost_percent"]
    assert list(document["delivery"]) == delivery
    latency = ["count", "min", "p50", "p90", "p95", "p99", "p999", "max"]
    assert list(document["latency_ms"]) == latency
    phase = document["phases"][0]
    assert list(phase) == ["name", "duration_s", "measure", "publish", "delivery", "latency_ms", "fanout"]
    assert (list(phase["delivery"]), list(phase["latency_ms"])) == (delivery, latency)
    assert list(document["generator"]) == ["workers", "cpu_percent", "loop_lag_ms", "overloaded", "broken"]
    assert list(document["nodes"][0]) == ["name", "pid", "cpu_s", "rss_bytes", "drops", "cpu_percent", "rss_max_bytes"]
    assert document["expect"] == [{"expr": "delivery.lost == 0", "value": 0.0, "pass": True}]
    assert document["series"][0]["at_s"] == 0


def test_the_document_is_json():
    document = report(phases=(PhaseReport("a", 1.0),)).to_dict()

    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_what_was_not_measured_is_null_and_not_zero():
    assert report().to_dict()["latency_ms"] == {
        "count": 0, "min": None, "p50": None, "p90": None, "p95": None, "p99": None, "p999": None, "max": None,
    }  # fmt: skip


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("invalid", 5), ("aborted", 6)])
def test_a_verdict_is_an_exit_code(verdict, code):
    assert report(verdict=Verdict(verdict)).exit_code == code
    assert report(verdict=Verdict(verdict)).to_dict()["verdict"] == verdict


@pytest.mark.parametrize(
    ("verdict", "reasons", "failures"),
    [("pass", (), ()), ("fail", ("a", "b"), ("a", "b")), ("invalid", (), ("invalid",)), ("aborted", ("c",), ("c",))],
)
def test_what_failed_is_told_only_of_a_run_that_did_not_pass(verdict, reasons, failures):
    run = report(verdict=Verdict(verdict), reasons=reasons)

    assert run.passed is (verdict == "pass")
    assert run.failures == failures
