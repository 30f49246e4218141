"""One supervised process of a cluster: `python -m imctl.cluster.child NAME PARENT_PID`.

Spoken to in JSON lines: the first on stdin is its ProcessSpec, then requests
`{"id", "cmd": "start"|"stats"|"trace"|"stop", ...}`; on stdout `{"event": "loaded"}`
once everything is imported (so that many processes can import at the same
time and start in order) or `{"event": "failed", "error"}`, then a reply `{"id", "ok", "result"|"error"}` for
each request. stderr carries log lines.

It never outlives its parent: EOF on stdin ends it, and so does the kernel
(PR_SET_PDEATHSIG), even while it is stopped. It ignores Ctrl-C, which the
terminal sends to everybody: the supervisor decides.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from typing import Any

from imctl.cluster.control import MAX_LINE_BYTES, dump_error
from imctl.cluster.logs import LOG_FORMAT, LOG_TIME
from imctl.cluster.parent import die_with_parent
from imctl.errors import ImctlError
from protocol.aio.open_files import raise_open_files

__all__ = ["main"]

log = logging.getLogger(__name__)


class _Child:
    """Carries requests to the assembly of nodes in this process."""

    def __init__(self, out_fd: int) -> None:
        self._out_fd = out_fd
        self._ended: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._assembly: Any = None  # Any: its module is imported late, see run()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serve until a stop request, SIGTERM, or EOF."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end, 5.0)
        requests = asyncio.create_task(self._requests(reader), name="requests")
        requests.add_done_callback(self._requests_done)
        grace_s = await self._ended
        if grace_s is None:  # nobody to drain for
            logging.shutdown()
            os._exit(1)
        requests.cancel()
        await asyncio.gather(requests, return_exceptions=True)
        if self._assembly is not None:
            await self._assembly.stop(grace_s)

    async def _requests(self, reader: asyncio.StreamReader) -> None:
        first = await reader.readline()
        if not first:
            return
        # Late, so that a process that is told to be a comet never pays for what a logic needs.
        from imctl.cluster.assemble import Assembly
        from imctl.cluster.spec import ProcessSpec

        try:
            self._assembly = Assembly(ProcessSpec.load(json.loads(first)))
        except Exception as exc:
            log.exception("cannot load")
            self._say({"event": "failed", "error": dump_error(exc)})
            return
        self._say({"event": "loaded"})
        while line := await reader.readline():
            request = json.loads(line)
            reply: dict[str, Any] = {"id": request["id"], "ok": True}
            try:
                reply["result"] = await self._handle(request)
            except Exception as exc:
                log.error("%s: %s", request["cmd"], exc, exc_info=not isinstance(exc, ImctlError))
                reply |= {"ok": False, "error": dump_error(exc)}
            self._say(reply)

    def _requests_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("the supervisor cannot be understood", exc_info=task.exception())
        self._end(None)

    async def _handle(self, request: dict[str, Any]) -> Any:
        match request["cmd"]:
            case "start":
                await self._assembly.start(request.get("registry"))
                # What is there now stays: the collector need not look at it again.
                gc.collect()
                gc.freeze()
                # A node's objects are connections and sessions, which live long and seldom end in cycles:
                # looking at all of them stops the loop for tens of milliseconds, so it is to be rare.
                gc.set_threshold(50_000, 20, 100)
                return {"addresses": self._assembly.addresses, "persistent": self._assembly.persistent}
            case "stats":
                return self._assembly.stats()
            case "trace":
                return self._assembly.traces(int(request.get("trace", 0)), int(request.get("after_ns", 0)))
            case "stop":
                self._end(float(request.get("grace_s", 5.0)))
                return None
            case other:
                raise ValueError(f"unknown request {other!r}")

    def _end(self, grace_s: float | None) -> None:
        if not self._ended.done():
            self._ended.set_result(grace_s)

    def _say(self, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode() + b"\n"
        while data:
            data = data[os.write(self._out_fd, data) :]


async def _serve(out_fd: int) -> None:
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(0), "rb", buffering=0)
    )
    try:
        await _Child(out_fd).run(reader)
    finally:
        transport.close()


def main() -> None:
    """Be the child process."""
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_open_files()
    # Nothing but replies may come out of the pipe to the supervisor: whatever else
    # prints to descriptor 1 goes where the log goes.
    out_fd = os.dup(1)
    os.dup2(2, 1)
    logging.basicConfig(
        level=os.environ.get("IMCTL_LOG", "INFO").upper(), format=LOG_FORMAT, datefmt=LOG_TIME, stream=sys.stderr
    )
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(out_fd))
    else:
        uvloop.run(_serve(out_fd))


if __name__ == "__main__":
    main()
