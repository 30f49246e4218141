"""The direct way from logic to comets, for hooks; pushes go over the bus."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from imctl.hooks.context import Delivery, Message
from imctl.link.contract import PeerError
from imctl.link.methods import DELIVER, KICK, PUSH_MSG
from imctl.link.pool import PeerPool
from imctl.ratelog import LimitedLogger
from imctl.registry.contract import Registry
from imctl.store.contract import SessionStore
from protocol.frame import pack_frame
from protocol.operation import Operation
from protocol.pb import comet, protocol, session

__all__ = ["CometLinks"]

_RESULTS = {
    session.DeliverReply.TAKEN: Delivery.TAKEN,
    session.DeliverReply.FULL: Delivery.FULL,
    session.DeliverReply.UNKNOWN: Delivery.UNKNOWN,
}
_TIMEOUT_S = 2.0


class CometLinks:
    """Links to all comets; follows imctl.hooks.context.Deliverer.

    Args:
        registry: Where comets are registered.
        store: Who knows where users are.
    """

    def __init__(self, registry: Registry, store: SessionStore) -> None:
        self._registry = registry
        self._store = store
        self._pool: PeerPool | None = None
        self._log = LimitedLogger(logging.getLogger(__name__))

    def start(self) -> None:
        """Begin to watch the comets; needs a running event loop."""
        self._pool = PeerPool(self._registry, "goim.comet", timeout_s=_TIMEOUT_S)

    async def close(self) -> None:
        """Close the links; safe to call twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    def is_ours(self, server: str) -> bool:
        """Whether a comet is of this project; one that the registry has not named yet is taken for it."""
        instances = self._pool.instances if self._pool is not None else ()
        return all(i.metadata.get("imctl.link") == "1" for i in instances if i.hostname == server)

    async def deliver(self, server: str, key: str, messages: Sequence[Message], *, mid: int = 0) -> Delivery:
        """See Deliverer.deliver; a Go comet filters by the first operation, and never says FULL or UNKNOWN."""
        peer = self._pool.peers.get(server) if self._pool is not None else None
        if peer is None:
            return Delivery.UNREACHABLE
        try:
            if self.is_ours(server):
                wanted = [session.Message(op=m.operation, body=m.body, seq=m.seq) for m in messages]
                reply = await peer.call(DELIVER, session.DeliverReq(key=key, messages=wanted, mid=mid))
                return _RESULTS[reply.result]
            if messages:
                await peer.call(PUSH_MSG, _push(key, messages))
        except PeerError as exc:
            self._log.info("comet %s did not take %d messages: %s", server, len(messages), exc.details)
            return Delivery.UNREACHABLE
        return Delivery.TAKEN

    async def find(self, server: str, key: str, *, mid: int = 0) -> tuple[Delivery, int]:
        """See Deliverer.find."""
        peer = self._pool.peers.get(server) if self._pool is not None else None
        if peer is None:
            return Delivery.UNREACHABLE, 0
        if not self.is_ours(server):
            return Delivery.TAKEN, 0
        try:
            reply = await peer.call(DELIVER, session.DeliverReq(key=key, mid=mid))
        except PeerError as exc:
            self._log.info("comet %s did not say whether it has a connection: %s", server, exc.details)
            return Delivery.UNREACHABLE, 0
        return _RESULTS[reply.result], reply.session

    async def sessions(self, mids: Sequence[int]) -> Mapping[int, Mapping[str, str]]:
        """See Deliverer.sessions."""
        return await self._store.sessions_by_mid(mids)

    async def kick(self, server: str, keys: Sequence[str], reason: str, *, sessions: Sequence[int] = ()) -> bool:
        """See Deliverer.kick."""
        peer = self._pool.peers.get(server) if self._pool is not None else None
        if peer is None:
            return False
        try:
            await peer.call(KICK, session.KickReq(keys=keys, reason=reason, sessions=sessions))
        except PeerError as exc:
            self._log.info("comet %s did not close %d connections: %s", server, len(keys), exc.details)
            return False
        return True


def _push(key: str, messages: Sequence[Message]) -> comet.PushMsgReq:
    """Return goim's push of a container, which is how several frames go in one."""
    frames = b"".join(pack_frame(m.operation, m.body, seq=m.seq) for m in messages)
    proto = protocol.Proto(ver=1, op=Operation.RAW, body=frames)
    return comet.PushMsgReq(keys=[key], protoOp=messages[0].operation, proto=proto)
