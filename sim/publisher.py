"""The publisher process: open-loop pushes through logic's HTTP API.

A process of its own, so that neither a fan-out arriving at a worker nor the
progress display of the parent delays a send. A thread sleeps until each
intended time (an event loop's timers are only good to a millisecond) and
hands what is due to the loop.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from time import monotonic_ns, sleep
from typing import TYPE_CHECKING, Any

from sim.health import HealthMeter
from sim.histogram import Histogram
from sim.ledger import StreamLog
from sim.messages import Begin, Job, Published, PublishProgress
from sim.plan import Plan, make_plan
from sim.process import child_main
from sim.shapes import Send, draw_size, send_times
from sim.stamp import make_body

if TYPE_CHECKING:
    import aiohttp

__all__ = ["PushRun", "main"]

_PROGRESS_S = 0.25
_MAX_OUTSTANDING = 2000  # pushes without an answer; one more is not sent and counted as an error
_MAX_CONNECTIONS = 256
_ANSWER_TIMEOUT_S = 10.0
_NS_PER_S = 1_000_000_000


class PushRun:
    """One pass through the schedule.

    Args:
        plan: The scenario's plan.
        urls: Base URL of each logic; streams are spread over them, each keeps to its own.
        run: Mark of this run's messages.
    """

    def __init__(self, plan: Plan, urls: list[str], *, run: int) -> None:
        scenario = plan.scenario
        self.logs = [StreamLog() for _ in plan.streams]
        self.lag = [Histogram() for _ in scenario.phases]
        self.errors = [0] * len(scenario.phases)
        self.failures: Counter[str] = Counter()
        self.seconds: Counter[int] = Counter()
        self.messages = 0
        self.expected = 0
        self._plan = plan
        self._urls = urls
        self._run = run
        self._t0_ns = 0
        self._targets: dict[tuple[int, int], str] = {}
        self._random = random.Random(f"{scenario.seed}/size")
        self._outstanding: set[asyncio.Task[None]] = set()
        self._due: deque[Send] = deque()
        self._stop = threading.Event()
        self._session: aiohttp.ClientSession

    async def run(self, t0_ns: int) -> None:
        """Send the whole schedule and wait for every answer."""
        import aiohttp

        self._t0_ns = t0_ns
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        pacer = threading.Thread(target=self._pace, args=(loop, over, self._stop), name="pacer", daemon=True)
        connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            self._session = session
            pacer.start()
            try:
                await over
                while self._outstanding:
                    await asyncio.wait(self._outstanding)
            finally:
                self._stop.set()
                for task in self._outstanding:
                    task.cancel()
                await asyncio.gather(*self._outstanding, return_exceptions=True)

    def _pace(self, loop: asyncio.AbstractEventLoop, over: asyncio.Future[None], stop: threading.Event) -> None:
        """Sleep until each intended time, in a thread."""
        scenario = self._plan.scenario
        try:
            for send in send_times(scenario.publish, scenario.phases, scenario.seed):
                if stop.is_set():
                    return
                while (wait_ns := self._t0_ns + send.at_ns - monotonic_ns()) > 0:
                    sleep(min(wait_ns / _NS_PER_S, 0.2))
                    if stop.is_set():
                        return
                self._due.append(send)
                loop.call_soon_threadsafe(self._send_due)
            end_ns = self._t0_ns + round(scenario.duration_s * _NS_PER_S)
            while (wait_ns := end_ns - monotonic_ns()) > 0 and not stop.is_set():
                sleep(min(wait_ns / _NS_PER_S, 0.2))
            loop.call_soon_threadsafe(_end, over)
        except RuntimeError:
            # The loop is closed: the run was stopped.
            return

    def _send_due(self) -> None:
        while self._due and not self._stop.is_set():
            self._send(self._due.popleft())

    def _send(self, send: Send) -> None:
        """Give a message its number and begin its request."""
        publisher = self._plan.scenario.publish[send.publisher]
        streams = self._plan.publishers[send.publisher]
        stream = streams[send.number % len(streams)]
        log = self.logs[stream]
        sequence = len(log)
        intended_ns = self._t0_ns + send.at_ns
        now = monotonic_ns()
        log.phase.append(send.phase)
        log.sent_ns.append(now)
        log.done_ns.append(now)
        log.accepted.append(0)
        self.messages += 1
        self.seconds[send.at_ns // _NS_PER_S] += 1
        self.lag[send.phase].record(now - intended_ns)
        if len(self._outstanding) >= _MAX_OUTSTANDING:
            self._failed(send.phase, f"not sent: {_MAX_OUTSTANDING} pushes wait for an answer")
            return
        size = draw_size(publisher.size_bytes, self._random)
        body = make_body(self._run, stream, sequence, intended_ns, size)
        target = self._targets.get((send.publisher, stream))
        if target is None:
            base = self._urls[stream % len(self._urls)]
            target = self._targets[send.publisher, stream] = base + self._plan.request_target(publisher, stream)
        task = asyncio.get_running_loop().create_task(self._push(target, body, stream, sequence, send.phase))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    async def _push(self, target: str, body: bytes, stream: int, sequence: int, phase: int) -> None:
        import aiohttp
        from yarl import URL

        log = self.logs[stream]
        try:
            async with self._session.post(URL(target, encoded=True), data=body) as response:
                answer = await response.read()
                if response.status != 200:
                    self._failed(phase, f"HTTP status {response.status}")
                elif (code := json.loads(answer).get("code")) != 0:
                    self._failed(phase, f"logic answered code {code}: {json.loads(answer).get('message', '')}"[:120])
                else:
                    log.accepted[sequence] = 1
                    self.expected += self._plan.streams[stream].members
        except TimeoutError:
            self._failed(phase, f"no answer within {_ANSWER_TIMEOUT_S:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError, AttributeError) as exc:
            self._failed(phase, f"{type(exc).__name__}: {exc}"[:120])
        finally:
            log.done_ns[sequence] = monotonic_ns()

    def _failed(self, phase: int, reason: str) -> None:
        self.errors[phase] += 1
        self.failures[reason] += 1


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def publish(messages: AsyncIterator[Any], send: Callable[[object], None]) -> None:
    """Serve one run; returns when the parent closes its end."""
    job: Job = await anext(messages)
    plan = make_plan(job.scenario)
    urls = [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in job.target.http]
    pushes = PushRun(plan, urls, run=job.run)
    health = HealthMeter()
    import aiohttp  # noqa: F401  # before the first phase: importing it takes longer than a send may be late

    send(PublishProgress(0, 0, 0))
    tasks: list[asyncio.Task[None]] = []
    try:
        # The group: a task that fails ends the process, and the parent hears of it.
        async with asyncio.TaskGroup() as group:
            async for message in messages:
                match message:
                    case Begin(t0_ns):
                        health.start()
                        tasks.append(group.create_task(_report(pushes, send), name="progress"))
                        tasks.append(group.create_task(_run(pushes, t0_ns, health, send), name="publish"))
            for task in tasks:
                task.cancel()
    finally:
        await health.stop()


async def _run(pushes: PushRun, t0_ns: int, health: HealthMeter, send: Callable[[object], None]) -> None:
    await pushes.run(t0_ns)
    send(
        Published(
            {stream: log for stream, log in enumerate(pushes.logs) if len(log)},
            pushes.lag,
            pushes.errors,
            dict(pushes.failures),
            dict(pushes.seconds),
            pushes.expected,
            health.read(),
        )
    )


async def _report(pushes: PushRun, send: Callable[[object], None]) -> None:
    while True:
        send(PublishProgress(pushes.messages, sum(pushes.errors), pushes.expected))
        await asyncio.sleep(_PROGRESS_S)


def main() -> None:
    """Run as `python -m sim.publisher`."""
    child_main(publish)


if __name__ == "__main__":
    main()
