from pathlib import Path

import pytest

from sim.errors import ScenarioError
from sim.language.load import load_scenario, parse_scenario
from sim.publish.feeder import Column, FeedOrder
from sim.publish.payload import Template, parse_template
from sim.scenario.publishing import (
    Arrival,
    ChoiceSize,
    ClosedLoop,
    FileBodies,
    FileOrder,
    GammaArrival,
    JitterArrival,
    Publisher,
    PublishTo,
    WaitFor,
)
from sim.scenario.times import ExponentialTime, LognormalTime, UniformTime

BASE = """\
name: base
feeds:
  - {name: user, file: users.csv}
clients:
  - {name: viewers, count: 10, room: live://1, mid: 1000, key: viewer-, accepts: [1000, 1001]}
publish:
  - PUBLISHER
phases:
  - {name: steady, duration: 2s}
"""
USERS = (
    "mid,name,key,room,other\n1000,Ada,viewer-0,live://1,x\n1001,Bo,viewer-1,live://2,y\n5000,Chen,none,live://3,z\n"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "users.csv").write_text(USERS)
    (tmp_path / "hello.json").write_text('{"n": ${seq}}')
    (tmp_path / "bad.txt").write_text("${nothing}")
    (tmp_path / "posts").mkdir()
    (tmp_path / "empty").mkdir()
    for name, content in (("b.bin", b"\xff"), ("a.txt", b"a"), (".hidden", b"no")):
        (tmp_path / "posts" / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def load(folder):
    def load(publisher, **options):
        path = folder / "base.yaml"
        path.write_text(BASE.replace("PUBLISHER", publisher))
        return load_scenario(path, env={}, **options)

    return load


@pytest.fixture
def problems(load, folder):
    def problems(publisher, **options):
        with pytest.raises(ScenarioError) as caught:
            load(publisher, **options)
        return [str(one).replace(f"{folder}/", "") for one in caught.value.problems]

    return problems


def hint_of(load, publisher):
    with pytest.raises(ScenarioError) as caught:
        load(publisher)
    return caught.value.problems[0].hint


def test_a_feed_is_read_from_beside_the_scenario(load, folder):
    [feed] = load("{to: all, rate: 1/s}", sets=["feeds.user.order=once"]).feeds

    assert (feed.name, feed.path, feed.order) == ("user", str(folder / "users.csv"), FeedOrder.ONCE)
    assert feed.column("name") == ("Ada", "Bo", "Chen")


def test_a_feed_of_an_included_scenario_is_beside_that(load, folder):
    load("{to: all, rate: 1/s}")
    other = folder / "other"
    other.mkdir()
    (other / "mine.yaml").write_text("include: ../base.yaml\nname: mine\n")

    [feed] = load_scenario(other / "mine.yaml", env={}).feeds

    assert Path(feed.path).resolve() == (folder / "users.csv").resolve()


@pytest.mark.parametrize(
    ("keys", "to"), [("rooms: '${user.room}'", "room"), ("mids: '${user.mid}'", "mid"), ("keys: '${user.key}'", "key")]
)
def test_targets_are_the_column_of_a_feed(load, keys, to):
    [publisher] = load(f"{{to: {to}, {keys}, rate: 1/s}}").publish

    assert publisher == Publisher(PublishTo(to), "", 1.0, name=f"{to}-user", targets=Column("user", to))


@pytest.mark.parametrize(
    ("written", "body"),
    [
        ("'hi ${seq} $${seq}'", parse_template("hi ${seq} $${seq}")),
        ("5", Template(("5",))),
        ("'${json:user.name}'", parse_template("${json:user.name}")),
        ("{template: hello.json}", parse_template('{"n": ${seq}}')),
        ("{file: posts/b.bin}", FileBodies((b"\xff",))),
        (
            "{files: [posts, hello.json], order: random}",
            FileBodies((b"a", b"\xff", b'{"n": ${seq}}'), FileOrder.RANDOM),
        ),
    ],
)
def test_a_body_is_a_text_or_files(load, written, body):
    [publisher] = load(f"{{to: all, rate: 1/s, body: {written}}}").publish

    assert publisher.body == body


def test_variables_of_the_environment_can_stand_in_a_body():
    text = BASE.replace("  - {name: user, file: users.csv}\n", "").replace("feeds:\n", "")
    text = text.replace("PUBLISHER", "{to: all, rate: 1/s, body: '${seq} ${NAME} ${X:-y} ${seq:-z} $${NAME}'}")

    [publisher] = parse_scenario(text, file="a.yaml", env={"NAME": "Ada", "seq": "no"}).publish

    assert publisher.body == parse_template("${seq} Ada y no $${NAME}")


def test_an_option_can_give_a_body(load):
    sets = ["publish[0].body=at ${seq}", "publish[1]={to: mid, mids: viewers, rate: 1/s, body: 'for ${mid}'}"]

    publishers = load("{to: all, rate: 1/s}\n  - {to: all, rate: 1/s}", sets=sets).publish

    assert [publisher.body for publisher in publishers] == [parse_template("at ${seq}"), parse_template("for ${mid}")]


def test_sizes_are_one_of_a_few(load):
    size = "{choices: [{size: 64, weight: 90%}, {size: 4KB, weight: 10%}]}"

    [publisher] = load(f"{{to: all, rate: 1/s, size: {size}}}").publish

    assert publisher.size_bytes == ChoiceSize((64, 4000), (90.0, 10.0))


@pytest.mark.parametrize(
    ("written", "arrival"),
    [("poisson", Arrival.POISSON), ("{jitter: 20%}", JitterArrival(0.2)), ("{gamma: 0.3}", GammaArrival(0.3))],
)
def test_arrivals(load, written, arrival):
    assert load(f"{{to: all, rate: 1/s, arrival: {written}}}").publish[0].arrival == arrival


@pytest.mark.parametrize(
    ("written", "closed"),
    [
        ("{publishers: 3}", ClosedLoop(3, 0.0, WaitFor.ANSWER)),
        ("{publishers: 3, think: 100ms, wait: delivery}", ClosedLoop(3, 0.1, WaitFor.DELIVERY)),
        ("{publishers: 3, think: {uniform: {min: 0s, max: 2s}}}", ClosedLoop(3, UniformTime(0.0, 2.0))),
        ("{publishers: 3, think: {exponential: {mean: 2s}}}", ClosedLoop(3, ExponentialTime(2.0))),
        ("{publishers: 3, think: {lognormal: {median: 2s}}}", ClosedLoop(3, LognormalTime(2.0, 1.0, 60.0))),
    ],
)
def test_a_closed_loop_has_publishers_and_no_rate(load, written, closed):
    [publisher] = load(f"{{to: all, closed: {written}}}").publish

    assert (publisher.closed, publisher.rate_per_s) == (closed, 0.0)


def test_a_mix_is_a_publisher_for_each_kind_with_its_share_of_the_rate(load):
    publishers = load(
        "{name: talk, rate: 40/s, burst: 2, mix: [{weight: 3, to: room, rooms: viewers, op: 1001},"
        " {to: all, speed: 7, body: hi, name: news}, {weight: 1, to: mid, mids: '${user.mid}'}]}"
    ).publish

    common = {"burst": 2, "mix": "talk"}
    assert publishers == (
        Publisher(PublishTo.ROOM, "viewers", 24.0, op=1001, name="talk-room-viewers", weight=0.6, **common),
        Publisher(PublishTo.ALL, "", 8.0, speed=7, body=Template(("hi",)), name="news", weight=0.2, **common),
        Publisher(PublishTo.MID, "", 8.0, name="talk-mid-user", targets=Column("user", "mid"), weight=0.2, **common),
    )


def test_a_mix_without_a_name_has_one_that_no_other_has(load):
    mix = "{rate: 1/s, mix: [{to: all, weight: 50%}, {to: all, weight: 50%}]}"

    publishers = load(f"{mix}\n  - {mix}").publish

    assert [publisher.mix for publisher in publishers] == ["mix", "mix", "mix-2", "mix-2"]
    assert [publisher.name for publisher in publishers] == ["mix-all", "mix-all-2", "mix-2-all", "mix-2-all-2"]


@pytest.mark.parametrize(
    ("publisher", "problem"),
    [
        ("{to: all}", "7:5: publish[0] has no rate; expected one, or closed for a closed loop"),
        ("{rate: 1/s}", "7:5: publish[0] has no to; expected room or mid or key or all, or a mix of several"),
        (
            "{to: all, rate: 1/s, closed: {publishers: 2}}",
            "7:21: publish[0].rate does not go with closed, whose publishers send when they are done",
        ),
        (
            "{to: all, arrival: poisson, closed: {publishers: 2}}",
            "7:24: publish[0].arrival does not go with closed, whose publishers send when they are done",
        ),
        ("{to: all, closed: {publishers: 0}}", "7:36: publish[0].closed.publishers is 0; expected a whole number from"),
        ("{to: all, closed: {think: 1s}}", "7:23: publish[0].closed has no publishers; expected a whole number"),
        (
            "{to: all, closed: {publishers: 2, wait: reading}}",
            '7:45: publish[0].closed.wait is "reading"; expected answer or delivery',
        ),
        (
            "{to: all, closed: {publishers: 2, think: {uniform: {min: 2s, max: 1s}}}}",
            "7:71: publish[0].closed.think.uniform.max is 1s; expected at least 2s, the other end",
        ),
        ("{to: all, rate: 1/s, arrival: {jitter: 0%}}", "7:44: publish[0].arrival.jitter is"),
        ("{to: all, rate: 1/s, arrival: {gamma: 0}}", "7:43: publish[0].arrival.gamma is 0; expected a number from"),
        ("{to: all, rate: 1/s, size: 64, body: x}", "7:32: publish[0].size does not go with body"),
        (
            "{to: all, rate: 1/s, size: {choices: [{size: 64, weight: 50%}, {size: 65, weight: 40%}]}}",
            "7:87: the weights of publish[0].size.choices add up to 90%; expected 100%",
        ),
        ("{to: all, rate: 1/s, size: {choices: []}}", "7:42: publish[0].size.choices is an empty list; expected at"),
        ("{to: all, rate: 1/s, size: {choices: [{weight: 1}]}}", "7:43: publish[0].size.choices[0] has no size"),
        (
            "{to: all, rate: 1/s, mix: [{to: all}, {to: all}]}",
            "7:10: publish[0].to does not go with mix; expected it in each entry of the mix",
        ),
        ("{rate: 1/s, mix: [{to: all}]}", "7:22: publish[0].mix is a list of 1; expected at least 2"),
        (
            "{rate: 1/s, mix: [{to: all, weight: 80%}, {to: all, weight: 80%}]}",
            "7:65: the weights of publish[0].mix add up to 160%; expected 100%",
        ),
        (
            "{rate: 1/s, mix: [{to: all, weight: 0}, {to: all}]}",
            "7:41: publish[0].mix[0].weight is 0; expected a weight",
        ),
        ("{rate: 1/s, mix: [{to: mid}, {to: all}]}", "7:23: publish[0].mix[0] is to: mid and has no mids"),
        (
            "{to: all, rate: 1/s, body: '${sq}'}",
            '7:32: publish[0].body is "${sq}"; expected ${sq} to be one of seq, mid',
        ),
        ("{to: all, rate: 1/s, body: '${random:int(2)}'}", '7:32: publish[0].body is "${random:int(2)}"; expected'),
        ("{to: all, rate: 1/s, body: '${mid}'}", "7:32: publish[0].body has ${mid}, which only a push to: mid has"),
        (
            "{to: all, rate: 1/s, body: '${usr.name}'}",
            "7:32: publish[0].body has ${usr.name}; expected a column of one of feeds: user",
        ),
        (
            "{to: all, rate: 1/s, body: '${user.nam}'}",
            "7:32: publish[0].body has ${user.nam}; expected a column of users.csv: mid, name, key, room, other",
        ),
        ("{to: all, rate: 1/s, body: {}}", "7:32: publish[0].body has nothing; expected one of file, files, template"),
        (
            "{to: all, rate: 1/s, body: {file: a, template: b}}",
            "7:32: publish[0].body has file and template; expected one of file, files, template",
        ),
        (
            "{to: all, rate: 1/s, body: {file: hello.json, order: random}}",
            "7:58: publish[0].body.order does not go with file; expected only with files",
        ),
        (
            "{to: all, rate: 1/s, body: {file: none.txt}}",
            "7:39: publish[0].body.file: none.txt cannot be read: no such file or directory",
        ),
        (
            "{to: all, rate: 1/s, body: {files: [empty]}}",
            '7:41: publish[0].body.files is "empty": a folder without files',
        ),
        (
            "{to: all, rate: 1/s, body: {template: bad.txt}}",
            '7:43: publish[0].body.template is "bad.txt": in bad.txt, expected ${nothing} to be one of',
        ),
        (
            "{to: all, rate: 1/s, body: {template: posts/b.bin}}",
            '7:43: publish[0].body.template is "posts/b.bin": posts/b.bin not UTF-8 text',
        ),
        ("{to: mid, mids: '${user.age}', rate: 1/s}", "7:21: publish[0].mids has ${user.age}; expected a column of"),
        (
            "{to: mid, mids: '${user.}', rate: 1/s}",
            '7:21: publish[0].mids is "${user.}"; expected the name of an entry',
        ),
        (
            "{to: key, keys: '${user.name}', rate: 1/s}",
            "7:21: publish[0].keys is ${user.name}, and no client has any key of that column",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(problems, publisher, problem):
    found = problems(publisher)

    assert len(found) == 1, found
    assert found[0].startswith(f"base.yaml:{problem}"), found


def test_values_of_a_column_that_cannot_be_pushed_to_are_told_with_their_line(problems):
    assert problems("{to: mid, mids: '${user.name}', rate: 1/s}") == [
        'users.csv:2:1: name is "Ada", and publish[0].mids pushes to it; expected a mid from 1',
        'users.csv:3:1: name is "Bo", and publish[0].mids pushes to it; expected a mid from 1',
        'users.csv:4:1: name is "Chen", and publish[0].mids pushes to it; expected a mid from 1',
    ]
    assert len(problems("{to: room, rooms: '${user.key}', rate: 1/s}")) == 3


def test_nobody_hears_an_operation_that_no_target_accepts(problems):
    found = problems("{to: mid, mids: '${user.mid}', rate: 1/s, op: 2000}")

    assert found == [
        "base.yaml:7:51: publish[0] sends op 2000, which no client of viewers accepts; expected one of 1000, 1001"
    ]


def test_suggestions(load):
    assert hint_of(load, "{to: all, rate: 1/s, body: '${usr.name}'}") == "did you mean ${user.name}?"
    assert hint_of(load, "{to: all, rate: 1/s, body: '${user.nam}'}") == "did you mean ${user.name}?"
    assert hint_of(load, "{to: mid, mids: viewers, rate: 1/s, body: '${key}'}") == "${mid} is what a push to: mid has"
    assert hint_of(load, "{to: all}") == "rate: 40/s"


def test_all_mistakes_are_told_at_once(problems, folder):
    (folder / "users.csv").write_text("mid\n1\n2,3\n")

    found = problems("{to: mid, mids: '${user.mid}', body: '${user.x}'}\n  - {to: all, rate: 1/s, body: '${x.y}'}")

    assert found == [
        "base.yaml:7:5: publish[0] has no rate; expected one, or closed for a closed loop",
        "base.yaml:8:32: publish[1].body has ${x.y}; expected a column of one of feeds: user",
        "users.csv:3:1: the row has 2 fields; expected 1: mid",
    ]


def test_a_feed_that_cannot_be_read_is_a_problem_of_its_own(problems, folder):
    (folder / "users.csv").unlink()

    assert problems("{to: mid, mids: '${user.mid}', rate: 1/s, body: '${user.x}'}") == [
        'base.yaml:3:24: feeds[0].file is "users.csv": users.csv cannot be read: no such file or directory'
    ]


def test_names_of_feeds_are_unique(problems):
    found = problems("{to: all, rate: 1/s}", sets=["feeds=[{name: a, file: users.csv}, {name: a, file: users.csv}]"])

    assert found == [
        '--set feeds=[{name: a, file: users.csv}, {name: a, file: users.csv}]: feeds[1].name is "a", as '
        "feeds[0].name; expected each name once"
    ]


def test_a_body_that_could_be_too_long_for_the_bus_is_refused(problems, folder):
    (folder / "big.txt").write_bytes(b"x" * (512 * 1024))

    assert (
        "big.txt has 524288 bytes; expected at most 524208"
        in problems("{to: all, rate: 1/s, body: {file: big.txt}}")[0]
    )
    text = "${random:text(65000)}" * 9
    assert problems(f"{{to: all, rate: 1/s, body: '{text}'}}")[0].endswith(
        "publish[0].body can be 585000 bytes long; expected at most 524208"
    )


def test_too_many_virtual_publishers_in_a_phase_are_refused(problems):
    found = problems("{to: all, closed: {publishers: 5000}}", sets=["phases[0].publish=x1..x3"])

    assert found == ["base.yaml:7:36: publish[0].closed.publishers becomes 15000 in a phase; expected at most 10000"]


def test_files_have_bounds(problems, monkeypatch):
    monkeypatch.setattr("sim.language.bodies.MAX_FILES", 1)
    assert (
        "publish[0].body.files are 2 files; expected at most 1"
        in problems("{to: all, rate: 1/s, body: {files: [posts]}}")[0]
    )

    monkeypatch.setattr("sim.language.bodies.MAX_FILES", 9)
    monkeypatch.setattr("sim.language.bodies.MAX_TOTAL_BYTES", 1)
    assert (
        "its files have over 1 bytes together; expected less"
        in problems("{to: all, rate: 1/s, body: {files: [posts]}}")[0]
    )
