import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.discovery_api import Instance
from protocol.discovery_forms import (
    Poll,
    RequestError,
    form_of_json,
    merge_metadata,
    parse_cancel,
    parse_fetch,
    parse_params,
    parse_poll,
    parse_register,
    parse_renew,
    parse_set,
    register_form,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SOME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(
    st.builds(
        Instance,
        appid=SOME,
        hostname=SOME,
        zone=SOME,
        env=SOME,
        region=TEXTS,
        version=TEXTS,
        addrs=st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
        metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
        status=st.sampled_from([1, 2]),
    )
)
def test_registration_survives_its_form(instance):
    assert parse_register(parse_params("", register_form(instance))).instance == instance


@given(st.text(max_size=60), st.sampled_from(["register", "renew", "cancel", "set", "fetch", "poll"]))
def test_any_query_binds_or_is_a_request_error(query, name):
    parsers = {
        "register": parse_register,
        "renew": parse_renew,
        "cancel": parse_cancel,
        "set": parse_set,
        "fetch": lambda params: parse_fetch(params, many=True),
        "poll": lambda params: parse_poll(params, many=False),
    }
    with contextlib.suppress(RequestError):
        parsers[name](parse_params("zone=z&env=e&appid=a&hostname=h&status=1&addrs=a&" + query))


def test_body_comes_before_the_query():
    assert parse_params("a=2&b=3", "a=1")["a"] == ["1", "2"]


def test_all_missing_members_are_named_at_once_in_order():
    with pytest.raises(RequestError) as caught:
        parse_renew({})

    assert [line.split("'")[1] for line in str(caught.value).split("\n")] == [
        "ArgRenew.Zone",
        "ArgRenew.Env",
        "ArgRenew.AppID",
        "ArgRenew.Hostname",
    ]


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ("-1", 'parsing "-1": invalid syntax'),
        ("1.0", 'parsing "1.0": invalid syntax'),
        ("١", "invalid syntax"),
        ("4294967296", "value out of range"),
        ("9" * 5000, "value out of range"),
    ],
)
def test_number_that_is_none_is_an_error(status, problem):
    with pytest.raises(RequestError, match="ParseUint") as caught:
        parse_fetch({"env": ["e"], "appid": ["a"], "status": [status]}, many=False)

    assert problem in str(caught.value)


def test_too_many_parameters_are_an_error():
    with pytest.raises(RequestError, match="too many"):
        parse_params("a=1&" * 2000)


def test_poll_without_timestamp_is_one_of_zero_and_polls_keeps_its_lists():
    params = {"env": ["dev"], "hostname": ["h"], "appid": ["a", "b"]}

    assert parse_poll(params, many=False) == Poll("dev", "h", ("a",), (0,))
    assert parse_poll({**params, "latest_timestamp": ["5"]}, many=True) == Poll("dev", "h", ("a", "b"), (5,))


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        ('{"b":"2"}', ({"a": "1", "b": "2"}, True)),
        ('{"a":2}', ({"a": ""}, False)),
        ("[1]", ({"a": "1"}, False)),
        ("null", ({}, True)),
        ("{bad", None),
        ("[" * 100_000, None),
    ],
)
def test_metadata_merges_as_in_go(text, merged):
    assert merge_metadata({"a": "1"}, text) == merged


def test_json_body_needs_numbers_where_the_form_has_texts_of_numbers():
    assert form_of_json('{"Zone":"z","status":1,"addrs":["a","b"]}') == {
        "zone": ["z"],
        "status": ["1"],
        "addrs": ["a", "b"],
    }
    for body in ('{"status":"1"}', '{"zone":1}', "[]", "{", "[" * 100_000):
        with pytest.raises(RequestError):
            form_of_json(body)
