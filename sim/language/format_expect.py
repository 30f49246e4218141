"""The keys of an expectation that is written as a mapping."""

from __future__ import annotations

from sim.language import kinds
from sim.language.fields import Field, Section

__all__ = ["EXPECTATION"]

EXPECTATION = Section(
    (
        Field("expr", kinds.EXPECT, "What must hold."),
        Field(
            "abort",
            kinds.BOOL,
            "`true`: looked at every second, and the run ends early (verdict *aborted*, exit code 6) when it does not "
            "hold. Only for what is known meanwhile.",
            False,
            "false",
        ),
        Field(
            "after", kinds.DURATION, "With `abort`: how long it must not have held for that.", None, "at the first look"
        ),
        Field(
            "from",
            kinds.AT,
            "Only messages planned from then on, counted from the start of the first phase or, with `event`, from it.",
            None,
            "from there",
        ),
        Field("to", kinds.AT, "Only messages planned before then, counted as `from`.", None, "to the end"),
        Field(
            "event",
            kinds.EVENT,
            "What `from` and `to` count from: an event by what it does and to whom, such as `kill comet-1`, with "
            "` at 9s` where there are several.",
            None,
            "the start of the first phase",
        ),
    )
)
