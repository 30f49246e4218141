"""Message classes from the checked-in descriptor set, see regenerate.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["message_class"]

# A pool of our own: another library of the same process may have loaded goim's
# files under the same names, and the default pool takes a name only once.
_POOL = descriptor_pool.DescriptorPool()

_FILES = descriptor_pb2.FileDescriptorSet.FromString((Path(__file__).parent / "goim.binpb").read_bytes())
for _file in _FILES.file:
    _POOL.Add(_file)


def message_class(full_name: str) -> Any:
    """Return the class of a message by its full protobuf name; KeyError if there is none.

    Any: the static types come from the .pyi file beside each module.
    """
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))
