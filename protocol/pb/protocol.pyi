from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Proto(_message.Message):
    __slots__ = ("ver", "op", "seq", "body")
    VER_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ver: int
    op: int
    seq: int
    body: bytes
    def __init__(self, ver: _Optional[int] = ..., op: _Optional[int] = ..., seq: _Optional[int] = ..., body: _Optional[bytes] = ...) -> None: ...
