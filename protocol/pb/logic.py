"""Messages of package goim.logic, types in logic.pyi."""

from protocol.pb._load import message_class

__all__ = [
    "PushMsg",
    "ConnectReq",
    "ConnectReply",
    "DisconnectReq",
    "DisconnectReply",
    "HeartbeatReq",
    "HeartbeatReply",
    "OnlineReq",
    "OnlineReply",
    "ReceiveReq",
    "ReceiveReply",
    "NodesReq",
    "NodesReply",
    "Backoff",
]

PushMsg = message_class("goim.logic.PushMsg")
ConnectReq = message_class("goim.logic.ConnectReq")
ConnectReply = message_class("goim.logic.ConnectReply")
DisconnectReq = message_class("goim.logic.DisconnectReq")
DisconnectReply = message_class("goim.logic.DisconnectReply")
HeartbeatReq = message_class("goim.logic.HeartbeatReq")
HeartbeatReply = message_class("goim.logic.HeartbeatReply")
OnlineReq = message_class("goim.logic.OnlineReq")
OnlineReply = message_class("goim.logic.OnlineReply")
ReceiveReq = message_class("goim.logic.ReceiveReq")
ReceiveReply = message_class("goim.logic.ReceiveReply")
NodesReq = message_class("goim.logic.NodesReq")
NodesReply = message_class("goim.logic.NodesReply")
Backoff = message_class("goim.logic.Backoff")
