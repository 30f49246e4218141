"""Messages of package goim.comet, types in comet.pyi."""

from protocol.pb._load import message_class

__all__ = [
    "PushMsgReq",
    "PushMsgReply",
    "BroadcastReq",
    "BroadcastReply",
    "BroadcastRoomReq",
    "BroadcastRoomReply",
    "RoomsReq",
    "RoomsReply",
]

PushMsgReq = message_class("goim.comet.PushMsgReq")
PushMsgReply = message_class("goim.comet.PushMsgReply")
BroadcastReq = message_class("goim.comet.BroadcastReq")
BroadcastReply = message_class("goim.comet.BroadcastReply")
BroadcastRoomReq = message_class("goim.comet.BroadcastRoomReq")
BroadcastRoomReply = message_class("goim.comet.BroadcastRoomReply")
RoomsReq = message_class("goim.comet.RoomsReq")
RoomsReply = message_class("goim.comet.RoomsReply")
