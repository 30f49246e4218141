"""Messages of package imctl.link, types in link.pyi."""

from protocol.pb._load import message_class

__all__ = ["Batch", "Call", "Reply"]

Batch = message_class("imctl.link.Batch")
Call = message_class("imctl.link.Call")
Reply = message_class("imctl.link.Reply")
