"""The methods of goim's two services and our own beside them, with the number each has on the batched link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protocol.pb import comet, logic, session

__all__ = [
    "BROADCAST",
    "BROADCAST_ROOM",
    "BY_NUMBER",
    "BY_PATH",
    "CONNECT",
    "DELIVER",
    "DISCONNECT",
    "ENTER_ROOM",
    "HEARTBEAT",
    "KICK",
    "NODES",
    "OPEN_PATH",
    "PUSH_MSG",
    "RECEIVE",
    "REGISTERED",
    "RENEW_ONLINE",
    "ROOMS",
    "Method",
]

OPEN_PATH = "/imctl.link.Link/Open"


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One unary method; compared by identity, so it is a cheap dict key.

    Args:
        path: Full gRPC name, such as /goim.logic.Logic/Connect.
        number: Its number in imctl.link.Call; never reused for another method.
        request: Protobuf class of the request. Any: classes are made at run time.
        reply: Protobuf class of the reply.
    """

    path: str
    number: int
    request: Any
    reply: Any


CONNECT = Method("/goim.logic.Logic/Connect", 1, logic.ConnectReq, logic.ConnectReply)
DISCONNECT = Method("/goim.logic.Logic/Disconnect", 2, logic.DisconnectReq, logic.DisconnectReply)
HEARTBEAT = Method("/goim.logic.Logic/Heartbeat", 3, logic.HeartbeatReq, logic.HeartbeatReply)
RENEW_ONLINE = Method("/goim.logic.Logic/RenewOnline", 4, logic.OnlineReq, logic.OnlineReply)
RECEIVE = Method("/goim.logic.Logic/Receive", 5, logic.ReceiveReq, logic.ReceiveReply)
NODES = Method("/goim.logic.Logic/Nodes", 6, logic.NodesReq, logic.NodesReply)
PUSH_MSG = Method("/goim.comet.Comet/PushMsg", 11, comet.PushMsgReq, comet.PushMsgReply)
BROADCAST = Method("/goim.comet.Comet/Broadcast", 12, comet.BroadcastReq, comet.BroadcastReply)
BROADCAST_ROOM = Method("/goim.comet.Comet/BroadcastRoom", 13, comet.BroadcastRoomReq, comet.BroadcastRoomReply)
ROOMS = Method("/goim.comet.Comet/Rooms", 14, comet.RoomsReq, comet.RoomsReply)
# For hooks; a Go node answers UNIMPLEMENTED.
ENTER_ROOM = Method("/imctl.session.Logic/EnterRoom", 21, session.EnterRoomReq, session.EnterRoomReply)
REGISTERED = Method("/imctl.session.Logic/Registered", 22, session.RegisteredReq, session.RegisteredReply)
DELIVER = Method("/imctl.session.Comet/Deliver", 31, session.DeliverReq, session.DeliverReply)
KICK = Method("/imctl.session.Comet/Kick", 32, session.KickReq, session.KickReply)

_ALL = (
    *(CONNECT, DISCONNECT, HEARTBEAT, RENEW_ONLINE, RECEIVE, NODES, ENTER_ROOM, REGISTERED),
    *(PUSH_MSG, BROADCAST, BROADCAST_ROOM, ROOMS, DELIVER, KICK),
)
BY_NUMBER = {method.number: method for method in _ALL}
BY_PATH = {method.path: method for method in _ALL}
