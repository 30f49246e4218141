import pytest
import yaml

from sim.language import yaml_tree
from sim.language.yaml_tree import parse_tree, parse_value


def plain(item):
    if isinstance(item.value, dict):
        return {key: plain(child) for key, child in item.value.items()}
    if isinstance(item.value, list):
        return [plain(child) for child in item.value]
    return item.value


def parse(text, env=None):
    problems = []
    item = parse_tree(text, file="a.yaml", env=env or {}, problems=problems)
    return (None if item is None else plain(item)), [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),
        ("on", "on"),
        ("yes", "yes"),
        ("2026-11-23", "2026-11-23"),
        ("1_000", "1_000"),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("~", None),
        ("", None),
        ("'10'", "10"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    assert parse(f"a: {text}") == ({"a": value}, [])


def test_keys_are_always_text():
    assert parse("on: 1\n1: 2") == ({"on": 1, "1": 2}, [])


def test_other_users_of_pyyaml_keep_their_rules():
    assert yaml.safe_load("a: yes") == {"a": True}


def test_places_count_from_one():
    item = parse_tree("a: 1\nlist:\n  - {b: 2}\n", file="a.yaml", env={}, problems=[])

    inner = item.value["list"].value[0]
    assert (inner.value["b"].line, inner.value["b"].column) == (3, 9)
    assert inner.keys["b"] == (3, 6)


def test_a_key_given_twice_is_a_problem_at_its_second_place():
    value, problems = parse("a: 1\nb:\n  c: 1\n  c: 2\n")

    assert problems == ["a.yaml:4:3: b.c is given twice; the first is in line 3"]
    assert value == {"a": 1, "b": {"c": 1}}


def test_variables_are_replaced_and_typed():
    text = 'n: ${N:-10}\nroom: live://${ROOM}\nquoted: "${N:-5}"\nmixed: "x${N:-5}"\nempty: ${E:-}\n'

    assert parse(text, {"ROOM": "7"}) == (
        {"n": 10, "room": "live://7", "quoted": 5, "mixed": "x5", "empty": None},
        [],
    )


def test_a_variable_that_is_not_set_is_a_problem():
    _, problems = parse("a: ${N}")

    assert problems == [
        "a.yaml:1:4: a uses the environment variable N, which is not set; expected a value or a default"
    ]


def test_a_variable_cannot_bring_structure():
    assert parse("a: ${N}", {"N": "[1, {b: 2}]"}) == ({"a": "[1, {b: 2}]"}, [])


def test_ranges_are_no_variables():
    assert parse("a: live://${1..4}\nb: ${1000..}") == ({"a": "live://${1..4}", "b": "${1000..}"}, [])


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("a: b: c", "a.yaml:1:5: not YAML: ", 'a value with ": " in it needs quotes'),
        ("a:\n\tb: 1", "a.yaml:2:1: not YAML: ", "indent with spaces, not tabs"),
        ("{count: ${N}}", "a.yaml:1:10: not YAML: ", 'inside { } a variable needs quotes: "${NAME:-10}"'),
        ("a: [1", "a.yaml:2:1: not YAML: ", ""),
        ("a: \x01", "a.yaml:1:1: not YAML: ", ""),
        ("a: 1\n---\nb: 2", "a.yaml:2:1: not YAML: ", ""),
        ("a: *b", "a.yaml:1:4: not YAML: ", ""),
    ],
)
def test_what_is_no_yaml_says_where(text, place, hint):
    problems = []

    assert parse_tree(text, file="a.yaml", env={}, problems=problems) is None

    assert len(problems) == 1
    assert str(problems[0]).startswith(place)
    assert problems[0].hint == hint


def test_deep_nesting_ends_in_a_problem_and_not_the_process():
    value, problems = parse("[" * 300_000)

    assert value is None
    assert problems == ["a.yaml:1:33: nested too deeply; expected at most 32 levels"]


def test_a_text_of_megabytes_is_refused():
    value, problems = parse("#" * 1_000_001)

    assert value is None
    assert "expected at most 1000000" in problems[0]


def test_aliases_that_multiply_are_cut_off(monkeypatch):
    monkeypatch.setattr(yaml_tree, "MAX_ITEMS", 1000)
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 9)]

    _, problems = parse("\n".join(lines))

    assert len(problems) == 1
    assert "over 1000 values" in problems[0]


def test_an_alias_that_holds_itself_is_a_problem():
    _, problems = parse("a: &a [*a]")

    assert problems == ["a.yaml:1:4: a[0] is nested too deeply"]


def test_tags_other_than_yamls_own_are_refused():
    _, problems = parse("a: !!python/object:os.system 3")

    assert problems == ["a.yaml:1:4: a has the tag tag:yaml.org,2002:python/object:os.system; expected a plain value"]


def test_the_value_of_an_option_has_no_place():
    problems = []

    item = parse_value("[1, {a: b}]", file="--set x", problems=problems)

    assert plain(item) == [1, {"a": "b"}]
    assert (item.line, item.value[1].value["a"].line) == (0, 0)
    assert plain(parse_value("", file="--set x", problems=problems)) == ""
    assert parse_value("[1", file="--set x", problems=problems) is None
    assert str(problems[0]).startswith("--set x: not YAML")
