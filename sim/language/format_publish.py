"""The keys of a scenario's `publish` and `feeds`."""

from __future__ import annotations

from sim.language import kinds, publish_kinds
from sim.language.fields import Either, Field, ListOf, Section
from sim.language.kinds import one_of
from sim.publish.feeder import FeedOrder
from sim.scenario.publishing import DEFAULT_OP, Arrival, FileOrder, PublishTo, WaitFor

__all__ = ["FEED", "MESSAGE_KEYS", "MIX_ENTRY", "PUBLISH"]

_WEIGHT = Field(
    "weight",
    publish_kinds.MIX_WEIGHT,
    "How often, as against the others: numbers such as 4 and 1, or shares such as 80% and 20%.",
    (1.0, False),
    "1",
)
_UNIFORM_SIZE = Section(
    (
        Field("min", kinds.SIZE, "Smallest size; every size up to `max` is as likely."),
        Field("max", kinds.SIZE, "Largest size."),
    ),
)
_LOGNORMAL_SIZE = Section(
    (
        Field("median", kinds.SIZE, "Half of the messages are smaller; a few are much larger, as in real chats."),
        Field("sigma", kinds.SIGMA, "Spread: standard deviation of the size's natural logarithm.", 1.0, "1.0"),
        Field("max", kinds.SIZE, "Larger draws are cut to it.", 65536, "64KiB"),
    )
)
_CHOICE = Section((Field("size", kinds.SIZE, "One of the sizes."), _WEIGHT))
_SIZES = Section(
    (
        Field("uniform", _UNIFORM_SIZE, "Every size from min to max is as likely."),
        Field("lognormal", _LOGNORMAL_SIZE, "Most near the median, a few much larger, as in real chats."),
        Field(
            "choices",
            ListOf(_CHOICE, at_least=1),
            "One of a few: a list such as `[{size: 64, weight: 90%}, {size: 4KB, weight: 10%}]`.",
        ),
    ),
    one_of=True,
)
_BODY = Section(
    (
        Field("file", publish_kinds.BODY_FILE, "A file whose content is the body of every message.", None, "none"),
        Field(
            "files",
            ListOf(publish_kinds.BODY_FILE, at_least=1),
            "Files, and folders of them (in the order of their names), of which each message has one.",
            None,
            "none",
        ),
        Field("template", publish_kinds.BODY_FILE, "A file whose content is the text, with its fields.", None, "none"),
        Field(
            "order",
            one_of(tuple(FileOrder)),
            "With `files`: in turn, or at random.",
            FileOrder.SEQUENTIAL,
            "sequential",
        ),
    )
)
_JITTERED = Section(
    (
        Field("jitter", publish_kinds.JITTER, "Evenly spaced, and each message later by up to this share of the gap."),
        Field(
            "gamma",
            publish_kinds.SHAPE,
            "Gaps of a gamma distribution of this shape: under 1 in clusters with pauses between, 1 as `poisson`, "
            "over 1 more even.",
        ),
    ),
    one_of=True,
)
_UNIFORM_TIME = Section(
    (
        Field("min", publish_kinds.THINK, "Shortest time; every time up to `max` is as likely."),
        Field("max", publish_kinds.THINK, "Longest time."),
    )
)
_EXPONENTIAL_TIME = Section((Field("mean", kinds.DURATION, "Mean of times that chance ends."),))
_LOGNORMAL_TIME = Section(
    (
        Field("median", kinds.DURATION, "Half of the times are shorter; a few are much longer, as people take."),
        Field("sigma", kinds.SIGMA, "Spread: standard deviation of the time's natural logarithm.", 1.0, "1.0"),
        Field("max", kinds.DURATION, "Longer draws are cut to it.", 60.0, "1m"),
    )
)
_TIMES = Section(
    (
        Field("uniform", _UNIFORM_TIME, "Every time from min to max is as likely."),
        Field("exponential", _EXPONENTIAL_TIME, "Most shorter than the mean, a few several times as long."),
        Field("lognormal", _LOGNORMAL_TIME, "Most near the median, a few much longer, as people take."),
    ),
    one_of=True,
)
_CLOSED = Section(
    (
        Field(
            "publishers",
            publish_kinds.PUBLISHERS,
            "How many, each with one message at a time; a phase's factor times it.",
        ),
        Field(
            "think",
            Either(publish_kinds.THINK, _TIMES),
            "How long each waits before its next message, once it is done with the last.",
            0.0,
            "0s",
        ),
        Field(
            "wait",
            one_of(tuple(WaitFor)),
            "What it waits for before that: the push's `answer`, or its `delivery` too, until a client has read it "
            "(10 s at most).",
            WaitFor.ANSWER,
            "answer",
        ),
    )
)
_MESSAGE = (
    Field(
        "rooms", publish_kinds.TARGETS, "The population whose rooms are pushed to in turn.", None, "needed by `room`"
    ),
    Field("mids", publish_kinds.TARGETS, "The population whose mids are pushed to in turn.", None, "needed by `mid`"),
    Field(
        "keys",
        publish_kinds.TARGETS,
        "The population whose keys are pushed to in turn. Each of the three may be a column of a feed: `${user.mid}`.",
        None,
        "needed by `key`",
    ),
    Field("size", Either(kinds.SIZE, _SIZES), "Bytes of a body of filler, from 24.", 64, "64"),
    Field(
        "body",
        Either(publish_kinds.BODY, _BODY),
        "What is in the body instead: a text with fields such as `${seq}`, or what files have.",
        None,
        "filler",
    ),
    Field("op", kinds.OP, "Operation, from 18 (goim's own are below).", DEFAULT_OP, "1000"),
    Field(
        "speed",
        kinds.SPEED,
        "With `to: all`: how many clients a second get the message, over all comets; 0 for all at once.",
        None,
        "0",
    ),
)
_TO_DOC = "Which of goim's pushes: `room`, `mid`, `key` or `all`."

