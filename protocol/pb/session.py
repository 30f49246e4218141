"""Messages of package imctl.session, types in session.pyi."""

from protocol.pb._load import message_class

__all__ = [
    "DeliverReply",
    "DeliverReq",
    "EnterRoomReply",
    "EnterRoomReq",
    "KickReply",
    "KickReq",
    "Message",
    "RegisteredReply",
    "RegisteredReq",
    "Session",
]

Session = message_class("imctl.session.Session")
EnterRoomReq = message_class("imctl.session.EnterRoomReq")
EnterRoomReply = message_class("imctl.session.EnterRoomReply")
RegisteredReq = message_class("imctl.session.RegisteredReq")
RegisteredReply = message_class("imctl.session.RegisteredReply")
DeliverReq = message_class("imctl.session.DeliverReq")
DeliverReply = message_class("imctl.session.DeliverReply")
Message = message_class("imctl.session.Message")
KickReq = message_class("imctl.session.KickReq")
KickReply = message_class("imctl.session.KickReply")
