from __future__ import annotations

import logging

import pytest

from imctl.ratelog import LimitedLogger


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("imctl.ratelog.time.monotonic", lambda: now[0])
    return now


def lines(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_lines_over_the_limit_are_left_out_and_counted_in_the_next_second(clock, caplog):
    caplog.set_level(logging.INFO, "x")
    log = LimitedLogger(logging.getLogger("x"), per_s=2)

    for i in range(5):
        log.info("line %d", i)
    clock[0] += 1
    log.info("next")

    assert lines(caplog) == ["line 0", "line 1", "3 further lines left out", "next"]


def test_nothing_is_said_when_nothing_was_left_out(clock, caplog):
    caplog.set_level(logging.INFO, "x")
    log = LimitedLogger(logging.getLogger("x"), per_s=2)

    for i in range(6):
        log.info("line %d", i)
        clock[0] += 0.5

    assert lines(caplog) == [f"line {i}" for i in range(6)]


def test_arguments_are_not_formatted_for_a_line_left_out(clock, caplog):
    class Costly:
        def __str__(self):
            raise AssertionError("formatted")

    caplog.set_level(logging.INFO, "x")
    log = LimitedLogger(logging.getLogger("x"), per_s=0)

    log.info("%s", Costly())

    assert lines(caplog) == []
