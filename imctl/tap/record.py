"""What a proxy saw, to a pcapng file, as if it had been captured between client and comet."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import BinaryIO

from imctl.decode.traffic import Side
from imctl.pcap import PcapngWriter, Sink, TcpScript
from imctl.tap.seen import Accepted, Finished, Gone, Left, Passed, Refused, TapEvent

__all__ = ["FileThread", "Recorder"]

_MOST_BYTES = 8 * 1024 * 1024


class Recorder:
    """Writes the events of one proxy.

    Args:
        file: Takes whole blocks, so that a tap that was killed leaves a file that can be read.
    """

    def __init__(self, file: Sink) -> None:
        self._writer = PcapngWriter(file, "imctl tap")
        self._scripts: dict[int, TcpScript] = {}
        self._finished: dict[int, set[Side]] = {}

    def take(self, event: TapEvent) -> None:
        """Write an event.

        Raises:
            OSError: the file cannot be written.
        """
        if isinstance(event, Refused):
            return  # its packets went nowhere
        if isinstance(event, Accepted):
            script = self._scripts[event.number] = TcpScript(event.client, event.comet, event.number)
            self._finished[event.number] = set()
            self._writer.add(event.time_ns, script.open())
            return
        found = self._scripts.get(event.number)
        if found is None:
            return
        if isinstance(event, Passed):
            self._writer.add(event.time_ns, found.send(event.data, from_client=event.side is Side.CLIENT))
        elif isinstance(event, Left):
            found.skip(event.size, from_client=event.side is Side.CLIENT)
        elif isinstance(event, Finished):
            self._writer.add(event.time_ns, self._finish(found, event.number, event.side))
        else:
            self._end(found, event)

    def _end(self, script: TcpScript, event: Gone) -> None:
        if event.reset:
            packets = script.reset(from_client=event.side is Side.CLIENT)
        else:
            first = event.side or Side.COMET
            packets = [packet for side in (first, first.other) for packet in self._finish(script, event.number, side)]
        self._writer.add(event.time_ns, packets)
        del self._scripts[event.number], self._finished[event.number]

    def _finish(self, script: TcpScript, number: int, side: Side) -> list[bytes]:
        if side in self._finished[number]:
            return []
        self._finished[number].add(side)
        return script.finish(from_client=side is Side.CLIENT)


class FileThread:
    """A file whose writes do not wait for the disk: a thread makes them; open until close().

    Args:
        file: Unbuffered, so that each write() is one of the system's and all of its blocks are whole.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._put_bytes = 0  # counted by who writes only
        self._done_bytes = 0  # counted by the thread only
        self._error: OSError | None = None
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        # A daemon: a disk that hangs must not keep the process.
        self._thread = threading.Thread(target=self._run, name="tap: write", daemon=True)

    def write(self, data: bytes) -> int:
        """Have data written."""
        if data:
            if not self._put_bytes:
                self._thread.start()
            self._put_bytes += len(data)
            self._queue.put(data)
        return len(data)

    def ready(self) -> bool:
        """Whether more should be written now; the disk may be behind.

        Raises:
            OSError: the file cannot be written.
        """
        if self._error is not None:
            raise self._error
        return self._put_bytes - self._done_bytes < _MOST_BYTES

    def close(self, timeout_s: float) -> None:
        """Wait until all is written.

        Raises:
            OSError: it cannot be, or takes too long.
        """
        if not self._put_bytes:
            return
        self._queue.put(b"")
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise TimeoutError(f"{self._put_bytes - self._done_bytes} bytes were not written within {timeout_s:g} s")

    def _run(self) -> None:
        try:
            while data := self._queue.get():
                view = memoryview(data)
                while view:
                    view = view[self._file.write(view) :]
                self._done_bytes += len(data)
        except OSError as exc:
            self._error = exc
