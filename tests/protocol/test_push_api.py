from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.push_api import (
    BAD_REQUEST,
    OK,
    HookList,
    NodesInstances,
    NodesWeighted,
    OnlineRoom,
    OnlineTop,
    OnlineTotal,
    ParamError,
    PushAll,
    PushKeys,
    PushMids,
    PushRoom,
    Redirect,
    Reply,
    ReplyError,
    Sessions,
    Stats,
    dump_reply,
    parse_reply,
    parse_request,
)

RECORDED = [
    json.loads(line) for line in (Path(__file__).parents[1] / "vectors" / "logic-http.jsonl").read_bytes().splitlines()
]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
required = text.filter(bool)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
nonzero = int32.filter(bool)

requests = st.one_of(
    st.builds(PushKeys, int32, st.lists(text, max_size=4).map(tuple)),
    st.builds(PushMids, int32, st.lists(int64, max_size=4).map(tuple)),
    st.builds(PushRoom, nonzero, required, required),
    st.builds(PushAll, nonzero, int32),
    st.builds(OnlineTop, required, int64.filter(bool)),
    st.builds(OnlineRoom, required, st.lists(text, min_size=1, max_size=4).map(tuple)),
    st.builds(OnlineTotal),
    st.builds(NodesWeighted, text),
    st.builds(NodesInstances),
    st.builds(Sessions, st.lists(int64, max_size=3).map(tuple), st.lists(text, max_size=3).map(tuple)),
    st.builds(Stats),
    st.builds(HookList),
)


@given(requests)
def test_a_request_written_for_a_client_is_read_back(request):
    assert request.target.isascii()
    assert parse_request(request.method, request.target) == request


@given(st.sampled_from(["GET", "POST", "PUT", "x"]), st.text())
def test_any_target_is_a_request_an_error_or_nothing(method, target):
    with contextlib.suppress(ParamError):
        parse_request(method, target)


@given(st.text())
def test_any_query_of_a_push_is_a_request_or_an_error(query):
    with contextlib.suppress(ParamError):
        assert isinstance(parse_request("POST", f"/goim/push/room?{query}"), PushRoom)


@pytest.mark.parametrize("entry", RECORDED, ids=[entry["what"] for entry in RECORDED])
def test_recorded_requests_are_taken_and_refused_alike(entry):
    asked, answered = entry["request"], entry["response"]

    if answered["status"] == 400:
        with pytest.raises(ParamError) as caught:
            parse_request(asked["method"], asked["url"])
        assert dump_reply(BAD_REQUEST, str(caught.value)) == answered["body"].encode()
        return
    request = parse_request(asked["method"], asked["url"])
    if answered["status"] == 404:
        assert request is None
    elif answered["status"] in (301, 307):
        assert request == Redirect(answered["status"], dict(answered["headers"])["Location"])
    else:
        assert request is not None
        assert not isinstance(request, Redirect)


def test_wide_characters_come_as_they_are_meant():
    target = "/goim/push/room?operation=1000&type=%E7%9B%B4%E6%92%AD&room=%E6%88%BF%E9%97%B4"

    request = parse_request("POST", target)

    assert request == PushRoom(1000, "直播", "房间")
    assert request.room_key == "直播://房间"
    assert request.target == target


@pytest.mark.parametrize("target", ["/goim/push/room?operation=1&type=a&room=%ff", "/goim/push/keys?keys=%c3"])
def test_text_that_protobuf_cannot_carry_is_refused(target):
    with pytest.raises(ParamError, match="is not UTF-8"):
        parse_request("POST", target)


def test_the_first_of_several_values_counts():
    assert parse_request("POST", "/goim/push/all?operation=1&operation=2") == PushAll(1, 0)


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (Reply(OK, ""), b'{"code":0,"message":""}'),
        (Reply(-500, "no <bus>"), b'{"code":-500,"message":"no \\u003cbus\\u003e"}'),
        (Reply(OK, "", {"a": 1}), b'{"code":0,"message":"","data":{"a":1}}'),
    ],
)
def test_envelopes_both_ways(reply, body):
    assert dump_reply(reply.code, reply.message, reply.data) == body
    assert parse_reply(body) == reply


def test_an_envelope_may_say_that_there_is_nothing():
    assert dump_reply(OK, "", None, has_data=True) == b'{"code":0,"message":"","data":null}'


@pytest.mark.parametrize(
    "body", [b"", b"404 page not found", b"[]", b"null", b'{"code":"0","message":""}', b"{}", b"[" * 9999]
)
def test_what_is_no_envelope_is_an_error(body):
    with pytest.raises(ReplyError, match="not goim's envelope"):
        parse_reply(body)
