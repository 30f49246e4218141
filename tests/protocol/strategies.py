"""What hypothesis makes up for the wire: frames, and bytes cut into pieces."""

from __future__ import annotations

from hypothesis import strategies as st

from protocol.frame import Frame

__all__ = ["bodies", "cut", "frames", "pieces"]

INT16 = st.integers(-(2**15), 2**15 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)

bodies = st.binary(max_size=200)
frames = st.builds(Frame, INT16, st.one_of(st.integers(0, 20), INT32), INT32, bodies)
pieces = st.lists(st.integers(1, 50), max_size=40)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return the data in pieces of these sizes, what is left as the last one."""
    found, position = [], 0
    for size in sizes:
        found.append(data[position : position + size])
        position += size
    return [*(piece for piece in found if piece), data[position:]]
