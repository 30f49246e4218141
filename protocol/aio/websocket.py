"""One connection to a comet over WebSocket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from protocol.aio.errors import ConnectionClosedError
from protocol.aio.tcp import MAX_FRAME_BODY, FrameProtocol
from protocol.errors import RemoteError, WebSocketError
from protocol.frame import HEADER_LEN, Frame, parse_frames
from protocol.operation import Operation
from protocol.raw import flatten
from protocol.websocket import ClientUpgrade, MessageDecoder, serialize_message

__all__ = ["WebSocketProtocol"]

_CLOSE, _PING, _PONG = 8, 9, 10
_NORMAL = (1000).to_bytes(2, "big")
_MAX_PAYLOAD = MAX_FRAME_BODY + HEADER_LEN


class WebSocketProtocol(FrameProtocol):
    """The client's end of a WebSocket connection: upgrade, masks, pongs, and op 9 unwrapped.

    Args:
        on_frame: Called for each frame received, those inside op 9 one by one.
        on_closed: Called once, with the result of `closed`.
        host: Value of the Host header.
        cookie: Value of the Cookie header, "" for none.
    """

    def __init__(
        self,
        on_frame: Callable[[Frame], None],
        on_closed: Callable[[RemoteError | None], None],
        *,
        host: str,
        cookie: str = "",
    ) -> None:
        super().__init__(on_frame, on_closed)
        self._upgrade: ClientUpgrade | None = ClientUpgrade(host, os.urandom(16), cookie=cookie)
        self._messages = MessageDecoder(max_payload=_MAX_PAYLOAD, max_message=_MAX_PAYLOAD)

    def _open(self, transport: asyncio.Transport) -> None:
        assert self._upgrade is not None
        transport.write(self._upgrade.request)

    def _read(self, data: bytes) -> None:
        if self._upgrade is not None:
            rest = self._upgrade.feed(data)
            if rest is None:
                return
            self._upgrade = None
            if not self.ready.done():
                self.ready.set_result(None)
            data = rest
        self._messages.feed(data)
        while (message := self._messages.next_message()) is not None:
            if message.opcode == _CLOSE:
                code = int.from_bytes(message.payload[:2], "big") if len(message.payload) > 1 else 1005
                raise ConnectionClosedError(f"the server sent close code {code}")
            elif message.opcode == _PING:
                self._write_message(message.payload, _PONG)
            elif message.opcode != _PONG:
                self._take(message.payload)

    def _take(self, payload: bytes) -> None:
        frames, end = parse_frames(payload)
        if not frames or end != len(payload):
            raise WebSocketError(f"message of {len(payload)} bytes is not whole frames from byte {end} on")
        for frame in frames:
            # The echo of an op 9 that this side sent is a bare header.
            if frame.op == Operation.RAW and frame.body:
                for inner in flatten(frame):
                    self._on_frame(inner)
            else:
                self._on_frame(frame)

    def _wrap(self, frame: bytes) -> bytes:
        return serialize_message(frame, mask=os.urandom(4))

    def _write_message(self, payload: bytes, opcode: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(serialize_message(payload, opcode=opcode, mask=os.urandom(4)))

    def _say_goodbye(self, transport: asyncio.Transport) -> None:
        if self._upgrade is None:
            self._write_message(_NORMAL, _CLOSE)
