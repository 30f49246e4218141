"""How many clients were in, second by second, of what workers tell while a run goes on."""

from __future__ import annotations

__all__ = ["AliveSeconds"]


class AliveSeconds:
    """The fewest clients that were in, of each second.

    The fewest and not the last: clients that are cut off are often back before
    the second is over.

    Attributes:
        fewest: By second of the run; a second in which nobody told anything is left out.
    """

    def __init__(self) -> None:
        self.fewest: dict[int, int] = {}
        self._alive: dict[str, int] = {}

    def tell(self, worker: str, alive: int, *, second: int, workers: int) -> None:
        """Take what a worker tells.

        Args:
            worker: Its name.
            alive: Its clients that are in.
            second: Of the run, in which it told; below 0 before the first phase, which is passed over: clients were
                still connecting.
            workers: How many there are. Nothing is counted before each of them has told something.
        """
        if second < 0:
            return
        self._alive[worker] = alive
        if len(self._alive) < workers:
            return
        total = sum(self._alive.values())
        self.fewest[second] = min(self.fewest.get(second, total), total)
