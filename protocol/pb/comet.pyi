from protocol.pb import protocol as _protocol_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PushMsgReq(_message.Message):
    __slots__ = ("keys", "proto", "protoOp", "traces")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    PROTOOP_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    proto: _protocol_pb2.Proto
    protoOp: int
    traces: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, keys: _Optional[_Iterable[str]] = ..., proto: _Optional[_protocol_pb2.Proto] = ..., protoOp: _Optional[int] = ..., traces: _Optional[_Iterable[int]] = ...) -> None: ...

class PushMsgReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BroadcastReq(_message.Message):
    __slots__ = ("protoOp", "proto", "speed", "traces")
    PROTOOP_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    protoOp: int
    proto: _protocol_pb2.Proto
    speed: int
    traces: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, protoOp: _Optional[int] = ..., proto: _Optional[_protocol_pb2.Proto] = ..., speed: _Optional[int] = ..., traces: _Optional[_Iterable[int]] = ...) -> None: ...

class BroadcastReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BroadcastRoomReq(_message.Message):
    __slots__ = ("roomID", "proto", "traces")
    ROOMID_FIELD_NUMBER: _ClassVar[int]
    PROTO_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    roomID: str
    proto: _protocol_pb2.Proto
    traces: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, roomID: _Optional[str] = ..., proto: _Optional[_protocol_pb2.Proto] = ..., traces: _Optional[_Iterable[int]] = ...) -> None: ...

class BroadcastRoomReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RoomsReq(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RoomsReply(_message.Message):
    __slots__ = ("rooms",)
    class RoomsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bool] = ...) -> None: ...
    ROOMS_FIELD_NUMBER: _ClassVar[int]
    rooms: _containers.ScalarMap[str, bool]
    def __init__(self, rooms: _Optional[_Mapping[str, bool]] = ...) -> None: ...
