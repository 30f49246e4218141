"""One run of a scenario: processes, phases, and the report at the end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic_ns

from sim.clients.plan import slowest_broadcast_s, without_contents
from sim.errors import RunInterruptedError
from sim.measure.histogram import Histogram
from sim.measure.hops import TraceBook, TraceReader
from sim.network.network import lateness_s
from sim.report.model import EventReport
from sim.run.alive import AliveSeconds
from sim.run.crew import Crew, LocalCrew, Worker, default_workers
from sim.run.faults import Faults, check_node_events, play_node_events
from sim.run.guard import Guard
from sim.run.machine import machine_facts
from sim.run.meanwhile import meanwhile
from sim.run.messages import (
    Begin,
    Connect,
    Connected,
    Finish,
    Job,
    Progress,
    Published,
    PublishProgress,
    Result,
    Stop,
)
from sim.run.nodes import NodeSampler, TimedSamples, watch_nodes
from sim.run.outcome import Outcome, RunResult, judge_run
from sim.run.probe import probe
from sim.run.processes import RunProcesses
from sim.run.progress import RunProgress
from sim.run.target import Target
from sim.scenario.scenario import Scenario
from sim.scenario.shapes import phase_spans

__all__ = ["RunProgress", "default_workers", "run_scenario"]

_SETTLE_S = 10.0  # longest wait for deliveries after the last phase
_QUIET_S = 3.0  # nothing more arrives after so long without a delivery
_OVERTIME_S = 30.0  # that a publisher may take longer than its schedule
_JUDGE_S = 60.0  # longest wait for the results of workers that say to be at work on them
_COPIES_S = 0.3  # how long copies of what has all arrived are still waited for
_START_S = 30.0  # longest wait for the publisher to be ready
_LAST_ANSWERS = "last answers"
_LAST_ANSWERS_S = 12.0  # of pushes, after a run was ended early; more than a publisher waits for one
_LOOK_S = 1.0  # between looks at expectations that can end the run
_LEAD_S = 0.3  # from Begin to the first phase: every process has it by then
_CONNECT_SLACK_S = 30.0
_TICK_S = 0.05
_MAX_QUIET_TICK_NS = 100_000_000  # two ticks; a longer one is the process standing still
_NODES_S = 2.0  # for nodes to tell before the first phase and at the end: what they then do not tell is not known


async def run_scenario(
    scenario: Scenario,
    target: Target,
    *,
    workers: int | None = None,
    sample_nodes: NodeSampler | None = None,
    read_traces: TraceReader | None = None,
    faults: Faults | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
    interrupt: asyncio.Event | None = None,
    crew: Crew | None = None,
) -> RunResult:
    """Run a scenario against a cluster and judge it.

    Args:
        scenario: What to do.
        target: The cluster.
        workers: Processes that hold the clients; None for default_workers().
        sample_nodes: Called before the first phase, about once a second during the phases, and after the last delivery.
        read_traces: Asks nodes where they saw messages that are followed, about once a second; None where nobody can,
            and then none is followed.
        faults: Carries out the scenario's events on nodes; None where nobody can.
        on_progress: Called at most 20 times a second.
        interrupt: Set it to end the run early: nothing more is published, and what was measured is reported.
        crew: Has the processes that hold the clients; None for `workers` child processes.

    Raises:
        RunInterruptedError: it was ended before anything was measured.
        TargetError: the cluster cannot be reached.
        SimError: an event is for a node that cannot be reached.
    """
    check_node_events(scenario, faults)
    await probe(scenario, target)
    run = _Run(
        scenario,
        target,
        crew or LocalCrew(workers or default_workers(scenario.client_count)),
        on_progress or (lambda _: None),
        interrupt or asyncio.Event(),
        read_traces,
    )
    async with run.processes.running(run.worker_job, run.publisher_job):
        return await run.go(sample_nodes, faults)


class _Run:
    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        crew: Crew,
        on_progress: Callable[[RunProgress], None],
        interrupt: asyncio.Event,
        read_traces: TraceReader | None,
    ) -> None:
        self.run_id = random.getrandbits(32)
        follows = read_traces is not None and scenario.trace_per_s > 0
        self.traces = TraceBook(read_traces, self.run_id) if read_traces is not None and follows else None
        self.scenario = scenario
        self.interrupt = interrupt
        self.guard = Guard(scenario)
        self.end_s = math.inf
        self.interrupted = False
        self.ended_by: list[str] = []
        self.target = target
        self.on_progress = on_progress
        self.progress = RunProgress(wanted=scenario.client_count)
        self.crew = crew
        self.processes = RunProcesses(crew, self._take, interrupt)
        self.states: dict[str, Progress] = {}
        self.connected: set[str] = set()
        self.results: dict[str, Result] = {}
        self.published: Published | None = None
        self.pushing: PublishProgress | None = None
        self.seconds: dict[int, Histogram] = {}
        self.alive = AliveSeconds()
        self.node_samples: list[TimedSamples] = []
        self.node_events: list[EventReport] = []
        self.failed_events: list[str] = []
        self.t0_ns = 0
        self._looked_s = 0.0
        # A mark on a message that nobody asks about would be for nothing.
        marked = scenario if self.traces is not None else replace(scenario, trace_per_s=0.0)
        lean = without_contents(marked)
        self.publisher_job = Job(marked, target, self.run_id)
        self.worker_job = lambda part, parts: Job(lean, target, self.run_id, part, parts)

    async def go(self, sample_nodes: NodeSampler | None, faults: Faults | None) -> RunResult:
        started_at = datetime.now(UTC)
        processes = self.processes
        begin_ns = monotonic_ns()
        await processes.tell_workers(Connect())
        self.progress.stage = "connecting"
        await self._until(
            lambda: self.connected >= processes.living or bool(processes.dead) or self.interrupt.is_set(),
            self._connect_limit_s(),
        )
        connect_s = (monotonic_ns() - begin_ns) / 1e9
        # It has been starting all that time; what it does late would look like the cluster being slow.
        await self._until(lambda: self.pushing is not None or bool(processes.dead) or self.interrupt.is_set(), _START_S)
        if self.interrupt.is_set():
            raise RunInterruptedError("the run was ended before its first phase: nothing was measured")
        await self._sample(sample_nodes)
        if processes.dead:
            self.end_s = 0.0
        else:
            await self._phases(sample_nodes, faults)
        await self._sample(sample_nodes)
        if self.traces is not None:
            await self.traces.collect()

        self.progress.stage = "judging"
        await self._judge()
        clocks = await self.crew.clocks()
        return judge_run(
            Outcome(
                scenario=self.scenario,
                target=self.target,
                started_at=started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
                connect_s=connect_s,
                published=self.published,
                pushing=self.pushing,
                results=[self.results[name] for name in sorted(self.results)],
                seconds=self.seconds,
                alive=self.alive.fewest,
                dead=processes.dead,
                workers=len(processes.workers),
                machine=machine_facts(),
                node_events=self.node_events,
                failed_events=self.failed_events,
                nodes=self._nodes_so_far(),
                t0_ns=self.t0_ns,
                end_s=self.end_s,
                ended_by=self.ended_by,
                interrupted=self.interrupted,
                clocks=clocks,
                traces=None if self.traces is None else self.traces.points,
            )
        )

    async def _sample(self, sample_nodes: NodeSampler | None) -> None:
        if sample_nodes is not None:
            nodes = list(await sample_nodes(_NODES_S))
            self.node_samples.append((monotonic_ns(), nodes))

    def _nodes_so_far(self) -> list[TimedSamples]:
        return [(at_ns - self.t0_ns, nodes) for at_ns, nodes in self.node_samples]

    async def _phases(self, sample_nodes: NodeSampler | None, faults: Faults | None) -> None:
        processes = self.processes
        self.t0_ns = monotonic_ns() + int(_LEAD_S * 1e9)
        await processes.tell_workers(Begin(self.t0_ns))
        await processes.tell(processes.publisher, Begin(self.t0_ns))
        processes.heartbeats.expect(processes.publisher.name)
        async with self._watched(sample_nodes), self._played(faults), self._followed():
            await self._until(
                lambda: self.published is not None or bool(processes.dead) or bool(self.ended_by),
                self.scenario.duration_s + _OVERTIME_S,
                self._each_tick,
            )
        if self.published is None:
            await self._end_publishing()
        self.progress.stage = "settling"
        if self.published is not None and processes.living:
            await self._settle()

    async def _end_publishing(self) -> None:
        """Have the publisher stop before its time, and tell what there was."""
        processes = self.processes
        if not self.ended_by and not processes.dead:
            processes.give_up(processes.publisher.name, f"it did not finish its schedule in {_OVERTIME_S:.0f} s more")
        if self.end_s == math.inf:
            self.end_s = self._at_s()
        if not processes.publisher_lives:
            return
        self.progress.stage = _LAST_ANSWERS
        await processes.tell(processes.publisher, Stop())
        await self._until(lambda: self.published is not None or not processes.publisher_lives, _LAST_ANSWERS_S)
        if self.published is None and processes.publisher_lives:
            processes.give_up(processes.publisher.name, f"it did not end in {_LAST_ANSWERS_S:.0f} s")

    async def _judge(self) -> None:
        """Have the workers that live tell what they found."""
        processes = self.processes
        logs = self.published.logs if self.published else None
        # One that hangs does not read what it is told either.
        async with meanwhile(processes.tell_workers(Finish(logs)), "finish"):
            await self._until(lambda: self.results.keys() >= processes.living, _JUDGE_S)
        for name in processes.living - self.results.keys():
            processes.give_up(name, f"it gave no result in {_JUDGE_S:.0f} s")

    def _watched(self, sample_nodes: NodeSampler | None) -> AbstractAsyncContextManager[None]:
        """Watch the nodes meanwhile."""
        if sample_nodes is None:
            return contextlib.nullcontext()
        return meanwhile(watch_nodes(sample_nodes, self.t0_ns, self.node_samples), "watch nodes")

    def _played(self, faults: Faults | None) -> AbstractAsyncContextManager[None]:
        """Carry out the events on nodes meanwhile."""
        if faults is None:
            return contextlib.nullcontext()
        events = play_node_events(self.scenario.events, faults, self.t0_ns, self.node_events, self.failed_events)
        return meanwhile(events, "node events")

    def _followed(self) -> AbstractAsyncContextManager[None]:
        """Collect what the nodes tell of followed messages meanwhile."""
        return contextlib.nullcontext() if self.traces is None else meanwhile(self.traces.watch(), "traces")

    def _connect_limit_s(self) -> float:
        slowest = max(population.count / population.connect_rate_per_s for population in self.scenario.clients)
        return slowest * 3 + _CONNECT_SLACK_S

    async def _settle(self) -> None:
        """Wait until everything expected has come, or nothing more does."""
        # The publisher counts what members get who stay where they are. One who moves may get more than its share,
        # which would make up in the sum for what others still wait for: then only silence tells the end.
        are_sure = not any(event.kind.changes_members for event in self.scenario.events)
        last, quiet_ns, before_ns = -1, 0, monotonic_ns()
        late_s = lateness_s(self.scenario)
        end_ns = before_ns + int((_SETTLE_S + late_s + slowest_broadcast_s(self.scenario)) * 1e9)
        while (now := monotonic_ns()) < end_ns:
            # Time in which this process stood still is no silence: what came then has not been read.
            quiet_ns += min(now - before_ns, _MAX_QUIET_TICK_NS)
            before_ns = now
            # The workers report four times a second, so an unchanged figure is no sign before that.
            delivered = sum(state.delivered for state in self.states.values())
            if delivered != last:
                last, quiet_ns = delivered, 0
            # What was refused and came all the same counts in `delivered` too.
            if self.published and are_sure and not self._has_errors() and delivered >= self.published.expected:
                await asyncio.sleep(_COPIES_S)
                return
            if quiet_ns > (_QUIET_S + late_s) * 1e9:
                return
            await self._wait_changed()

    def _each_tick(self) -> None:
        self._show_phase()
        at_s = self._at_s()
        if self.ended_by or self.published is not None:
            return
        if self.interrupt.is_set():
            self.interrupted = True
            self.ended_by.append(f"interrupted after {at_s:.1f} s of {self.scenario.duration_s:g} s")
        elif reason := self.crew.ended():
            self.ended_by.append(f"{reason} after {at_s:.1f} s of {self.scenario.duration_s:g} s")
        elif self.guard.is_needed and self.pushing is not None and at_s >= self._looked_s + _LOOK_S:
            self._looked_s = at_s
            self.ended_by += self.guard.look(at_s, list(self.states.values()), self.pushing, self._nodes_so_far())
        if self.ended_by:
            self.end_s = at_s

    def _at_s(self) -> float:
        """Return how long the phases have gone on."""
        return max((monotonic_ns() - self.t0_ns) / 1e9, 0.0)

    def _show_trouble(self) -> None:
        dead = ", ".join(f"{error.name} {error.fate}" for error in self.processes.dead)
        self.progress.trouble = dead or self.processes.heartbeats.notable()

    def _show_phase(self) -> None:
        at_ns = monotonic_ns() - self.t0_ns
        self.progress.at_s, self.progress.of_s = max(at_ns / 1e9, 0.0), self.scenario.duration_s
        for phase, span in zip(self.scenario.phases, phase_spans(self.scenario.phases), strict=True):
            if at_ns < span.end_ns:
                self.progress.stage = phase.name
                return
        self.progress.stage = _LAST_ANSWERS

    async def _until(self, done: Callable[[], bool], limit_s: float, each: Callable[[], None] | None = None) -> None:
        """Wait for something or the time limit, whichever is first."""
        end_ns = monotonic_ns() + int(limit_s * 1e9)
        while not done() and monotonic_ns() < end_ns:
            await self._wait_changed()
            if each is not None:
                each()
            self.on_progress(self.progress)

    def _has_errors(self) -> bool:
        return self.published is not None and any(self.published.errors.values())

    async def _wait_changed(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.processes.changed.wait(), _TICK_S)
        self.processes.changed.clear()
        self._show_trouble()
        await asyncio.sleep(0)

    def _take(self, child: Worker, message: object) -> None:
        heartbeats = self.processes.heartbeats
        match message:
            case Progress():
                self.states[child.name] = message
                self.guard.add(message)
                self._add_seconds(message.seconds)
                if self.t0_ns:
                    second = (monotonic_ns() - self.t0_ns) // 1_000_000_000
                    self.alive.tell(child.name, message.alive, second=second, workers=len(self.processes.workers))
                self._sum_progress()
            case Connected():
                self.connected.add(child.name)
            case Result():
                self.results[child.name] = message
                self._add_seconds(message.seconds)
                heartbeats.forget(child.name)
            case PublishProgress():
                self.pushing = message
                self._sum_progress()
                if not self.t0_ns:
                    heartbeats.forget(child.name)  # ready, and silent until the first phase begins
            case Published():
                self.published = message
                heartbeats.forget(child.name)

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
