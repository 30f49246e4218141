"""What a client's connection to comet may do when.

    NEW --op 7--> AUTHENTICATING --accepted--> READY <--answered-- BUSY
                                                  `--for logic-->---'

NEW reads and drops every frame that is not op 7. While AUTHENTICATING and
while BUSY (a frame is with logic) no further frame is read: requests are
answered one at a time and in order. Any error ends in CLOSED, which on the
wire is the closed socket and nothing else.

Source: goim internal/comet/server_tcp.go, server_websocket.go, operation.go.
"""

from __future__ import annotations

import enum
from typing import Protocol

from protocol.bodies import serialize_online
from protocol.errors import LocalError
from protocol.frame import Frame, pack_frame
from protocol.operation import Operation

__all__ = ["Connection", "Decoder", "State", "reply_to"]


class State(enum.Enum):
    """Where a connection stands."""

    NEW = enum.auto()
    AUTHENTICATING = enum.auto()
    READY = enum.auto()
    BUSY = enum.auto()
    CLOSED = enum.auto()


class Decoder(Protocol):
    """Where a connection's frames come from: FrameDecoder or websocket.ServerDecoder."""

    @property
    def buffered(self) -> int: ...

    def feed(self, data: bytes) -> None: ...

    def next_frame(self) -> Frame | None: ...


class Connection:
    """The server's side of one client connection, without its socket.

    Feed bytes, then call next_request() until it returns None; answer what it
    returned with authenticated() (op 7) or with reply_to()'s bytes. hold() and
    release() stand around a request whose answer must be waited for.

    Args:
        decoder: A decoder with the limits for frames of a client.
    """

    __slots__ = ("_ignored", "decoder", "state")

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.state = State.NEW
        self._ignored = 0

    @property
    def ignored(self) -> int:
        """Frames dropped because they came before op 7."""
        return self._ignored

    def receive(self, data: bytes) -> None:
        """Add bytes of one read; nothing is read any more once CLOSED."""
        if self.state is not State.CLOSED:
            self.decoder.feed(data)

    def next_request(self) -> Frame | None:
        """Return the next frame to act on: op 7 in NEW, any in READY; None when there is none now.

        After returning op 7 in NEW the state is AUTHENTICATING.

        Raises:
            RemoteError: the client broke a rule; the state is CLOSED.
        """
        try:
            while self.state is State.READY or self.state is State.NEW:
                frame = self.decoder.next_frame()
                if frame is None or self.state is State.READY:
                    return frame
                if frame.op == Operation.AUTH:
                    self.state = State.AUTHENTICATING
                    return frame
                self._ignored += 1
        except Exception:
            self.state = State.CLOSED
            raise
        return None

    def authenticated(self, request: Frame) -> bytes:
        """Note that logic has accepted the client; return the auth reply (op 8, ver and seq echoed).

        Raises:
            LocalError: no authentication is under way.
        """
        if self.state is not State.AUTHENTICATING:
            raise LocalError(f"auth reply in state {self.state.name}")
        self.state = State.READY
        return pack_frame(Operation.AUTH_REPLY, ver=request.ver, seq=request.seq)

    def hold(self) -> None:
        """A request waits for logic: return no further one."""
        if self.state is State.READY:
            self.state = State.BUSY

    def release(self) -> None:
        """The request that waited is answered."""
        if self.state is State.BUSY:
            self.state = State.READY

    def close(self) -> None:
        """The socket is gone or will be closed."""
        self.state = State.CLOSED


def reply_to(request: Frame, *, online: int = 0, container: bool = False) -> bytes:
    """Return the answer of a comet to a frame of an authenticated client.

    Op 2 and 3 get the online count (op 3 is answered as goim does, with op 3),
    12, 14 and 16 their own body, everything else the same op and an empty body.

    Args:
        request: What the client sent.
        online: Members of the client's room.
        container: The client gets op 9 unwrapped (TCP), so an op 9 echo has no bytes.
    """
    op = request.op
    if op in (Operation.HEARTBEAT, Operation.HEARTBEAT_REPLY):
        return pack_frame(Operation.HEARTBEAT_REPLY, serialize_online(online), ver=request.ver, seq=request.seq)
    if op in (Operation.CHANGE_ROOM, Operation.SUB, Operation.UNSUB):
        return pack_frame(op + 1, request.body, ver=request.ver, seq=request.seq)
    if op == Operation.RAW and container:
        return b""
    return pack_frame(op, ver=request.ver, seq=request.seq)
