from protocol.pb import protocol as _protocol_pb2
from protocol.pb import session as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PushMsg(_message.Message):
    __slots__ = ("type", "operation", "speed", "server", "room", "keys", "msg", "trace")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PUSH: _ClassVar[PushMsg.Type]
        ROOM: _ClassVar[PushMsg.Type]
        BROADCAST: _ClassVar[PushMsg.Type]
    PUSH: PushMsg.Type
    ROOM: PushMsg.Type
    BROADCAST: PushMsg.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    MSG_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    type: PushMsg.Type
    operation: int
    speed: int
    server: str
    room: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    msg: bytes
    trace: int
    def __init__(self, type: _Optional[_Union[PushMsg.Type, str]] = ..., operation: _Optional[int] = ..., speed: _Optional[int] = ..., server: _Optional[str] = ..., room: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., msg: _Optional[bytes] = ..., trace: _Optional[int] = ...) -> None: ...

class ConnectReq(_message.Message):
    __slots__ = ("server", "cookie", "token")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    server: str
    cookie: str
    token: bytes
    def __init__(self, server: _Optional[str] = ..., cookie: _Optional[str] = ..., token: _Optional[bytes] = ...) -> None: ...

class ConnectReply(_message.Message):
    __slots__ = ("mid", "key", "roomID", "accepts", "heartbeat", "session")
    MID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ROOMID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    mid: int
    key: str
    roomID: str
    accepts: _containers.RepeatedScalarFieldContainer[int]
    heartbeat: int
    session: _session_pb2.Session
    def __init__(self, mid: _Optional[int] = ..., key: _Optional[str] = ..., roomID: _Optional[str] = ..., accepts: _Optional[_Iterable[int]] = ..., heartbeat: _Optional[int] = ..., session: _Optional[_session_pb2.Session] = ...) -> None: ...

class DisconnectReq(_message.Message):
    __slots__ = ("mid", "key", "server", "session", "reason", "replaced")
    MID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    mid: int
    key: str
    server: str
    session: int
    reason: str
    replaced: bool
    def __init__(self, mid: _Optional[int] = ..., key: _Optional[str] = ..., server: _Optional[str] = ..., session: _Optional[int] = ..., reason: _Optional[str] = ..., replaced: _Optional[bool] = ...) -> None: ...

class DisconnectReply(_message.Message):
    __slots__ = ("has",)
    HAS_FIELD_NUMBER: _ClassVar[int]
    has: bool
    def __init__(self, has: _Optional[bool] = ...) -> None: ...

class HeartbeatReq(_message.Message):
    __slots__ = ("mid", "key", "server", "session")
    MID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    mid: int
    key: str
    server: str
    session: int
    def __init__(self, mid: _Optional[int] = ..., key: _Optional[str] = ..., server: _Optional[str] = ..., session: _Optional[int] = ...) -> None: ...

class HeartbeatReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OnlineReq(_message.Message):
    __slots__ = ("server", "roomCount")
    class RoomCountEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SERVER_FIELD_NUMBER: _ClassVar[int]
    ROOMCOUNT_FIELD_NUMBER: _ClassVar[int]
    server: str
    roomCount: _containers.ScalarMap[str, int]
    def __init__(self, server: _Optional[str] = ..., roomCount: _Optional[_Mapping[str, int]] = ...) -> None: ...

class OnlineReply(_message.Message):
    __slots__ = ("allRoomCount",)
    class AllRoomCountEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ALLROOMCOUNT_FIELD_NUMBER: _ClassVar[int]
    allRoomCount: _containers.ScalarMap[str, int]
    def __init__(self, allRoomCount: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ReceiveReq(_message.Message):
    __slots__ = ("mid", "proto", "key")
    MID_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    mid: int
    proto: _protocol_pb2.Proto
    key: str
    def __init__(self, mid: _Optional[int] = ..., proto: _Optional[_protocol_pb2.Proto] = ..., key: _Optional[str] = ...) -> None: ...

class ReceiveReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodesReq(_message.Message):
    __slots__ = ("platform", "clientIP")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    CLIENTIP_FIELD_NUMBER: _ClassVar[int]
    platform: str
    clientIP: str
    def __init__(self, platform: _Optional[str] = ..., clientIP: _Optional[str] = ...) -> None: ...

class NodesReply(_message.Message):
    __slots__ = ("domain", "tcp_port", "ws_port", "wss_port", "heartbeat", "nodes", "backoff", "heartbeat_max")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TCP_PORT_FIELD_NUMBER: _ClassVar[int]
    WS_PORT_FIELD_NUMBER: _ClassVar[int]
    WSS_PORT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MAX_FIELD_NUMBER: _ClassVar[int]
    domain: str
    tcp_port: int
    ws_port: int
    wss_port: int
    heartbeat: int
    nodes: _containers.RepeatedScalarFieldContainer[str]
    backoff: Backoff
    heartbeat_max: int
    def __init__(self, domain: _Optional[str] = ..., tcp_port: _Optional[int] = ..., ws_port: _Optional[int] = ..., wss_port: _Optional[int] = ..., heartbeat: _Optional[int] = ..., nodes: _Optional[_Iterable[str]] = ..., backoff: _Optional[Backoff] = ..., heartbeat_max: _Optional[int] = ...) -> None: ...

class Backoff(_message.Message):
    __slots__ = ("max_delay", "base_delay", "factor", "jitter")
    MAX_DELAY_FIELD_NUMBER: _ClassVar[int]
    BASE_DELAY_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    max_delay: int
    base_delay: int
    factor: float
    jitter: float
    def __init__(self, max_delay: _Optional[int] = ..., base_delay: _Optional[int] = ..., factor: _Optional[float] = ..., jitter: _Optional[float] = ...) -> None: ...
