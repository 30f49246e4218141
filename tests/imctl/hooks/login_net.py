"""Comets and logics that are connected by messages which arrive when, and in the order in which, a test says so.

The nodes are the real ones, without sockets: Sessions and Channel of comets,
HookedSessionHandlers of two logics that share a store. What one sends another
waits in `Net.waiting`; so does what clients are to do, and, with `slow_store`,
each question to the store.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from imctl.comet.channel import Channel
from imctl.comet.config import CometConfig
from imctl.comet.sessions import Sessions
from imctl.hooks.contract import ClientEvent
from imctl.hooks.hooks import Hooks
from imctl.hooks.loader import LoadedHook
from imctl.hooks.login_policy import LoginPolicy
from imctl.link.methods import CONNECT, Method
from imctl.logic.comet_links import CometLinks
from imctl.logic.hooked_sessions import HookedSessionHandlers
from imctl.node import Counters
from imctl.store.memory import MemoryStore
from protocol.bodies import AuthToken
from protocol.decoder import FrameDecoder
from protocol.frame import Frame, pack_frame
from protocol.operation import Operation

__all__ = ["MID", "Client", "Login", "Net"]

MID = 7
_ENOUGH = 30  # turns of the event loop until everybody waits for a message: a question to a hook takes the most


@dataclass(frozen=True)
class Login:
    """A login of the one user there is, and what happens to it at some time."""

    comet: str
    key: str
    leaves: bool = False
    is_refreshed: bool = False


@dataclass
class _Message:
    what: str
    arrive: Callable[[], None]


class _Transport:
    """Has taken everything that is written to it."""

    def __init__(self) -> None:
        self.channel: Channel
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        return {"sslcontext": "all bytes go through write()", "peername": ("127.0.0.1", 1)}.get(name)

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def resume_reading(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.channel.connection_lost, None)

    abort = close


class Client:
    """One connection, from op 7 on."""

    def __init__(self, comet: Sessions, token: AuthToken) -> None:
        self.transport = _Transport()
        self.transport.channel = self.channel = Channel(comet, is_ws=False)
        self.channel.connection_made(cast(asyncio.BaseTransport, self.transport))
        self.channel.data_received(pack_frame(Operation.AUTH, token.serialize(), seq=1))
        self.left = False

    @property
    def is_closed(self) -> bool:
        return self.transport.closed

    @property
    def frames(self) -> list[Frame]:
        decoder = FrameDecoder()
        decoder.feed(self.transport.written)
        return list(iter(decoder.next_frame, None))

    def refresh(self) -> None:
        """Let its comet refresh it, if it is registered."""
        if self.channel.registered:
            self.channel.refresh_at = 0.0
            self.channel.sessions.heartbeat(self.channel)

    def leave(self) -> None:
        self.left = True
        self.transport.close()


class _Pool:
    """Stands for a PeerPool; Any: messages of protobuf."""

    opened = 0
    instances = ()

    def __init__(self, call: Callable[[Method, Any], asyncio.Future[Any]]) -> None:
        self.call = call
        self.peers: Mapping[str, Any] = {}


class _Store(MemoryStore):
    """Remembers which sessions were made, in their order, and lets questions wait."""

    def __init__(self, hop: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self.made: list[int] = []
        self._hop = hop

    async def add(self, mid: int, key: str, server: str, session: int = 0) -> None:
        await self._hop("add")
        self.made.append(session)
        self.add_now(mid, key, server, session)

    async def refresh(self, mid: int, key: str, server: str, session: int = 0) -> None:
        await self._hop("refresh")
        self.refresh_now(mid, key, server, session)

    async def remove(self, mid: int, key: str, server: str, session: int = 0) -> bool:
        await self._hop("remove")
        return self.remove_now(mid, key, server, session)

    async def sessions_by_mid(self, mids: Any) -> dict[int, dict[str, str]]:
        await self._hop("sessions")
        return self.sessions_by_mid_now(mids)


@dataclass
class _Presence:
    """A hook that counts, as docs/hooks.md lets it."""

    connected_ids: Counter[int] = field(default_factory=Counter)
    disconnected_ids: Counter[int] = field(default_factory=Counter)
    reasons: dict[int, str] = field(default_factory=dict)

    async def connected(self, event: ClientEvent) -> None:
        self.connected_ids[event.session] += 1

    async def disconnected(self, event: ClientEvent) -> None:
        self.disconnected_ids[event.session] += 1
        self.reasons[event.session] = event.reason


class Net:
    """Two logics with a policy, and comets.

    Args:
        policy: Asked about each login.
        comets: Their names.
        slow_store: Questions to the store wait too.
    """

    def __init__(self, policy: LoginPolicy, comets: tuple[str, ...] = ("c0", "c1"), *, slow_store: bool = False):
        self.waiting: list[_Message] = []
        self.presence = _Presence()
        self._drops = Counters()
        self.store = _Store(self._hop if slow_store else _no_hop)
        self.comets: dict[str, Sessions] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._turn = 0
        self._logics = [self._logic(policy) for _ in range(2)]
        for name in comets:
            self.start_comet(name)

    def start_comet(self, name: str) -> None:
        """Start a comet; one of this name is dead, with its clients and what was on the way to it and from it."""
        self.waiting = [message for message in self.waiting if not message.what.endswith(f" {name}")]
        pool = _Pool(lambda method, request: self._to_logic(name, method, request))
        self.comets[name] = Sessions(CometConfig(hostname=name), pool)  # type: ignore[arg-type]  # stands for a PeerPool

    def login(self, comet: str, key: str) -> Client:
        return Client(self.comets[comet], AuthToken(mid=MID, key=key, accepts=(1000,)))

    def later(self, what: str, do: Callable[[], None]) -> None:
        """Let something wait for its turn."""
        self.waiting.append(_Message(what, do))

    async def arrive(self, which: int | str) -> None:
        """Let a message arrive, the first whose name begins so, and its receiver do what it does."""
        if isinstance(which, str):
            found = [i for i, message in enumerate(self.waiting) if message.what.startswith(which)]
            assert found, (which, [message.what for message in self.waiting])
            which = found[0]
        self.waiting.pop(which).arrive()
        await self.rest()

    async def arrive_all(self) -> None:
        """Let everything arrive, in the order in which it was sent."""
        await self.rest()
        while self.waiting:
            await self.arrive(0)

    async def rest(self) -> None:
        """Return when everybody waits for a message."""
        for _ in range(_ENOUGH):
            await asyncio.sleep(0)

    @property
    def live(self) -> dict[int, tuple[str, str]]:
        """{session: (key, comet)} of those that pushes reach."""
        return {
            channel.session: (key, name)
            for name, sessions in self.comets.items()
            for key, channel in sessions.hub.channels.items()
        }

    @property
    def stored(self) -> dict[str, str]:
        """{key: comet} of the user, as pushes find it."""
        return self.store.sessions_by_mid_now([MID]).get(MID, {})

    @property
    def drops(self) -> dict[str, int]:
        """Of both logics."""
        return self._drops.nonzero()

    def _logic(self, policy: LoginPolicy) -> HookedSessionHandlers:
        drops = self._drops
        loaded = [
            LoadedHook("logins", "test", ("open_session",), policy),
            LoadedHook("presence", "test", ("connected", "disconnected"), self.presence),
        ]
        links = CometLinks(cast(Any, None), self.store)
        pool = _Pool(lambda method, request: self._to_logic("", method, request))
        pool.peers = _Comets(self)
        links._pool = cast(Any, pool)  # start() would ask a registry
        hooks = Hooks(loaded, timeout_s=3600, drops=drops)
        return HookedSessionHandlers(self.store, 10**15, Counters(), drops, hooks=hooks, comets=links)

    def _to_logic(self, comet: str, method: Method, request: Any) -> asyncio.Future[Any]:
        self._turn += 1
        handlers = self._logics[self._turn % 2].handlers
        return self.send(f"{_name(method)} {comet}", handlers[method], request, reply_waits=method is CONNECT)

    def send(
        self, what: str, handler: Callable[[Any], Any], request: Any, *, reply_waits: bool = False
    ) -> asyncio.Future[Any]:
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def arrived() -> None:
            task = asyncio.ensure_future(_answer(handler, request))
            self._tasks.add(task)
            task.add_done_callback(answered)

        def answered(task: asyncio.Future[Any]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return  # a test has ended before its messages have arrived
            error = task.exception()
            finish = (
                (lambda: reply.set_result(task.result())) if error is None else (lambda: reply.set_exception(error))
            )
            if reply_waits:
                self.later(f"reply to {what}", finish)
            else:
                finish()

        self.later(what, arrived)
        return reply

    async def _hop(self, what: str) -> None:
        passed = asyncio.get_running_loop().create_future()
        self.later(f"store {what}", lambda: passed.set_result(None))
        await passed


class _Comets(Mapping[str, Any]):
    """The peers of a logic: whichever comet has the name when a message arrives."""

    def __init__(self, net: Net) -> None:
        self._net = net

    def __getitem__(self, name: str) -> Any:
        def handle(method: Method, request: Any) -> Any:
            return self._net.comets[name].guards.handlers[method](request)

        def call(method: Method, request: Any) -> asyncio.Future[Any]:
            return self._net.send(f"{_name(method)} to {name}", lambda sent: handle(method, sent), request)

        return _Pool(call)

    def __iter__(self) -> Any:
        return iter(self._net.comets)

    def __len__(self) -> int:
        return len(self._net.comets)


async def _no_hop(what: str) -> None:
    pass


async def _answer(handler: Callable[[Any], Any], request: Any) -> Any:
    reply = handler(request)
    return await reply if asyncio.iscoroutine(reply) else reply


def _name(method: Method) -> str:
    return method.path.rpartition("/")[2].lower()
