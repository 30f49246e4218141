"""One run of a scenario: processes, phases, and the report at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic_ns

from sim.errors import TargetError
from sim.faults import Faults, check_node_events, play_node_events
from sim.histogram import Histogram
from sim.messages import Begin, Connect, Connected, Finish, Job, Progress, Published, PublishProgress, Result
from sim.nodes import NodeSampler, TimedSamples, watch_nodes
from sim.outcome import Outcome, RunResult, judge_run
from sim.process import ChildProcess, WorkerDiedError
from sim.report.model import EventReport
from sim.scenario import EventKind, Scenario
from sim.shapes import phase_spans
from sim.target import Target

__all__ = ["RunProgress", "default_workers", "run_scenario"]

_CLIENTS_PER_WORKER = 15_000  # a process may have 20,000 files open on many machines
_SETTLE_S = 10.0  # longest wait for deliveries after the last phase
_QUIET_S = 3.0  # nothing more arrives after so long without a delivery
_COPIES_S = 0.3  # how long copies of what has all arrived are still waited for
_START_S = 30.0  # longest wait for the publisher to be ready
_LEAD_S = 0.3  # from Begin to the first phase: every process has it by then
_CONNECT_SLACK_S = 30.0
_TICK_S = 0.05
_PROBE_S = 5.0


@dataclass(slots=True)
class RunProgress:
    """What a run shows while it goes on. `stage` is connecting, a phase's name, settling or judging."""

    stage: str = "starting"
    at_s: float = 0.0
    of_s: float = 0.0
    wanted: int = 0
    connected: int = 0
    failed: int = 0
    messages: int = 0
    errors: int = 0
    delivered: int = 0