MESSAGE_KEYS = ("to", *(known.name for known in _MESSAGE))
"""The keys that say what a message is; with a mix, each of its entries has them."""

MIX_ENTRY = Section(
    (
        _WEIGHT,
        Field("to", one_of(tuple(PublishTo)), _TO_DOC),
        *_MESSAGE,
        Field("name", kinds.PUBLISHER_NAME, "What reports call it.", None, "made up"),
    )
)
PUBLISH = Section(
    (
        Field("to", one_of(tuple(PublishTo)), _TO_DOC, None, "needed, or `mix`"),
        *_MESSAGE,
        Field("rate", kinds.RATE, "Messages a second over all its targets together.", None, "needed, or `closed`"),
        Field(
            "burst",
            kinds.BURST,
            "Messages that leave at one instant, to targets in turn; the rate still counts messages.",
            1,
            "1",
        ),
        Field(
            "arrival",
            Either(one_of(tuple(Arrival)), _JITTERED),
            "`uniform`: evenly spaced. `poisson`: at random, as when many people write who do not know of each other; "
            "as many in each phase.",
            Arrival.UNIFORM,
            "uniform",
        ),
        Field("closed", _CLOSED, "A closed loop in place of a rate.", None, "an open loop"),
        Field(
            "mix",
            ListOf(MIX_ENTRY, at_least=2),
            "Several kinds of message, of which each is one by chance: a list of `weight` and the keys of a message, "
            "`to` to `speed`.",
            None,
            "all of one kind",
        ),
        Field("name", kinds.PUBLISHER_NAME, "What reports call this publisher.", None, "made up"),
    )
)
FEED = Section(
    (
        Field(
            "name", kinds.FEED_NAME, "What bodies and targets call it: of `user`, `${user.mid}` is the column `mid`."
        ),
        Field("file", publish_kinds.FEED_FILE, "A `.csv` with a header, or a `.jsonl` with an object a line."),
        Field(
            "order",
            one_of(tuple(FeedOrder)),
            "Which row each message takes: in turn and from the first again, at `random` by the seed, or in turn and "
            "each `once`, after which the publisher is done.",
            FeedOrder.SEQUENTIAL,
            "sequential",
        ),
    )
)
