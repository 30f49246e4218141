from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Session(_message.Message):
    __slots__ = ("grant", "ask_rooms", "again_ms", "tell_registered", "id")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    ASK_ROOMS_FIELD_NUMBER: _ClassVar[int]
    AGAIN_MS_FIELD_NUMBER: _ClassVar[int]
    TELL_REGISTERED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    grant: bytes
    ask_rooms: bool
    again_ms: int
    tell_registered: bool
    id: int
    def __init__(self, grant: _Optional[bytes] = ..., ask_rooms: _Optional[bool] = ..., again_ms: _Optional[int] = ..., tell_registered: _Optional[bool] = ..., id: _Optional[int] = ...) -> None: ...

class EnterRoomReq(_message.Message):
    __slots__ = ("mid", "key", "server", "room", "grant", "again")
    MID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    mid: int
    key: str
    server: str
    room: str
    grant: bytes
    again: bool
    def __init__(self, mid: _Optional[int] = ..., key: _Optional[str] = ..., server: _Optional[str] = ..., room: _Optional[str] = ..., grant: _Optional[bytes] = ..., again: _Optional[bool] = ...) -> None: ...

class EnterRoomReply(_message.Message):
    __slots__ = ("allow", "again_ms")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    AGAIN_MS_FIELD_NUMBER: _ClassVar[int]
    allow: bool
    again_ms: int
    def __init__(self, allow: _Optional[bool] = ..., again_ms: _Optional[int] = ...) -> None: ...

class RegisteredReq(_message.Message):
    __slots__ = ("mid", "key", "server", "again", "session")
    MID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    mid: int
    key: str
    server: str
    again: bool
    session: int
    def __init__(self, mid: _Optional[int] = ..., key: _Optional[str] = ..., server: _Optional[str] = ..., again: _Optional[bool] = ..., session: _Optional[int] = ...) -> None: ...

class RegisteredReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeliverReq(_message.Message):
    __slots__ = ("key", "messages", "mid")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MID_FIELD_NUMBER: _ClassVar[int]
    key: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    mid: int
    def __init__(self, key: _Optional[str] = ..., messages: _Optional[_Iterable[Message]] = ..., mid: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("op", "body", "seq")
    OP_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    op: int
    body: bytes
    seq: int
    def __init__(self, op: _Optional[int] = ..., body: _Optional[bytes] = ..., seq: _Optional[int] = ...) -> None: ...

class DeliverReply(_message.Message):
    __slots__ = ("result", "session")
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TAKEN: _ClassVar[DeliverReply.Result]
        FULL: _ClassVar[DeliverReply.Result]
        UNKNOWN: _ClassVar[DeliverReply.Result]
    TAKEN: DeliverReply.Result
    FULL: DeliverReply.Result
    UNKNOWN: DeliverReply.Result
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    result: DeliverReply.Result
    session: int
    def __init__(self, result: _Optional[_Union[DeliverReply.Result, str]] = ..., session: _Optional[int] = ...) -> None: ...

class KickReq(_message.Message):
    __slots__ = ("keys", "reason", "sessions")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    sessions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, keys: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ..., sessions: _Optional[_Iterable[int]] = ...) -> None: ...

class KickReply(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[str]] = ...) -> None: ...
