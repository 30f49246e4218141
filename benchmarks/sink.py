"""A process that connects many clients and throws away what they receive.

`python -m benchmarks.sink HOST PORT COUNT MODE`: MODE is raw (nothing is
sent), tcp or ws (authenticate as goim clients of room live://1). Prints one
line, `ready N`, when all are in, and ends when its stdin does. Written for
least CPU: the clients must not be what is measured.
"""

from __future__ import annotations

import os
import select
import socket
import sys

from benchmarks.measure import open_files
from protocol.bodies import AuthToken
from protocol.frame import pack_frame
from protocol.websocket import ClientUpgrade, serialize_message

__all__ = ["main"]

_READ_BYTES = 65536


def main() -> None:
    """Connect, then read until the parent closes stdin."""
    host, port, count, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    room = sys.argv[5] if len(sys.argv) > 5 else "live://1"
    open_files()
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for number in range(count):
        one = _connect(host, port, mode, room, number)
        one.setblocking(False)
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
    poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    sys.stdout.write(f"ready {count}\n")
    sys.stdout.flush()
    buffer = bytearray(_READ_BYTES)
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                if not os.read(0, 1):
                    return
                continue
            if not sockets[fd].recv_into(buffer):
                poll.unregister(fd)


def _connect(host: str, port: int, mode: str, room: str, number: int) -> socket.socket:
    one = socket.create_connection((host, port))
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if mode == "raw":
        return one
    auth = pack_frame(7, AuthToken(number + 1, f"{room}-{number}", room, "bench", (1000,)).serialize())
    if mode == "ws":
        upgrade = ClientUpgrade(f"{host}:{port}", number.to_bytes(16, "big"))
        one.sendall(upgrade.request)
        while upgrade.feed(one.recv(4096)) is None:
            pass
        one.sendall(serialize_message(auth, mask=b"\0\0\0\0"))
        one.recv(18, socket.MSG_WAITALL)
        return one
    one.sendall(auth)
    one.recv(16, socket.MSG_WAITALL)
    return one


if __name__ == "__main__":
    main()
