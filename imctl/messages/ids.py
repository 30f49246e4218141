"""Ids of kept messages, and what of them fits into the sequence number of a frame.

A user's messages are numbered 1, 2, 3, ... without end. A frame's sequence
number is an int32, so it goes from 1 to 2,147,483,647 and begins again at 1.
Since far fewer messages wait at a time, a number in an acknowledgement still
means one message: the newest that has it.

The epoch of a cursor is the id of its session. Where that is not known, it is a
number no session has, and no other cursor.
"""

from __future__ import annotations

import random

__all__ = ["FIRST_UNBOUND", "epoch_of", "id_of", "sequence_of"]

_SEQUENCES = 2**31 - 1

FIRST_UNBOUND = 2**62
"""Epochs from here on are no session's; in any number type that has 53 bits, ids of sessions are below it."""


def epoch_of(session: int) -> int:
    """Return the epoch of a cursor that is opened for a session, 0 for one that is not known."""
    return session or FIRST_UNBOUND + random.getrandbits(61)


def sequence_of(message_id: int) -> int:
    """Return the sequence number, 1 or more, of the frame of a message."""
    return (message_id - 1) % _SEQUENCES + 1


def id_of(sequence: int, last_id: int) -> int:
    """Return the newest id up to `last_id` with this sequence number; 0 or less when there is none."""
    if sequence < 1:
        return 0
    return last_id - (sequence_of(last_id) - sequence) % _SEQUENCES if last_id > 0 else 0
