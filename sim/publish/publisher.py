"""The publisher process: pushes through logic's HTTP API.

A process of its own, so that neither a fan-out arriving at a worker nor the
progress display of the parent delays a send. Of open loops, a thread sleeps until each
intended time (an event loop's timers are only good to a millisecond) and
hands what is due to the loop. Closed loops are tasks of their own; their
messages have no intended time, and are stamped with that of sending.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from http import HTTPStatus
from time import monotonic_ns, sleep
from typing import Any

from protocol.trace import TRACE_HEADER, dump_trace_id
from sim.clients.plan import Plan, make_plan
from sim.failures import failure_text, on_one_line
from sim.measure.histogram import Histogram
from sim.measure.ledger import StreamLog
from sim.measure.segments import segments_of
from sim.publish.composer import Composer, Draft
from sim.publish.http_pool import Answer, HttpPool
from sim.publish.sampling import TraceSampler
from sim.publish.stamp import make_body, sign_body
from sim.publish.virtual import VirtualPublishers, count_virtual
from sim.run.health import HealthMeter
from sim.run.messages import Begin, Job, Published, PublishProgress, Seen, Stop
from sim.run.process import child_main
from sim.scenario.shapes import Send, send_times

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
        logics: Each logic's HTTP API, as (host, port); streams are spread over them, each keeps to its own.
        run: Mark of this run's messages.
    """

    def __init__(self, plan: Plan, logics: Sequence[tuple[str, int]], *, run: int) -> None:
        scenario = plan.scenario
        self.segments = segments_of(scenario)
        self.logs = [StreamLog() for _ in plan.streams]
        # By publisher and segment.
        self.lag: dict[tuple[int, int], Histogram] = {}
        self.sent: Counter[tuple[int, int]] = Counter()
        self.errors: Counter[tuple[int, int]] = Counter()
        self.failures: Counter[str] = Counter()
        self._refusals: dict[str, str] = {}
        self.seconds: Counter[int] = Counter()
        self.messages = 0
        self.expected = 0
        self.sampler = TraceSampler(scenario, run)
        self._plan = plan
        self._run = run
        self._t0_ns = 0
        self._targets: dict[tuple[int, int], str] = {}  # by publisher and stream
        self._composers = [Composer(plan, index) for index in range(len(scenario.publish))]
        self._random = [random.Random(f"{scenario.seed}/body/{index}") for index in range(len(scenario.publish))]
        self._virtual = VirtualPublishers(plan, self._composers, self._push_now, self._note)
        self._max_virtual = count_virtual(plan)
        # A virtual publisher has a connection of its own: one that waits for it would be late and not know it.
        limit = _MAX_CONNECTIONS + self._max_virtual
        self._pools = [HttpPool(*logic, limit=limit, timeout_s=_ANSWER_TIMEOUT_S) for logic in logics]
        self._outstanding: set[asyncio.Task[bool]] = set()
        self._due: deque[Send] = deque()
        self._stop = threading.Event()
        self._over: asyncio.Future[None] | None = None

    async def run(self, t0_ns: int) -> None:
        """Send the whole schedule and wait for every answer."""
        self._t0_ns = t0_ns
        loop = asyncio.get_running_loop()
        over = self._over = loop.create_future()
        pacer = threading.Thread(target=self._pace, args=(loop, over, self._stop), name="pacer", daemon=True)
        pacer.start()
        self._virtual.start(t0_ns)
        try:
            await self._until(over)
            while self._outstanding:
                await asyncio.wait(self._outstanding)
        finally:
            self._stop.set()
            tasks = [*self._virtual.tasks, *self._outstanding]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for pool in self._pools:
                await pool.close()

    async def _until(self, over: asyncio.Future[None]) -> None:
        """Wait for the end of the schedule and end the closed loops; raise what one of them raises."""
        virtual = self._virtual.tasks
        waiting: set[asyncio.Future[None]] = {over, *virtual}
        while not over.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        for task in virtual:
            task.cancel()
        await asyncio.wait([over, *virtual])

    def seen(self, message: Seen) -> None:
        """Take word of messages that clients have read."""
        self._virtual.seen(message.places)

    def stop(self) -> None:
        """Send nothing more; run() returns when what was sent has been answered."""
        self._stop.set()
        if self._over is not None:
            _end(self._over)

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
        """Begin a message of the schedule."""
        draft = self._composers[send.publisher].compose(send.number, self._random[send.publisher])
        if draft is None:
            return  # the rows of its feed are used up
        now = monotonic_ns()
        intended_ns, trace = self.sampler.choose(send.publisher, send.at_ns, self._t0_ns)
        place = send.publisher, self.segments.at(intended_ns - self._t0_ns)
        if place not in self.lag:
            self.lag[place] = Histogram()
        self.lag[place].record(now - intended_ns)
        sequence = self._log(draft, place, now, intended_ns)
        if len(self._outstanding) >= _MAX_OUTSTANDING + self._max_virtual:
            self._failed(place, f"not sent: {_MAX_OUTSTANDING} pushes wait for an answer")
            return
        self._begin(draft, sequence, place, intended_ns, trace)

    def _push_now(self, draft: Draft) -> tuple[int, asyncio.Task[bool]]:
        """Begin a message of a closed loop."""
        now = monotonic_ns()
        intended_ns, trace = self.sampler.choose(draft.publisher, now - self._t0_ns, self._t0_ns)
        place = draft.publisher, self.segments.at(intended_ns - self._t0_ns)
        sequence = self._log(draft, place, now, intended_ns)
        return sequence, self._begin(draft, sequence, place, intended_ns, trace)

    def _log(self, draft: Draft, place: tuple[int, int], now: int, intended_ns: int) -> int:
        """Give a message its number in its stream, and return it."""
        log = self.logs[draft.stream]
        # One of an open loop that is late comes after one of a closed loop that had no earlier time to be meant for.
        log.phase.append(max(place[1], log.phase[-1]) if log.phase else place[1])
        log.sent_ns.append(now)
        log.done_ns.append(now)
        log.accepted.append(0)
        self.messages += 1
        self.seconds[(intended_ns - self._t0_ns) // _NS_PER_S] += 1
        self.sent[place] += 1
        return len(log) - 1

    def _begin(
        self, draft: Draft, sequence: int, place: tuple[int, int], intended_ns: int, trace: int
    ) -> asyncio.Task[bool]:
        """Begin the request of a message; `trace` is its id when it is followed, else 0."""
        publisher, stream = draft.publisher, draft.stream
        if draft.content is None:
            body = make_body(self._run, stream, sequence, intended_ns, draft.size_bytes)
        else:
            body = sign_body(draft.content, self._run, stream, sequence, intended_ns)
        target = self._targets.get((publisher, stream))
        if target is None:
            target = self._plan.request_target(self._plan.scenario.publish[publisher], stream)
            self._targets[publisher, stream] = target
        headers = None
        if trace:
            headers = {TRACE_HEADER: dump_trace_id(trace)}
            self.sampler.sent(trace, intended_ns, stream, sequence)
        task = asyncio.get_running_loop().create_task(self._push(target, body, stream, sequence, place, headers))
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)
        return task

    async def _push(
        self,
        target: str,
        body: bytes,
        stream: int,
        sequence: int,
        place: tuple[int, int],
        headers: Mapping[str, str] | None,
    ) -> bool:
        log = self.logs[stream]
        try:
            answer = await self._pools[stream % len(self._pools)].post(target, body, headers)
            if refused := _refusal(answer, self._refusals):
                self._failed(place, refused)
            else:
                log.accepted[sequence] = 1
                self.expected += self._plan.streams[stream].members
        except TimeoutError:
            self._failed(place, f"no answer within {_ANSWER_TIMEOUT_S:.0f} s")
        except OSError as exc:
            self._failed(place, failure_text(exc))
        except ValueError as exc:
            self._failed(place, on_one_line(str(exc)))
        finally:
            log.done_ns[sequence] = monotonic_ns()
        return bool(log.accepted[sequence])

    def _note(self, reason: str) -> None:
        self.failures[reason] += 1

    def _failed(self, place: tuple[int, int], reason: str) -> None:
        self.errors[place] += 1
        self.failures[reason] += 1


