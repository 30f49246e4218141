"""All loaded hooks as logic asks them: in which order, and what a failure means.

Every question has one time limit for all hooks together. A failure is logged
at a bounded rate and counted as a drop of the node, `hooks.NAME.REASON`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from imctl.errors import StartError
from imctl.hooks.caller import HookFailedError, Point
from imctl.hooks.context import HookContext
from imctl.hooks.contract import (
    POINTS,
    Action,
    ClientEvent,
    ConnectEvent,
    HookError,
    Identity,
    PushEvent,
    ReceiveEvent,
    ReceiveReply,
    Refusal,
    RoomEvent,
    RoomReply,
    SessionEvent,
    SessionReply,
    StoreReply,
)
from imctl.hooks.loader import LoadedHook
from imctl.hooks.notices import Notices
from imctl.hooks.threads import Threads
from imctl.node import Counters
from imctl.ratelog import LimitedLogger

__all__ = ["MAX_GRANT_BYTES", "HookStats", "Hooks"]

MAX_GRANT_BYTES = 4096

HookStats = dict[str, Any]
"""JSON-ready: {"name", "source", "points": {method: {"calls", "failed", "timeouts", "under_way", "mean_us",
"max_us"}}}. Any: counts and times of several kinds."""

_P = TypeVar("_P")

_START_S = 30.0
_STOP_S = 5.0


class Hooks:
    """The hooks of one logic.

    Args:
        loaded: In the order they are asked.
        timeout_s: For one question, all hooks together.
        drops: Where failures and refusals are counted.
    """

    def __init__(self, loaded: Sequence[LoadedHook], *, timeout_s: float, drops: Counters) -> None:
        self._loaded = loaded
        self._timeout_s = timeout_s
        self._drops = drops
        self._log = LimitedLogger(logging.getLogger(__name__))
        self._threads = {hook.name: Threads(hook.name) for hook in loaded}
        self._points: dict[str, list[tuple[LoadedHook, Point[Any]]]] = {method: [] for method in POINTS}
        for hook in loaded:
            for method in hook.points:
                name = f"{hook.name}.{method}"
                point: Point[Any] = Point(name, getattr(hook.hook, method), POINTS[method], self._threads[hook.name])
                self._points[method].append((hook, point))
        self._notices = {
            hook.name: Notices(partial(self._tell, hook), drops, f"hooks.{hook.name}.notices_full") for hook in loaded
        }
        self._started: list[LoadedHook] = []

    def provider(self, kind: type[_P]) -> _P | None:
        """Return the first hook that follows a runtime-checkable Protocol, for what else it offers."""
        return next((hook.hook for hook in self._loaded if isinstance(hook.hook, kind)), None)

    def has(self, method: str) -> bool:
        """Whether some hook has this point."""
        return bool(self._points[method])

    async def start(self, context: Callable[[str], HookContext]) -> None:
        """Start every hook that wants to be started.

        Args:
            context: Makes the context of a hook, by its name.

        Raises:
            StartError: a hook could not start, or not within 30 s.
        """
        for hook in self._loaded:
            if callable(getattr(hook.hook, "start", None)):
                try:
                    await self._once(hook, "start", _START_S, context(hook.name))
                except HookFailedError as exc:
                    hint = exc.__cause__.hint if isinstance(exc.__cause__, HookError) else ""
                    raise StartError(f"hook {hook.name} ({hook.source}) cannot start: {exc.detail}", hint=hint) from exc
            self._started.append(hook)

    async def stop(self) -> None:
        """Tell what is still to be told, then stop every hook that was started; safe to call twice."""
        await asyncio.gather(*(notices.close() for notices in self._notices.values()))
        started, self._started = self._started, []
        for hook in reversed(started):
            if callable(getattr(hook.hook, "stop", None)):
                try:
                    await self._once(hook, "stop", _STOP_S)
                except HookFailedError as exc:
                    logging.getLogger(__name__).error(
                        "hook %s could not stop: %s", hook.name, exc.detail, exc_info=exc.__cause__
                    )
        for threads in self._threads.values():
            threads.close()

    def stats(self) -> list[HookStats]:
        """Return what is loaded, from where, and what its calls came to."""
        points: dict[str, dict[str, Any]] = {hook.name: {} for hook in self._loaded}
        for method, asked in self._points.items():
            for hook, point in asked:
                stats = point.stats
                points[hook.name][method] = {
                    "calls": stats.calls,
                    "failed": stats.failed,
                    "timeouts": stats.timeouts,
                    "under_way": stats.under_way,
                    "mean_us": round(stats.total_ns / stats.calls / 1e3, 1) if stats.calls else 0.0,
                    "max_us": round(stats.longest_ns / 1e3, 1),
                }
        return [{"name": hook.name, "source": hook.source, "points": points[hook.name]} for hook in self._loaded]

    def deadline_s(self) -> float:
        """Return until when hooks may take for a question that begins now, in the loop's time."""
        return asyncio.get_running_loop().time() + self._timeout_s

    async def _once(self, hook: LoadedHook, method: str, limit_s: float, *args: object) -> None:
        """Call a method that is no point of its own, with the same care as one.

        Raises:
            HookFailedError: it raised, or did not end within `limit_s`.
        """
        function = getattr(hook.hook, method)

        async def call(_: object) -> object:
            return await function(*args)

        point: Point[object] = Point(f"{hook.name}.{method}", call, object, self._threads[hook.name])
        await point.call(None, asyncio.get_running_loop().time() + limit_s)

    # --- questions ----------------------------------------------------------

    async def authenticate(self, event: ConnectEvent, deadline_s: float) -> Identity | Refusal:
        """Return the first answer that is not None; a hook that fails refuses. Only when there is an authenticator."""
        for hook, point in self._points["authenticate"]:
            try:
                reply: Identity | Refusal | None = await point.call(event, deadline_s)
            except HookFailedError as exc:
                return Refusal(self._failed(hook, exc), exc.detail)
            if isinstance(reply, Identity) and len(reply.grant) > MAX_GRANT_BYTES:
                detail = f"grant of {len(reply.grant)} bytes; expected at most {MAX_GRANT_BYTES}"
                return Refusal(self._failed(hook, HookFailedError(point.name, "wrong_type", detail)), detail)
            if isinstance(reply, Refusal):
                self._drops.add(f"hooks.{hook.name}.{reply.reason}")
                return reply
            if reply is not None:
                return reply
        return Refusal("no_authenticator", "no authenticator knows this token")

    async def enter_room(self, event: RoomEvent, deadline_s: float) -> RoomReply:
        """Return whether every policy allows it, and the shortest time after which one wants to be asked again."""
        again_s = 0.0
        for hook, point in self._points["enter_room"]:
            try:
                reply: RoomReply = await point.call(event, deadline_s)
            except HookFailedError as exc:
                return RoomReply(False, self._failed(hook, exc))
            if not reply.allow:
                self._drops.add(f"hooks.{hook.name}.room_refused")
                return reply
            if reply.again_s > 0:
                again_s = min(again_s or reply.again_s, reply.again_s)
        return RoomReply(True, again_s=again_s)

    async def open_session(self, event: SessionEvent, deadline_s: float) -> SessionReply:
        """Return the policy's answer, ACCEPT when there is none; one that fails rejects."""
        for hook, point in self._points["open_session"]:
            try:
                reply: SessionReply = await point.call(event, deadline_s)
            except HookFailedError as exc:
                return SessionReply(Action.REJECT, reason=self._failed(hook, exc))
            if reply.action is Action.REJECT:
                self._drops.add(f"hooks.{hook.name}.session_rejected")
            return reply
        return SessionReply()

    async def store_message(self, event: PushEvent) -> frozenset[int]:
        """Let every store keep a push; return the users who are served by one of them.

        Raises:
            HookFailedError: a store could not; its detail is for the publisher.
        """
        deadline_s = self.deadline_s()
        handled: frozenset[int] = frozenset()
        for hook, point in self._points["store_message"]:
            try:
                reply: StoreReply = await point.call(event, deadline_s)
            except HookFailedError as exc:
                self._failed(hook, exc)
                raise
            handled |= reply.handled
        return handled

    async def receive(self, event: ReceiveEvent) -> bool:
        """Offer a client's message to the receivers; return whether one has handled it."""
        deadline_s = self.deadline_s()
        for hook, point in self._points["receive"]:
            try:
                reply: ReceiveReply = await point.call(event, deadline_s)
            except HookFailedError as exc:
                self._failed(hook, exc)
                continue
            if reply.handled:
                return True
        return False

    # --- notifications --------------------------------------------------------

    def tell(self, method: str, event: ClientEvent) -> None:
        """Tell of an event, in the background; those of one connection are told in their order."""
        for hook, point in self._points[method]:
            self._notices[hook.name].put(point, event)

    async def _tell(self, hook: LoadedHook, point: Point[None], event: ClientEvent) -> None:
        try:
            await point.call(event, self.deadline_s())
        except HookFailedError as exc:
            self._failed(hook, exc)

    def _failed(self, hook: LoadedHook, exc: HookFailedError) -> str:
        """Count and log a failure; return its reason."""
        self._drops.add(f"hooks.{hook.name}.{exc.reason}")
        self._log.info("%s", exc)
        return exc.reason
