from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.logic.http1 import BodyTooLargeError, HttpError, HttpRequest, RequestDecoder, serialize_head

HEAD = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\n"
GOOD = [
    (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", HttpRequest("GET", "/", b"", True)),
    (HEAD + b"Content-Length: 3\r\n\r\nxyz", HttpRequest("POST", "/a?b=c", b"xyz", True)),
    (HEAD + b"content-length:3\r\nConnection: Close\r\n\r\nxyz", HttpRequest("POST", "/a?b=c", b"xyz", False)),
    (b"GET / HTTP/1.0\r\n\r\n", HttpRequest("GET", "/", b"", False)),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", HttpRequest("GET", "/", b"", True)),
    (b"\r\nGET http://x:1/y?z HTTP/1.1\r\nHost: x:1\r\n\r\n", HttpRequest("GET", "/y?z", b"", True)),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n",
     HttpRequest("POST", "/a?b=c", b"abc0123456789", True)),
    (HEAD + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n",
     HttpRequest("POST", "/a?b=c", b"a", True)),
    (b"GET /%e7%9b%b4?%ff HTTP/1.1\r\nHost: h\r\n\r\n", HttpRequest("GET", "/%e7%9b%b4?%ff", b"", True)),
    (b"GET HTTP://x?z HTTP/1.1\r\nHost: x\r\n\r\n", HttpRequest("GET", "?z", b"", True)),
    (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", HttpRequest("OPTIONS", "*", b"", True)),
    # What Java's client sends before it knows that there is no HTTP/2.
    (HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nContent-Length: 3\r\nHTTP2-Settings: AA\r\n"
     b"Upgrade: h2c\r\n\r\nxyz",
     HttpRequest("POST", "/a?b=c", b"xyz", True)),
    (HEAD + b"Connection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
     b"1\r\na\r\n0\r\n\r\n",
     HttpRequest("POST", "/a?b=c", b"a", False)),
    (b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", HttpRequest("GET", "/", b"", False)),
]  # fmt: skip
BAD = [
    (b"hello\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
    (b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"MAGIC / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
    (HEAD + b"Content-Length: +3\r\n\r\n", 400),
    (HEAD + b"Content-Length:\r\n\r\n", 400),
    (HEAD + b"Content-Length: " + b"9" * 20 + b"\r\n\r\n", 400),
    (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3, 3\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding:\r\nContent-Length: 3\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    (HEAD + b"Expect: magic\r\n\r\n", 417),
    (HEAD + b"Name : x\r\n\r\n", 400),
    (HEAD + b"A: b\r\n folded\r\n\r\n", 400),
    (HEAD + b"A:\r\n folded\r\n\r\n", 400),
    (HEAD + b"A: b\rContent-Length: 3\r\n\r\n", 400),
    (HEAD + b"A: b\nContent-Length: 3\r\n\r\n", 400),
    (HEAD + b"A: b\0\r\n\r\n", 400),
    (HEAD + b"no colon\r\n\r\n", 400),
    (HEAD + b"Host: other\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 300, 400),
]


def decoder() -> RequestDecoder:
    return RequestDecoder(max_head=4096, max_body=1000)


def read(pieces: list[bytes]) -> list[HttpRequest]:
    requests, reader = [], decoder()
    for piece in pieces:
        reader.feed(piece)
        requests += iter(reader.next_request, None)
    assert not reader.is_within_request
    return requests


@pytest.mark.parametrize(("wire", "request_"), GOOD)
def test_a_request_is_read_however_it_is_cut(wire, request_):
    assert read([wire]) == [request_]
    assert read([wire[i : i + 1] for i in range(len(wire))]) == [request_]
    for cut in range(1, len(wire)):
        assert read([wire[:cut], wire[cut:]]) == [request_]


def test_requests_sent_together_are_read_in_order():
    pipelined = [(wire, request) for wire, request in GOOD if request.keep_alive]

    assert read([b"".join(wire for wire, _ in pipelined)]) == [request for _, request in pipelined]


@pytest.mark.parametrize(("wire", "status"), BAD)
def test_what_is_no_request_is_refused(wire, status):
    reader = decoder()
    reader.feed(wire)

    with pytest.raises(HttpError) as caught:
        reader.next_request()

    assert caught.value.status == status
    assert str(caught.value).startswith(str(status))


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nffff\r\n" + b"x" * 1001,
     b"Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\nffff\r\n" + b"x" * 501],
)  # fmt: skip
def test_a_body_over_the_limit_is_refused_as_soon_as_that_is_known(body):
    reader = decoder()
    reader.feed(HEAD + body)

    with pytest.raises(BodyTooLargeError) as caught:
        reader.next_request()

    assert (caught.value.method, caught.value.target) == ("POST", "/a?b=c")
    assert (caught.value.size, caught.value.limit) == (1001, 1000)


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b"GET /", b"x" * 50), (HEAD, b"x" * 50), (HEAD + b"Name: ", b"x" * 50), (HEAD, b"Name: xx\r\n" * 5),
     (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 50),
     (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"x" * 50)],
)  # fmt: skip
def test_what_does_not_end_is_refused_at_the_limit(begin, more):
    reader = decoder()
    reader.feed(begin)
    for _ in range(4096 // 50):
        reader.feed(more)
        assert reader.next_request() is None
    reader.feed(more * 2)

    with pytest.raises(HttpError) as caught:
        reader.next_request()

    assert caught.value.status == 431


def test_a_long_body_in_small_pieces_is_within_the_limit_of_heads():
    reader = RequestDecoder(max_head=100, max_body=1000)

    for piece in (HEAD, b"Content-Length: 1000\r\n", b"\r\n", *[b"x" * 90] * 11, b"x" * 10):
        assert reader.next_request() is None
        reader.feed(piece)

    assert reader.next_request() == HttpRequest("POST", "/a?b=c", b"x" * 1000, True)


def test_requests_before_an_error_come_first():
    reader = decoder()
    reader.feed(GOOD[0][0] * 2 + b"bad")
    reader.feed(GOOD[0][0])

    assert [reader.next_request() for _ in range(2)] == [GOOD[0][1]] * 2
    with pytest.raises(HttpError):
        reader.next_request()


def test_a_client_that_waits_for_leave_to_send_is_seen():
    reader = decoder()
    reader.feed(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")

    assert reader.next_request() is None
    assert reader.wants_continue
    reader.wants_continue = False
    reader.feed(b"xyz")
    request = reader.next_request()

    assert request is not None
    assert request.body == b"xyz"
    assert not reader.wants_continue


@given(st.binary())
def test_any_bytes_are_requests_or_an_error(data):
    reader = decoder()
    reader.feed(data)
    try:
        while reader.next_request() is not None:
            pass
    except HttpError:
        assert reader.is_within_request


@given(st.binary())
def test_any_chunks_are_a_body_or_an_error(data):
    reader = decoder()
    reader.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + data)
    try:
        while reader.next_request() is not None:
            pass
    except HttpError:
        assert reader.is_within_request


def test_a_head_is_written():
    assert serialize_head(404, [("A", "b")]) == b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"


def test_a_room_typed_in_chinese_arrives_escaped_and_its_body_as_it_is():
    body = "直播".encode()
    head = "POST /goim/push/room?operation=1000&type=live&room=直播 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
    wire = head.encode() + body
    expected = HttpRequest("POST", "/goim/push/room?operation=1000&type=live&room=%E7%9B%B4%E6%92%AD", body, True)

    for cut in range(1, len(wire)):
        assert read([wire[:cut], wire[cut:]]) == [expected], cut
    assert read([wire[i : i + 1] for i in range(len(wire))]) == [expected]