def default_workers(scenario: Scenario) -> int:
    """Return one worker a core, but no more than the clients can keep busy."""
    clients = scenario.client_count
    return max(1, min(os.cpu_count() or 1, -(-clients // 500)), -(-clients // _CLIENTS_PER_WORKER))


async def run_scenario(
    scenario: Scenario,
    target: Target,
    *,
    workers: int | None = None,
    sample_nodes: NodeSampler | None = None,
    faults: Faults | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> RunResult:
    """Run a scenario against a cluster and judge it.

    Args:
        scenario: What to do.
        target: The cluster.
        workers: Processes that hold the clients; None for default_workers().
        sample_nodes: Called before the first phase, about once a second during the phases, and after the last delivery.
        faults: Carries out the scenario's events on nodes; None where nobody can.
        on_progress: Called at most 20 times a second.

    Raises:
        TargetError: the cluster cannot be reached.
        SimError: an event is for a node that cannot be reached.
    """
    check_node_events(scenario, faults)
    await _probe(scenario, target)
    run = _Run(scenario, target, workers or default_workers(scenario), on_progress or (lambda _: None))
    async with run.processes():
        return await run.go(sample_nodes, faults)


async def _probe(scenario: Scenario, target: Target) -> None:
    """Connect once to every address the scenario needs, so that a cluster that is not there is no failed run."""
    needed = (
        ("comet tcp", target.tcp, any(population.tcp_share > 0 for population in scenario.clients)),
        ("comet ws", target.ws, any(population.tcp_share < 1 for population in scenario.clients)),
        ("logic http", target.http, bool(scenario.publish)),
    )
    for what, addresses, is_needed in needed:
        for host, port in addresses if is_needed else ():
            try:
                async with asyncio.timeout(_PROBE_S):
                    _, writer = await asyncio.open_connection(host, port)
            except TimeoutError as exc:
                message = f"{what} {host}:{port} did not answer within {_PROBE_S:.0f} s"
                raise TargetError(message, hint="imctl up") from exc
            except OSError as exc:
                raise TargetError(f"{what} {host}:{port} cannot be reached: {exc}", hint="imctl up") from exc
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _Run:
    def __init__(
        self, scenario: Scenario, target: Target, workers: int, on_progress: Callable[[RunProgress], None]
    ) -> None:
        self.scenario = scenario
        self.target = target
        self.on_progress = on_progress
        self.progress = RunProgress(wanted=scenario.client_count)
        self.workers = [ChildProcess(f"worker {i + 1}", "sim.worker") for i in range(workers)]
        self.publisher = ChildProcess("publisher", "sim.publisher")
        self.states: dict[str, Progress] = {}
        self.connected: set[str] = set()
        self.results: dict[str, Result] = {}
        self.published: Published | None = None
        self.pushing: PublishProgress | None = None
        self.seconds: dict[int, Histogram] = {}
        self.alive: dict[int, int] = {}
        self.dead: list[WorkerDiedError] = []
        self.node_samples: list[TimedSamples] = []
        self.node_events: list[EventReport] = []
        self.failed_events: list[str] = []
        self.t0_ns = 0
        self._changed = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []
        self._ending = False

    @contextlib.asynccontextmanager
    async def processes(self) -> AsyncIterator[None]:
        """Start the processes; end them whatever happens."""
        run_id = random.getrandbits(32)
        children = [*self.workers, self.publisher]
        try:
            await asyncio.gather(*(child.start() for child in children))
            for child in children:
                self._readers.append(asyncio.create_task(self._read(child), name=f"read {child.name}"))
            for part, worker in enumerate(self.workers):
                await worker.send(Job(self.scenario, self.target, run_id, part, len(self.workers)))
            await self.publisher.send(Job(self.scenario, self.target, run_id))
            yield
        finally:
            self._ending = True
            await asyncio.gather(*(child.stop() for child in children), return_exceptions=True)
            await asyncio.gather(*self._readers, return_exceptions=True)

    async def go(self, sample_nodes: NodeSampler | None, faults: Faults | None) -> RunResult:
        started_at = datetime.now(UTC)
        names = {worker.name for worker in self.workers}
        begin_ns = monotonic_ns()
        await self._tell_workers(Connect())
        self.progress.stage = "connecting"
        await self._until(lambda: self.connected >= names or bool(self.dead), self._connect_limit_s())
        connect_s = (monotonic_ns() - begin_ns) / 1e9
        # It has been starting all that time; what it does late would look like the cluster being slow.
        await self._until(lambda: self.pushing is not None or bool(self.dead), _START_S)

        before = list(await sample_nodes()) if sample_nodes else []
        self.node_samples.append((monotonic_ns(), before))
        if not self.dead:
            await self._phases(sample_nodes, faults)
        after = list(await sample_nodes()) if sample_nodes else []

        self.progress.stage = "judging"
        await self._tell_workers(Finish(self.published.logs if self.published else None))
        await self._until(lambda: self.results.keys() >= names - {error.name for error in self.dead}, 60.0)
        return judge_run(
            Outcome(
                scenario=self.scenario,
                target=self.target,
                started_at=started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
                connect_s=connect_s,
                published=self.published,
                results=[self.results[name] for name in sorted(self.results)],
                seconds=self.seconds,
                alive=self.alive,
                before=before,
                after=after,
                dead=[str(error) for error in self.dead],
                workers=len(self.workers),
                machine=_machine(),
                node_events=self.node_events,
                failed_events=self.failed_events,
                node_samples=[(at_ns - self.t0_ns, nodes) for at_ns, nodes in self.node_samples],
            )
        )

    async def _phases(self, sample_nodes: NodeSampler | None, faults: Faults | None) -> None:
        self.t0_ns = monotonic_ns() + int(_LEAD_S * 1e9)
        await self._tell_workers(Begin(self.t0_ns))
        await self._tell(self.publisher, Begin(self.t0_ns))
        async with self._watched(sample_nodes), self._played(faults):
            await self._until(
                lambda: self.published is not None or bool(self.dead), self.scenario.duration_s + 30.0, self._show_phase
            )
        self.progress.stage = "settling"
        if not self.dead:
            await self._settle()

    @contextlib.asynccontextmanager
    async def _watched(self, sample_nodes: NodeSampler | None) -> AsyncIterator[None]:
        """Watch the nodes meanwhile."""
        if sample_nodes is None:
            yield
            return
        watching = asyncio.create_task(watch_nodes(sample_nodes, self.t0_ns, self.node_samples), name="watch nodes")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            if not watching.cancelled():
                watching.result()  # raises what ended it

    @contextlib.asynccontextmanager
    async def _played(self, faults: Faults | None) -> AsyncIterator[None]:
        """Carry out the events on nodes meanwhile."""
        if faults is None:
            yield
            return
        playing = asyncio.create_task(
            play_node_events(self.scenario.events, faults, self.t0_ns, self.node_events, self.failed_events),
            name="node events",
        )
        try:
            yield
        finally:
            playing.cancel()
            await asyncio.wait([playing])
            if not playing.cancelled():
                playing.result()

    def _connect_limit_s(self) -> float:
        slowest = max(population.count / population.connect_rate_per_s for population in self.scenario.clients)
        return slowest * 3 + _CONNECT_SLACK_S

    async def _settle(self) -> None:
        """Wait until everything expected has come, or nothing more does."""
        # The publisher counts what members get who stay where they are. One who moves may get more than its share,
        # which would make up in the sum for what others still wait for: then only silence tells the end.
        are_sure = not any(event.kind is EventKind.CHANGE_ROOM for event in self.scenario.events)
        last, since_ns = -1, monotonic_ns()
        end_ns = since_ns + int(_SETTLE_S * 1e9)
        while (now := monotonic_ns()) < end_ns:
            # The workers report four times a second, so an unchanged figure is no sign before that.
            delivered = sum(state.delivered for state in self.states.values())
            if delivered != last:
                last, since_ns = delivered, now
            # What was refused and came all the same counts in `delivered` too.
            if self.published and are_sure and not any(self.published.errors) and delivered >= self.published.expected:
                await asyncio.sleep(_COPIES_S)
                return
            if now - since_ns > _QUIET_S * 1e9:
                return
            await self._wait_changed()

    def _show_phase(self) -> None:
        at_ns = monotonic_ns() - self.t0_ns
        self.progress.at_s, self.progress.of_s = max(at_ns / 1e9, 0.0), self.scenario.duration_s
        for phase, span in zip(self.scenario.phases, phase_spans(self.scenario.phases), strict=True):
            if at_ns < span.end_ns:
                self.progress.stage = phase.name
                return
        self.progress.stage = "last answers"

    async def _until(self, done: Callable[[], bool], limit_s: float, each: Callable[[], None] | None = None) -> None:
        """Wait for something or the time limit, whichever is first."""
        end_ns = monotonic_ns() + int(limit_s * 1e9)
        while not done() and monotonic_ns() < end_ns:
            await self._wait_changed()
            if each is not None:
                each()
            self.on_progress(self.progress)

    async def _wait_changed(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), _TICK_S)
        self._changed.clear()
        await asyncio.sleep(0)

    async def _tell(self, child: ChildProcess, message: object) -> None:
        try:
            await child.send(message)
        except WorkerDiedError as exc:
            self._note_dead(exc)

    async def _tell_workers(self, message: object) -> None:
        await asyncio.gather(*(self._tell(worker, message) for worker in self.workers))

    def _note_dead(self, error: WorkerDiedError) -> None:
        if not any(known.name == error.name for known in self.dead):
            self.dead.append(error)
        self._changed.set()

    async def _read(self, child: ChildProcess) -> None:
        async for message in child.messages():
            match message:
                case Progress():
                    self.states[child.name] = message
                    self._add_seconds(message.seconds)
                    self._sum_progress()
                case Connected():
                    self.connected.add(child.name)
                case Result():
                    self.results[child.name] = message
                    self._add_seconds(message.seconds)
                case PublishProgress():
                    self.pushing = message
                    self._sum_progress()
                case Published():
                    self.published = message
            self._changed.set()
        if not self._ending:
            self._note_dead(await child.died())

    def _add_seconds(self, seconds: object) -> None:
        assert isinstance(seconds, dict)
        for second, histogram in seconds.items():
            self.seconds.setdefault(second, Histogram()).merge(histogram)

    def _sum_progress(self) -> None:
        states = self.states.values()
        progress = self.progress
        progress.connected = sum(state.connected for state in states)
        progress.failed = sum(state.failed for state in states)
        progress.delivered = sum(state.delivered for state in states)
        if self.pushing is not None:
            progress.messages, progress.errors = self.pushing.messages, self.pushing.errors
        if self.t0_ns:
            self.alive[(monotonic_ns() - self.t0_ns) // 1_000_000_000] = sum(state.alive for state in states)


def _machine() -> dict[str, str | int | float | None]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
