"""What comet does with each request of an authenticated client.

Source: goim internal/comet/operation.go; the replies are protocol.state.reply_to.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from protocol.bodies import parse_operations, parse_room
from protocol.errors import BodyError
from protocol.frame import Frame
from protocol.operation import Operation, Request, request_of
from protocol.state import reply_to

if TYPE_CHECKING:
    from imctl.comet.channel import Channel
    from imctl.comet.guard import Guard

__all__ = ["MAX_ACCEPTS", "act"]

MAX_ACCEPTS = 4096
"""Operations one client can accept; an op 14 that would make it more is echoed and has no effect. goim has no limit."""


def act(channel: Channel, request: Frame) -> None:
    """Carry out one request and answer it, now or when logic has answered."""
    match request_of(request.op):
        case Request.HEARTBEAT:
            channel.sessions.heartbeat(channel)
        case Request.CHANGE_ROOM:
            if channel.guard is not None and channel.guard.ask_rooms:
                _ask_room(channel, channel.guard, request)
                return
            _change_room(channel, request)
        case Request.SUBSCRIBE | Request.UNSUBSCRIBE as kind:
            _change_accepts(channel, request, add=kind is Request.SUBSCRIBE)
        case Request.RECEIVE:
            channel.connection.hold()
            answer = channel.sessions.receive(channel, request)
            answer.add_done_callback(partial(_received, channel, request))
            return
    _answer(channel, request)


def _answer(channel: Channel, request: Frame) -> None:
    online = 0
    if request.op in (Operation.HEARTBEAT, Operation.HEARTBEAT_REPLY):
        if channel.room is not None:
            channel.online = channel.sessions.hub.room_online(channel.room)
        # After leaving a room goim goes on to answer the last count.
        online = channel.online
    reply = reply_to(request, online=online, container=not channel.is_ws)
    if reply:
        channel.reply(reply)


def _received(channel: Channel, request: Frame, future: asyncio.Future[Any]) -> None:
    if future.cancelled() or future.exception() is not None:
        # goim answers the client all the same.
        channel.sessions.counters.add("receive_errors")
    if not channel.is_gone:
        _answer(channel, request)
    channel.resume()


def _change_room(channel: Channel, request: Frame) -> None:
    room = _room_of(channel, request)
    if room is not None:
        _enter(channel, room)


def _room_of(channel: Channel, request: Frame) -> str | None:
    try:
        return parse_room(request.body)
    except BodyError as exc:
        channel.sessions.counters.add("bad_room")
        channel.sessions.log.info("%s key %s: %s", channel.ip, channel.key, exc)
        return None


def _enter(channel: Channel, room: str) -> None:
    if channel.sessions.join(channel, room):
        channel.sessions.counters.add("change_room")


def _ask_room(channel: Channel, guard: Guard, request: Frame) -> None:
    """Change the room if logic allows it; who is refused stays where it is and gets the same answer."""
    room = _room_of(channel, request)
    if not room:
        if room is not None:
            _enter(channel, room)
        _answer(channel, request)
        return

    def decided(allowed: bool) -> None:
        if not channel.is_gone:
            if allowed:
                _enter(channel, room)
            _answer(channel, request)
        channel.resume()

    channel.connection.hold()
    channel.sessions.guards.ask(guard, room, decided)


def _change_accepts(channel: Channel, request: Frame, *, add: bool) -> None:
    try:
        operations = parse_operations(request.body)
    except BodyError as exc:
        channel.sessions.counters.add("bad_operations")
        channel.sessions.log.info("%s key %s: %s", channel.ip, channel.key, exc)
        return
    wanted = channel.accepts.union(operations) if add else channel.accepts.difference(operations)
    if len(wanted) > MAX_ACCEPTS:
        channel.sessions.counters.add("refused.max_accepts")
        return
    channel.accepts = channel.sessions.intern_accepts(wanted)
