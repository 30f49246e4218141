from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.push_api import DeleteOffline, History, Offline, ParamError, Redirect, parse_request

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
mids = st.integers(1, 2**63 - 1)
ids = st.integers(0, 2**63 - 1)
limits = st.integers(1, 1000)

requests = st.one_of(
    st.builds(History, mids, st.just(""), limits, ids),
    st.builds(History, st.just(0), text, limits, ids),
    st.builds(Offline, mids),
    st.builds(DeleteOffline, mids),
)


@given(requests)
def test_a_request_written_for_a_client_is_read_back(request):
    assert request.target.isascii()
    assert parse_request(request.method, request.target) == request


def test_what_is_left_out_of_a_history_has_a_default():
    assert parse_request("GET", "/imctl/history?mid=7") == History(mid=7, limit=20, before=0)
    assert parse_request("GET", "/imctl/history?room=live://1") == History(room="live://1", limit=20, before=0)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", "mid is 0; expected a user, 1 or more"),
        ("mid=-3", "mid is -3; expected a user, 1 or more"),
        ("mid=x", "invalid syntax"),
        ("mid=1&room=live://1", "mid and room are both given; expected one of them"),
        ("mid=1&limit=0", "limit is 0; expected 1 to 1000"),
        ("mid=1&limit=1001", "limit is 1001; expected 1 to 1000"),
        ("mid=1&before=-1", "before is -1; expected an id, or 0"),
        ("room=%ff", "room is not UTF-8"),
    ],
)
def test_parameters_that_cannot_be_are_refused(query, problem):
    with pytest.raises(ParamError, match=problem):
        parse_request("GET", f"/imctl/history?{query}")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_queue_is_a_users(method):
    with pytest.raises(ParamError, match="mid is 0"):
        parse_request(method, "/imctl/offline")


def test_other_methods_and_slashes_are_as_for_goims_calls():
    assert parse_request("POST", "/imctl/offline?mid=1") is None
    assert parse_request("GET", "/imctl/offline/?mid=1") == Redirect(301, "/imctl/offline?mid=1")
