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
    (HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nxyz", HttpRequest("POST", "/a?b=c", b"xyz", True)),
    (b"GET / HTTP/1.0\r\n\r\n", HttpRequest("GET", "/", b"", False)),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", HttpRequest("GET", "/", b"", True)),
    (b"\r\nGET http://x:1/y?z HTTP/1.1\r\nHost: x:1\r\n\r\n", HttpRequest("GET", "/y?z", b"", True)),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n",
     HttpRequest("POST", "/a?b=c", b"abc0123456789", True)),
    (HEAD + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n",
     HttpRequest("POST", "/a?b=c", b"a", True)),
    (b"GET /\xe7\x9b\xb4 HTTP/1.1\r\nHost: h\r\n\r\n", HttpRequest("GET", "/直", b"", True)),
]  # fmt: skip
BAD = [
    (b"hello\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3, 3\r\n\r\n", 400),
    (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (HEAD + b"Expect: magic\r\n\r\n", 417),
    (HEAD + b"Name : x\r\n\r\n", 400),
    (HEAD + b"A: b\r\n folded\r\n\r\n", 400),
    (HEAD + b"no colon\r\n\r\n", 400),
    (HEAD + b"Host: other\r\n\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 300, 400),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * 9000, 431),
    (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 431),
    (b"x" * 5000, 431),
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
    [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n",
     b"Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n"],
)  # fmt: skip
def test_a_body_over_the_limit_is_refused_before_it_is_read(body):
    reader = decoder()
    reader.feed(HEAD + body)

    with pytest.raises(BodyTooLargeError) as caught:
        reader.next_request()

    assert (caught.value.method, caught.value.target) == ("POST", "/a?b=c")
    assert (caught.value.size, caught.value.limit) == (1001, 1000)


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
        pass


@given(st.binary())
def test_any_chunks_are_a_body_or_an_error(data):
    reader = decoder()
    reader.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + data)
    try:
        while reader.next_request() is not None:
            pass
    except HttpError:
        pass


def test_a_head_is_written():
    assert serialize_head(404, [("A", "b")]) == b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"
