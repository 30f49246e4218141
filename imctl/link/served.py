"""The serving end of one batched stream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from imctl.errors import ImctlError
from imctl.link.contract import Handlers, PeerError
from imctl.link.limits import MAX_IN_FLIGHT, MAX_MESSAGE_BYTES, OUTBOX_BYTES
from imctl.link.methods import BY_NUMBER, Method
from imctl.link.outbox import Outbox
from imctl.link.waiting import INTERNAL, RESOURCE_EXHAUSTED, UNAVAILABLE, UNKNOWN

__all__ = ["LinkCounts", "ServedStream", "text_of"]

logger = logging.getLogger(__name__)

_UNIMPLEMENTED = 12


class LinkCounts:
    """What all calls of a server have come to, those of streams and unary ones; plain ints."""

    __slots__ = (
        "bad_calls",
        "batches",
        "calls",
        "errors",
        "in_flight",
        "refused",
        "reply_batches",
        "unary_calls",
        "unary_errors",
    )

    def __init__(self) -> None:
        self.calls = 0
        self.batches = 0
        self.reply_batches = 0
        self.in_flight = 0
        self.errors = 0
        self.refused = 0
        self.unary_calls = 0
        self.unary_errors = 0
        self.bad_calls = 0


def text_of(error: BaseException, method: Method) -> str:
    """Return what the caller is told of an exception of a handler, and log one that nobody planned."""
    if not isinstance(error, ImctlError):
        logger.error("handler of %s failed", method.path, exc_info=error)
    return str(error)


class ServedStream:
    """Reads batches of calls, runs their handlers, writes batches of replies.

    Handlers start in the order of the calls. A reply that is there at once
    goes into the outbox in that order; the others follow as they finish, from
    one task each. A caller that does not read its replies is not read from.
    When the stream breaks, handlers at work go on, as in a Go server: what
    they have begun (a session, a bus record) is better finished than halved.
    """

    def __init__(self, handlers: Handlers, counts: LinkCounts) -> None:
        self._handlers = {
            method.number: (handler, method.request.FromString, method.reply, method)
            for method, handler in handlers.items()
        }
        self._counts = counts
        self._outbox = Outbox()
        self._at_work: set[asyncio.Future[Any]] = set()
        self._ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open = True

    async def serve(self, context: Any) -> None:
        """Serve until the caller ends the stream, it breaks, or finish() is called."""
        # The caller takes it as the sign that it is connected.
        await context.send_initial_metadata(())
        loop = asyncio.get_running_loop()
        reader = loop.create_task(self._read(context), name="link reader")
        writer = loop.create_task(self._write(context), name="link writer")
        try:
            await asyncio.wait((reader, writer, self._ending), return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and isinstance(reader.exception(), DecodeError):
                self._counts.errors += 1
                self._counts.bad_calls += 1
                await context.abort(grpc.StatusCode.INTERNAL, f"not a batch of calls: {reader.exception()}")
            if self._ending.done():
                await _end(reader)
                if self._at_work:
                    await asyncio.wait(self._at_work)
                await self._outbox.below(0, 0)
        finally:
            self._open = False
            self._outbox.clear()
            await _end(reader)
            await _end(writer)
            if not self._ended.done():
                self._ended.set_result(None)

    async def finish(self, grace_s: float) -> None:
        """Read no more calls, answer those at work for at most `grace_s`, and end the stream."""
        if not self._ending.done():
            self._ending.set_result(None)
        await asyncio.wait((self._ended,), timeout=grace_s)
        for task in self._at_work:
            task.cancel()
        if self._at_work:
            await asyncio.wait(self._at_work)

    async def _read(self, context: Any) -> None:
        while (batch := await context.read()) is not grpc.aio.EOF:
            self._counts.batches += 1
            self._take_calls(batch)
            if self._outbox.waiting_bytes > OUTBOX_BYTES or self._outbox.waiting > MAX_IN_FLIGHT:
                await self._outbox.below(MAX_IN_FLIGHT // 2, OUTBOX_BYTES // 2)

    async def _write(self, context: Any) -> None:
        while True:
            batch = await self._outbox.take()
            self._counts.reply_batches += 1
            await context.write(batch)

    def _take_calls(self, batch: Any) -> None:
        handlers, outbox = self._handlers, self._outbox
        self._counts.calls += len(batch.calls)
        for call in batch.calls:
            call_id = call.id
            served = handlers.get(call.method)
            if served is None:
                self._counts.bad_calls += 1
                self._fail(call_id, _UNIMPLEMENTED, _unknown(call.method))
                continue
            handler, parse, reply_class, method = served
            try:
                reply: Any = handler(parse(call.request))
            except PeerError as exc:
                self._fail(call_id, exc.code, exc.details)
            except DecodeError as exc:
                self._counts.bad_calls += 1
                self._fail(call_id, INTERNAL, f"error unmarshalling request: {exc}")
            except Exception as exc:
                self._fail(call_id, UNKNOWN, text_of(exc, method))
            else:
                if type(reply) is not reply_class:
                    self._answer_later(call_id, method, reply)
                    continue
                data = reply.SerializeToString()
                if len(data) > MAX_MESSAGE_BYTES:
                    self._fail(call_id, RESOURCE_EXHAUSTED, _too_long(data))
                else:
                    outbox.add_reply(call_id, data)

    def _answer_later(self, call_id: int, method: Method, awaitable: Any) -> None:
        if len(self._at_work) >= MAX_IN_FLIGHT:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()
            self._counts.refused += 1
            self._fail(call_id, RESOURCE_EXHAUSTED, f"{MAX_IN_FLIGHT} calls of this link are at work")
            return
        task = asyncio.ensure_future(awaitable)
        self._at_work.add(task)
        self._counts.in_flight += 1
        task.add_done_callback(partial(self._answer, call_id, method))

    def _answer(self, call_id: int, method: Method, task: asyncio.Future[Any]) -> None:
        self._at_work.discard(task)
        self._counts.in_flight -= 1
        error = None if task.cancelled() else task.exception()
        if not self._open:
            return
        if task.cancelled():
            self._fail(call_id, UNAVAILABLE, "the node is stopping")
        elif error is None:
            data = task.result().SerializeToString()
            if len(data) > MAX_MESSAGE_BYTES:
                self._fail(call_id, RESOURCE_EXHAUSTED, _too_long(data))
            else:
                self._outbox.add_reply(call_id, data)
        elif isinstance(error, PeerError):
            self._fail(call_id, error.code, error.details)
        else:
            self._fail(call_id, UNKNOWN, text_of(error, method))

    def _fail(self, call_id: int, code: int, details: str) -> None:
        self._counts.errors += 1
        self._outbox.add_error(call_id, code, details)


def _unknown(method_number: int) -> str:
    method = BY_NUMBER.get(method_number)
    return f"unknown method {method.path if method is not None else method_number}"


def _too_long(data: bytes) -> str:
    return f"reply of {len(data)} bytes is over the limit of {MAX_MESSAGE_BYTES} bytes"


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a reader or writer and take what it ended with: a broken stream is ordinary."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
