import pytest

from sim.language.fields import Either, Field, Kind, ListOf, Section, nearest, read_section
from sim.language.kinds import one_of
from sim.language.yaml_tree import parse_tree


def parse_even(value):
    if not isinstance(value, int):
        raise ValueError
    if value % 2:
        raise ValueError("an even number")
    return value * 10


EVEN = Kind("a number", "2", parse_even, {"type": "integer"})
INNER = Section((Field("low", EVEN, "x"), Field("high", EVEN, "x", 40)))
CHOICE = Section((Field("one", INNER, "x"), Field("other", INNER, "x")), one_of=True)
OUTER = Section(
    (
        Field("number", EVEN, "x"),
        Field("numbers", ListOf(EVEN), "x", ()),
        Field("parts", ListOf(INNER, at_least=1), "x", ()),
        Field("size", Either(EVEN, CHOICE), "x", None),
    )
)


def read(text):
    problems = []
    found = read_section(OUTER, parse_tree(text, file="a", env={}, problems=problems), "", problems)
    return found, [(str(problem), problem.hint) for problem in problems]


def test_what_is_right_is_read_with_its_defaults():
    found, problems = read("number: 2\nparts: [{low: 4}]\nsize: {other: {low: 6, high: 8}}")

    assert problems == []
    assert found.values["number"] == 20
    assert found.values["numbers"] == ()
    assert found.values["parts"][0].values == {"low": 40, "high": 40}
    assert found.values["size"].values["other"].values == {"low": 60, "high": 80}


def test_what_is_wrong_is_absent_and_the_rest_is_read():
    found, problems = read("number: 3\nnumbers: [2, x]\nparts: [{low: 2}, {high: 1}, 7]")

    assert found.bad == {"number", "numbers"}
    assert [part.values for part in found.values["parts"]] == [{"low": 20, "high": 40}, {}]
    assert problems == [
        ("a:1:9: number is 3; expected an even number", "number: 2"),
        ('a:2:14: numbers[1] is "x"; expected a number', "numbers[1]: 2"),
        ("a:3:19: parts[1] has no low; expected a number", "low: 2"),
        ("a:3:26: parts[1].high is 1; expected an even number", "high: 2"),
        ("a:3:30: parts[2] is 7; expected a mapping of low, high", ""),
    ]


def test_a_misspelt_key_is_not_also_reported_as_missing():
    _, problems = read("numbr: 2")

    assert problems == [
        ("a:1:1: numbr is not known; expected one of number, numbers, parts, size", "did you mean number?")
    ]


def test_one_of_is_exactly_one():
    for text, written in [("{}", "an empty mapping"), ("{one: {low: 2}, other: {low: 2}}", "a mapping of 2")]:
        found, problems = read(f"number: 2\nsize: {text}")

        assert found.bad == {"size"}
        assert problems == [(f"a:2:7: size is {written}; expected exactly one of one or other", "")]


def test_a_list_that_is_none_or_too_short():
    _, problems = read("number: 2\nnumbers: 4\nparts: []")

    assert problems == [
        ("a:2:10: numbers is 4; expected a list, each a number", "numbers: [2]"),
        ("a:3:8: parts is an empty list; expected at least 1", "parts: [{low: 2}]"),
    ]


def test_a_mapping_with_keys_that_must_be_there_is_shown_with_them():
    problems = []
    read_section(
        Section((Field("part", INNER, "x"),)), parse_tree("part: 2", file="a", env={}, problems=problems), "", problems
    )

    assert [(str(one), one.hint) for one in problems] == [
        ("a:1:7: part is 2; expected a mapping of low, high", "part: {low: 2}")
    ]


def test_a_root_that_is_no_mapping():
    found, problems = read("[1]")

    assert found is None
    assert problems == [("a:1:1: the file is a list of 1; expected a mapping of number, numbers, parts, size", "")]


@pytest.mark.parametrize(("word", "hint"), [("rom", "did you mean room?"), ("xyz", "to: mid"), ("7", "to: mid")])
def test_a_word_that_is_nearly_right_is_suggested(word, hint):
    problems = []

    read_section(
        Section((Field("to", one_of(("mid", "room")), "x"),)),
        parse_tree(f"to: {word}", file="a", env={}, problems=problems),
        "",
        problems,
    )

    assert [one.hint for one in problems] == [hint]


def test_nearest():
    assert nearest("cuont", ["count", "name"]) == "count"
    assert nearest("zzz", ["count", "name"]) == ""


def test_a_misspelt_key_beside_the_right_one_is_not_taken_for_a_third():
    _, problems = read("number: 2\nnumbr: 4")

    [(_, hint)] = problems
    assert hint == "did you mean number? It is given already"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("cuont", "count"), ("conut", "count"), ("conect", "connect"), ("counts", "count"), ("cunt", "count")],
)
def test_two_letters_that_changed_places_are_one_slip(word, meant):
    assert nearest(word, ["connect", "count", "room", "source"]) == meant
