from __future__ import annotations

from imctl.doctor.contract import Condition, Status, examine, examine_async, judged, unknown

FINE = Condition("a", Status.OK, "x", "x")


def test_what_is_good_has_no_fix():
    assert judged("a", True, "1", "1", "do it", number=1) == Condition("a", Status.OK, "1", "1", "", {"number": 1})


def test_what_is_not_good_has_its_fix_and_fails_unless_told_otherwise():
    failed = judged("a", False, "1", "0", "do it")
    warned = judged("a", False, "1", "0", "do it", otherwise=Status.WARNING)

    assert (failed.status, failed.fix) == (Status.FAILED, "do it")
    assert (warned.status, warned.fix) == (Status.WARNING, "do it")


def test_a_check_may_find_one_condition_or_several():
    assert examine("a", lambda: FINE) == (FINE,)
    assert examine("a", lambda: [FINE, FINE]) == (FINE, FINE)


def test_a_check_that_breaks_is_unknown_and_says_why_in_a_line():
    def broken() -> Condition:
        raise PermissionError(13, "Permission denied\nand more")

    (row,) = examine("a", broken)

    assert row == unknown("a", "", "PermissionError: [Errno 13] Permission denied")


async def test_an_async_check_that_breaks_is_unknown_too():
    async def fine() -> Condition:
        return FINE

    async def broken() -> Condition:
        raise TimeoutError

    assert await examine_async("a", fine) == (FINE,)
    assert [row.found for row in await examine_async("a", broken)] == ["unknown: TimeoutError"]
