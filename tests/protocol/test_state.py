from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bodies import serialize_online
from protocol.decoder import FrameDecoder
from protocol.errors import HeaderLengthError, LocalError, RemoteError
from protocol.frame import MAX_BODY, Frame
from protocol.operation import Operation
from protocol.state import Connection, State, reply_to
from protocol.websocket import ServerDecoder
from tests.protocol.strategies import cut, frames, pieces

AUTH = Frame(-2, Operation.AUTH, 9, b"{}")
BEAT = Frame(1, Operation.HEARTBEAT, 1)


def connection(*sent: Frame) -> Connection:
    found = Connection(FrameDecoder(MAX_BODY))
    found.receive(b"".join(frame.pack() for frame in sent))
    return found


def test_frames_before_auth_are_dropped_and_counted():
    client = connection(BEAT, Frame(1, 1000, 2), AUTH, BEAT)

    assert client.next_request() == AUTH
    assert (client.state, client.ignored) == (State.AUTHENTICATING, 2)


def test_nothing_is_read_while_logic_decides():
    client = connection(AUTH, BEAT)
    auth = client.next_request()

    assert client.next_request() is None
    assert client.authenticated(auth) == Frame(-2, Operation.AUTH_REPLY, 9).pack()
    assert client.next_request() == BEAT
    assert client.next_request() is None


def test_a_held_connection_gives_no_request_until_released():
    client = connection(AUTH, Frame(1, 1000, 1), BEAT)
    client.authenticated(client.next_request())
    client.next_request()

    client.hold()
    assert (client.state, client.next_request()) == (State.BUSY, None)
    client.release()

    assert client.next_request() == BEAT


def test_hold_and_release_do_nothing_in_other_states():
    client = connection()

    client.hold()
    client.release()
    assert client.state is State.NEW
    client.close()
    client.release()
    assert client.state is State.CLOSED


def test_auth_again_is_a_request_like_others():
    client = connection(AUTH, AUTH)
    client.authenticated(client.next_request())

    assert client.next_request() == AUTH
    assert client.state is State.READY


def test_an_auth_reply_needs_an_auth():
    with pytest.raises(LocalError, match="auth reply in state NEW"):
        connection().authenticated(AUTH)


def test_broken_framing_closes_after_the_requests_before_it():
    client = connection(AUTH, BEAT)
    client.receive(bytes.fromhex("00000010001100010000000200000000"))
    client.authenticated(client.next_request())

    assert client.next_request() == BEAT
    with pytest.raises(HeaderLengthError):
        client.next_request()
    assert client.state is State.CLOSED
    client.receive(BEAT.pack())
    assert client.next_request() is None


@given(st.lists(st.one_of(st.binary(max_size=30), frames.map(Frame.pack), st.just(AUTH.pack()))).map(b"".join), pieces)
@pytest.mark.parametrize("decoder", [lambda: FrameDecoder(MAX_BODY), ServerDecoder], ids=["tcp", "ws"])
def test_what_a_client_gets_does_not_depend_on_the_cut(decoder, data, sizes):
    def answers(chunks: list[bytes]) -> tuple[bytes, int, bool]:
        client, output = Connection(decoder()), b""
        try:
            for chunk in chunks:
                client.receive(chunk)
                while (request := client.next_request()) is not None:
                    first = client.state is State.AUTHENTICATING
                    output += client.authenticated(request) if first else reply_to(request)
        except RemoteError:
            assert client.state is State.CLOSED
        return output, client.ignored, client.state is State.CLOSED

    assert answers(cut(data, sizes)) == answers([data])


@pytest.mark.parametrize(
    ("request_frame", "reply"),
    [
        (Frame(3, 2, 7, b"any"), Frame(3, 3, 7, serialize_online(5))),
        (Frame(3, 3, 7, b"any"), Frame(3, 3, 7, serialize_online(5))),
        (Frame(3, 12, 7, b"live://1"), Frame(3, 13, 7, b"live://1")),
        (Frame(3, 14, 7, b"1,2"), Frame(3, 15, 7, b"1,2")),
        (Frame(3, 16, 7, b"1,2"), Frame(3, 17, 7, b"1,2")),
        (Frame(3, 4, 7, b"hello"), Frame(3, 4, 7)),
        (Frame(3, 7, 7, b"{}"), Frame(3, 7, 7)),
        (Frame(3, 9, 7, b"raw"), Frame(3, 9, 7)),
        (Frame(-3, -1000, -7, b"x"), Frame(-3, -1000, -7)),
    ],
)
def test_replies(request_frame, reply):
    assert reply_to(request_frame, online=5) == reply.pack()


def test_an_op_9_echo_has_no_bytes_on_tcp():
    assert reply_to(Frame(1, 9, 1, b"raw"), container=True) == b""
    assert reply_to(Frame(1, 1000, 1), container=True) == Frame(1, 1000, 1).pack()
