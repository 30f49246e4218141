from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.golang import GoNumberError, dump_json, parse_int, parse_query, quote, url_host


@pytest.mark.parametrize(
    ("text", "value"), [("", 0), ("0", 0), ("+5", 5), ("-1", -1), ("010", 10), ("2147483647", 2**31 - 1)]
)
def test_numbers_that_go_takes(text, value):
    assert parse_int(text, 32) == value


@pytest.mark.parametrize("text", ["abc", "1.5", "0x10", "1_000", " 1", "1 ", "+", "--1", "١", "1e3"])
def test_what_is_no_number(text):
    with pytest.raises(GoNumberError, match="invalid syntax"):
        parse_int(text, 32)


@pytest.mark.parametrize(
    ("text", "bits"), [("2147483648", 32), ("-2147483649", 32), (str(2**63), 64), ("9" * 9999, 64)]
)
def test_numbers_out_of_range(text, bits):
    with pytest.raises(GoNumberError, match="value out of range"):
        parse_int(text, bits)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [("abc", '"abc"'), ('a"\\', '"a\\"\\\\"'), ("\n\x00", '"\\n\\x00"'), ("长", '"长"'), ("\u2028", '"\\u2028"')],
)
def test_quoting(text, quoted):
    assert quote(text) == quoted


def test_json_is_compact_keeps_text_and_escapes_for_html():
    assert (
        dump_json({"b": "<&>\u2028长", "a": [1.5, None]})
        == '{"b":"\\u003c\\u0026\\u003e\\u2028长","a":[1.5,null]}'.encode()
    )


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text())))
def test_json_reads_back_the_same(value):
    assert json.loads(dump_json(value)) == value


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", []),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("a", [("a", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1;b=2&c=3", [("c", "3")]),
        ("a=%zz&b=%41%42", [("b", "AB")]),
        ("a=x+y&b=%2B", [("a", "x y"), ("b", "+")]),
        ("a=%E7%9B%B4", [("a", "直")]),
        ("a=%ff", [("a", "\udcff")]),
        ("&&a=1&", [("a", "1")]),
    ],
)
def test_queries(query, pairs):
    assert parse_query(query) == pairs


@given(st.text())
def test_any_query_is_read(query):
    assert all(isinstance(value, str) for pair in parse_query(query) for value in pair)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("live://1000", "1000"),
        ("test://a/b", "a"),
        ("live://a?x=1", "a"),
        ("live://a#b", "a"),
        ("live://a:80", "a:80"),
        ("live://u:p@h/x", "h"),
        ("live://", ""),
        ("live://\u2028x", "\u2028x"),
        ("live://[::1]:80", "[::1]:80"),
        ("LIVE://1000", "1000"),
        ("noscheme", ""),
        ("mailto:x", ""),
        ("t\\back", ""),
        ("//host/x", "host"),
        ("///x", ""),
        ("", ""),
        ("live://%E9%95%BF", "长"),
    ],
)
def test_hosts_of_urls(url, host):
    assert url_host(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "直播://房间",
        ":x",
        "live://a b",
        "live://a:b",
        "live://a%zz",
        "live://a%41",
        "live://x/%z",
        "a\nb",
        "live://[::1",
        "live://a#%",
    ],
)
def test_what_go_does_not_take_as_a_url(url):
    with pytest.raises(ValueError):
        url_host(url)


@given(st.text())
def test_any_text_is_a_url_or_not(url):
    with contextlib.suppress(ValueError):
        assert isinstance(url_host(url), str)