def _refusal(answer: Answer, known: dict[str, str]) -> str:
    """Return why logic did not take a push; empty when it did.

    Args:
        answer: What it answered.
        known: Text of each code so far: refusals of one code count as alike, whatever their messages name.
    """
    if answer.status != HTTPStatus.OK:
        return f"HTTP status {answer.status}"
    try:
        reply = json.loads(answer.body)
    except ValueError:
        return "the answer is not JSON"
    if not isinstance(reply, dict):
        return "the answer is no JSON object"
    code = reply.get("code")
    if code == 0:
        return ""
    return known.setdefault(
        str(code), on_one_line(f"logic answered code {code}: {reply.get('message') or 'no message'}")
    )


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def publish(messages: AsyncIterator[Any], send: Callable[[object], None]) -> None:
    """Serve one run; returns when the parent closes its end."""
    job: Job = await anext(messages)
    plan = make_plan(job.scenario)
    pushes = PushRun(plan, job.target.http, run=job.run)
    health = HealthMeter()
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
                    case Seen():
                        pushes.seen(message)
                    case Stop():
                        pushes.stop()
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
            dict(pushes.errors),
            dict(pushes.failures),
            dict(pushes.seconds),
            pushes.expected,
            health.read(),
            dict(pushes.sent),
            tuple(pushes.sampler.traced),
        )
    )


async def _report(pushes: PushRun, send: Callable[[object], None]) -> None:
    while True:
        errors = sum(pushes.errors.values())
        send(PublishProgress(pushes.messages, errors, pushes.expected, dict(pushes.sent), dict(pushes.errors)))
        await asyncio.sleep(_PROGRESS_S)


def main() -> None:
    """Run as `python -m sim.publish.publisher`."""
    child_main(publish)


if __name__ == "__main__":
    main()
