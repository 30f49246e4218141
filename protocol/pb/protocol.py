"""Messages of package goim.protocol, types in protocol.pyi."""

from protocol.pb._load import message_class

__all__ = ["Proto"]

Proto = message_class("goim.protocol.Proto")
