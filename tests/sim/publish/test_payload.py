import json
import re
import uuid
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.publish.payload import OWN_FIELDS, Facts, compile_template, parse_template

COLUMNS = {("user", "name"): ("Ada", 'Bo "B" O\'Neil\n'), ("user", "mid"): ("7", "8")}


def written(text, *, number=3, target="42", row=0, seed=1):
    return compile_template(parse_template(text), COLUMNS)(Facts(number, target, {"user": row}), Random(seed)).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${seq}", "3"),
        ("<${mid}|${key}|${room}>", "<42|42|42>"),
        ("${user.name}: ${user.mid}", "Ada: 7"),
        ("${ seq }", "3"),
        ("$${seq} costs $5 {}", "${seq} costs $5 {}"),
        ("$$${seq}", "$${seq}"),
        ("ünï ${seq} 中", "ünï 3 中"),
        ("${json:seq}", '"3"'),
        ("${random:int(4..4)}", "4"),
        ("${random:int(-4..-4)}", "-4"),
        ("${random:of(a)}", "a"),
        ("${random:of()}", ""),
    ],
)
def test_fields_are_filled_in(text, expected):
    assert written(text) == expected


def test_random_fields_have_the_form_that_was_asked_for():
    texts = [
        written("${uuid} ${random:int(1..3)} ${random:text(5)} ${random:of(red|green)}", seed=n) for n in range(99)
    ]

    parts = [text.split(" ") for text in texts]
    assert {uuid.UUID(one[0]).version for one in parts} == {4}
    assert len({one[0] for one in parts}) == 99
    assert {one[1] for one in parts} == {"1", "2", "3"}
    assert all(re.fullmatch("[A-Za-z0-9]{5}", one[2]) for one in parts)
    assert {one[3] for one in parts} == {"red", "green"}


def test_equal_generators_write_equal_texts():
    text = "${uuid}${random:int(1..99999)}${random:text(9)}${random:of(a|b|c)}"

    assert written(text, seed=5) == written(text, seed=5) != written(text, seed=6)


def test_a_row_with_quotes_makes_json_all_the_same():
    document = json.loads(written('{"from": ${json:user.name}, "n": ${seq}}', row=1))

    assert document == {"from": 'Bo "B" O\'Neil\n', "n": 3}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${seq", 'a } behind "${seq"'),
        ("${}", 'a field such as ${seq}, ${user.name} or ${random:int(1..9)} and not "${}"'),
        (
            "${secq}",
            "${secq} to be one of seq, mid, key, room, uuid, or in a scenario a variable that is set; did you mean",
        ),
        ("${NAME}", "${NAME} to be one of seq, mid, key, room, uuid, or in a scenario a variable that is set"),
        ("${a b}", "a field such as"),
        ("${user.}", "a field such as"),
        ("${random:int(9..1)}", "the smaller first, and not random:int(9..1)"),
        ("${random:int(1-9)}", "not random:int(1-9)"),
        ("${random:text(0)}", "random:text(1) to random:text(65536)"),
        ("${random:text(99999999999999999999)}", "random:text(1) to random:text(65536)"),
        ("${random:float(1..2)}", "and not random:float"),
        ("${random:int}", "random:int(1..9), random:text(8) or random:of(a|b)"),
    ],
)
def test_a_field_that_cannot_be_read_says_what_was_expected(text, expected):
    with pytest.raises(ValueError) as caught:
        parse_template(text)

    assert expected in str(caught.value)


@given(
    st.lists(
        st.sampled_from(
            [
                *("x", "é", "$${", "${seq}", "${mid}", "${uuid}", "${user.name}", "${json:user.name}"),
                *("${random:int(-99..7)}", "${random:text(12)}", "${random:of(a|bcd)}", "${json:random:text(3)}"),
            ]
        )
    ),
    st.integers(0, 1),
    st.integers(0, 2**40),
)
def test_no_text_is_longer_than_was_foretold(pieces, row, number):
    template = parse_template("".join(pieces))
    longest = {key: max(len(value.encode()) for value in values) for key, values in COLUMNS.items()}

    text = compile_template(template, COLUMNS)(Facts(number, "9" * 19, {"user": row}), Random(1))

    assert len(text) <= template.longest_bytes(longest)


@given(st.lists(st.sampled_from(["${", "}", "$", "{", "seq", "json:", "random:int(", "1..2)", ".", "a"]), max_size=12))
def test_any_text_is_a_template_or_a_value_error_and_nothing_else(pieces):
    text = "".join(pieces)

    try:
        template = parse_template(text)
    except ValueError:
        template = None

    if "${" not in text:
        assert template is not None
        assert template.pieces == (text,)
    elif template is not None:
        assert all(0 < text.index("}") < len(text) for _ in template.fillings)


def test_the_fields_of_one_word_are_the_documented_ones():
    assert [parse_template(f"${{{name}}}").fillings[0].kind for name in OWN_FIELDS] == list(OWN_FIELDS)
