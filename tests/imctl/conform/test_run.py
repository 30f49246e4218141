from __future__ import annotations

import asyncio
from typing import Any

from imctl.conform import Case, Target, Verdict, run_cases
from imctl.conform.case import SilentError, SkipCase, UnexpectedError
from imctl.conform.lab import Lab

HERE = Target(tcp="127.0.0.1:1")


def case(run: Any, name: str = "c", **fields: Any) -> Case:
    given = {"expected": "right", "needs": ("tcp",), "limit_s": 5.0, **fields}
    return Case(id=f"area.{name}", area="area", shows="s", source="f.go", run=run, **given)


def saying(text: str) -> Any:
    async def run(lab: Lab) -> str:
        return text

    return run


def raising(exc: BaseException) -> Any:
    async def run(lab: Lab) -> str:
        raise exc

    return run


async def run_one(one: Case, target: Target = HERE, **options: Any) -> tuple[Verdict, str, str]:
    report = await run_cases(target, [one], **options)
    (result,) = report.results
    return result.verdict, result.got, result.note


async def test_a_case_is_judged_by_its_text():
    known = {"other": "as goim does it"}

    assert await run_one(case(saying("right"))) == (Verdict.PASS, "right", "")
    assert await run_one(case(saying("wrong"))) == (Verdict.FAIL, "wrong", "")
    assert await run_one(case(saying("other"), accepted=known)) == (Verdict.KNOWN, "other", "as goim does it")


async def test_whatever_happens_ends_in_a_verdict():
    async def never(lab: Lab) -> str:
        await asyncio.Event().wait()
        return ""

    async def group(lab: Lab) -> str:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raising(SilentError("tcp", "", 2))(lab))
        return ""

    async def told(run: Any, **fields: Any) -> str:
        verdict, got, _ = await run_one(case(run, **fields))
        assert verdict is Verdict.FAIL
        return got

    assert await told(raising(UnexpectedError("auth was refused"))) == "auth was refused"
    assert await told(raising(SilentError("tcp", "op 8", 2.5))) == "op 8; then no answer within 2.5 s"
    assert await told(group) == "no answer within 2 s"
    assert await told(never, limit_s=0.02) == "not done within 0.02 s"
    assert await told(raising(ConnectionRefusedError(111, "Connection refused"))) == "Connection refused"
    assert await told(raising(KeyError("data"))) == "an answer of another shape (KeyError: 'data')"


async def test_what_cannot_be_tried_is_skipped_with_a_reason():
    right = saying("right")

    assert (await run_one(case(right), Target(ws="h:1")))[::2] == (Verdict.SKIPPED, "no address of comet tcp given")
    assert (await run_one(case(right, slow=True)))[::2] == (Verdict.SKIPPED, "slow: only with --slow")
    assert (await run_one(case(right, slow=True), slow=True))[0] is Verdict.PASS
    assert (await run_one(case(right, risky=True)))[0] is Verdict.SKIPPED
    assert (await run_one(case(right, risky=True), risky=True))[0] is Verdict.PASS
    assert (await run_one(case(raising(SkipCase("too long")))))[::2] == (Verdict.SKIPPED, "too long")


async def test_clean_up_happens_in_turn_whatever_came_before():
    done: list[str] = []

    async def undo(name: str) -> None:
        done.append(name)
        raise OSError("gone")

    async def run(lab: Lab) -> str:
        lab.later(lambda: undo("first"))
        lab.later(lambda: undo("second"))
        raise KeyError

    await run_one(case(run))

    assert done == ["second", "first"]


async def test_names_are_different_in_each_case_and_the_same_in_its_text():
    tags: list[str] = []

    async def run(lab: Lab) -> str:
        tags.append(lab.tag)
        return lab.plain(f"{lab.key('a')} {lab.room('r')} {lab.mid(2)} {lab.op(3)}")

    report = await run_cases(HERE, [case(run, name) for name in "abc"])

    assert {result.got for result in report.results} == {"conform-a conform://r MID2 OP3"}
    assert len(set(tags)) == 3


async def test_a_silent_part_is_given_up_and_an_answer_gives_it_time_again():
    silent = [case(raising(SilentError("tcp", "", 1)), f"s{n}") for n in range(40)]

    report = await run_cases(HERE, [*silent, case(saying("right"), "last")])

    assert report.counts["skipped"] > 10
    assert report.counts["fail"] >= 4
    assert report.results[-1].note == "comet tcp left 4 cases in a row without an answer"


async def test_verdicts_come_as_they_fall_and_stay_in_order():
    seen: list[str] = []

    async def late(lab: Lab) -> str:
        await asyncio.sleep(0.01)
        return "right"

    cases = [case(late, "late"), case(saying("right"), "soon")]
    report = await run_cases(HERE, cases, on_result=lambda result: seen.append(result.case.id))

    assert seen == ["area.soon", "area.late"]
    assert [result.case.id for result in report.results] == ["area.late", "area.soon"]
