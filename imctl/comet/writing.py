"""How long comet writes a message that is followed, and to how many clients."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns

from imctl.node import Counters
from imctl.trace import TraceLog
from protocol.trace import Place

__all__ = ["Writing"]

_MISSED = ("comet.slow_client", "comet.client_gone", "comet.unknown_key")


class Writing:
    """From the moment at which a call was read to its last write; made before the first.

    Args:
        traces: Which messages.
        messages: How many are written together.
        log: Where end() notes it.
        counters: The comet's; what `delivered` goes up by in between are these messages' clients.
        drops: The comet's.
    """

    __slots__ = ("_before", "_clients", "_counters", "_drops", "_log", "_messages", "_missed", "_traces", "began_ns")

    def __init__(
        self, traces: Sequence[int], messages: int, log: TraceLog, counters: Counters, drops: Counters
    ) -> None:
        self.began_ns = monotonic_ns()
        self._traces = tuple(traces)
        self._messages = max(messages, 1)
        self._log = log
        self._counters = counters
        self._drops = drops
        self._clients = 0
        self._missed = 0
        self._before: tuple[int, int] | None = self._counted()

    def pause(self) -> None:
        """Count nothing until resume(): what is written meanwhile is not its own."""
        if self._before is not None:
            (clients, missed), (clients_before, missed_before) = self._counted(), self._before
            self._clients += clients - clients_before
            self._missed += missed - missed_before
            self._before = None

    def resume(self) -> None:
        """Count from here on."""
        self._before = self._counted()

    def end(self) -> None:
        """Note how it went."""
        self.pause()
        self._log.add(
            self._traces,
            Place.WRITTEN,
            server=self._log.node,
            began_ns=self.began_ns,
            clients=self._clients // self._messages,
            missed=self._missed // self._messages,
            messages=self._messages,
        )

    def _counted(self) -> tuple[int, int]:
        drops = self._drops.values
        missed = sum(drops.get(reason, 0) for reason in _MISSED)
        return self._counters.values.get("delivered", 0), missed
