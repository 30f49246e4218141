"""Starts the processes of a cluster, keeps them running, and ends them.

Embedded servers start first, and the nodes are told where they are. All nodes
are spawned at once, so that imports overlap; the process with the registry
starts first, the others once its address is known. A process that
ends by itself is started again on the ports it had: at once the first time,
then after a time that doubles, up to 10 s, until it has run for 30 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from imctl.cluster.control import ControlServer
from imctl.cluster.logs import LogFile
from imctl.cluster.naming import command_for
from imctl.cluster.ports import check_ports, with_holder
from imctl.cluster.process import ManagedProcess
from imctl.cluster.program import ManagedProgram
from imctl.cluster.requests import Requests
from imctl.cluster.spec import ClusterSpec, without_password
from imctl.cluster.state import ClusterFolder, process_start
from imctl.cluster.supervised import State, Supervised
from imctl.errors import ClusterError, ImctlError, PortInUseError

__all__ = ["Event", "Supervisor"]

_BACKOFF_S = (0.1, 10.0)
_STEADY_S = 30.0
_REGISTRY_S = 3.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling: about a node, or the whole cluster when `node` is empty."""

    node: str
    text: str
    warning: bool = False


class Supervisor:
    """One running cluster.

    Args:
        spec: What it is made of.
        on_event: Told of exits, restarts, faults and warnings in logs.
        start_timeout_s: Longest time for one process to become ready.
        keep_logs: False removes the cluster's folder at the end, for one that nobody will ask about.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        start_timeout_s: float = 20.0,
        keep_logs: bool = True,
    ) -> None:
        self.spec = spec
        self.folder = ClusterFolder(spec.cluster)
        self.registry = spec.registry
        self.stopped = asyncio.Event()
        """Set when everything has ended, whoever asked for it."""
        self._on_event = on_event
        self._start_timeout_s = start_timeout_s
        self._keep_logs = keep_logs
        self._processes: dict[str, Supervised] = {}
        self._services: frozenset[str] = frozenset()
        """Addresses of the embedded servers."""
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._asked: set[str] = set()
        """Nodes whose end is a restart that somebody asked for."""
        self._control = ControlServer(self.folder.control, Requests(self).handle)
        self._log: LogFile | None = None
        self._started_at = ""
        self._ready_ms = 0
        self._stopping: asyncio.Task[None] | None = None
        self._ending = False

    async def start(self, began_ns: int | None = None) -> None:
        """Start every process; returns when all are ready.

        Args:
            began_ns: time.monotonic_ns() from which "ready in" counts, now when None.

        Raises:
            StartError: a cluster of this name is up, a port is taken, or a process did not start.
            ConfigError: a setting is not acceptable.
        """
        began_ns = time.monotonic_ns() if began_ns is None else began_ns
        self.folder.acquire()
        try:
            self._log = LogFile(self.folder.logs / "supervisor.log")
            if self.spec.registry is not None:
                await _check_registry(self.spec.registry)
            wanted = [service.wanted() for service in self.spec.services]
            wanted += [process.wanted() for process in self.spec.processes]
            check_ports(itertools.chain(*wanted))
            await self._start_services()
            nodes = [
                ManagedProcess(spec, self.folder.logs, self._warner(spec.name), cluster=self.spec.cluster)
                for spec in self.spec.processes
            ]
            self._processes |= {process.name: process for process in nodes}
            await _all_or_first_error([process.spawn() for process in nodes])
            first = [process for process in nodes if "registry" in process.spec.parts]
            rest = [process for process in nodes if process not in first]
            for process in first:
                await process.start(None, self._start_timeout_s)
                self.registry = f"http://{process.addresses.get('registry.http') or process.addresses['http']}"
            await _all_or_first_error([process.start(self.registry, self._start_timeout_s) for process in rest])
            await self._control.start()
        except BaseException as exc:
            await self._end(0.0)
            if isinstance(exc, PortInUseError) and not exc.holder:
                raise with_holder(exc) from exc
            raise
        for name, kept in self._processes.items():
            self._keepers[name] = asyncio.create_task(self._keep(kept), name=f"keep {name}")
        self._started_at = datetime.now().astimezone().isoformat(timespec="seconds")
        self._ready_ms = (time.monotonic_ns() - began_ns) // 1_000_000
        self._write_state()
        self._tell(Event("", f"ready in {self._ready_ms} ms"))

    async def _start_services(self) -> None:
        programs = [
            ManagedProgram(service, self.folder.data / service.name, self.folder.logs, self.spec.cluster)
            for service in self.spec.services
        ]
        self._processes |= {program.name: program for program in programs}
        await _all_or_first_error([program.spawn() for program in programs])
        await _all_or_first_error([program.start(None, self._start_timeout_s) for program in programs])
        addresses = {program.name: program.address for program in programs}
        self._services = frozenset(addresses.values())
        self.spec = self.spec.located(addresses)

    def stop(self, grace_s: float = 5.0) -> asyncio.Task[None]:
        """Drain and end everything; the task ends when nothing is left. Safe to call twice."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace_s), name="stop")
        return self._stopping

    def abort(self) -> None:
        """End everything now, without draining; stop() then returns at once."""
        for process in self._processes.values():
            process.signal(signal.SIGKILL)
        self.stop(0.0)

    @property
    def processes(self) -> Collection[Supervised]:
        """All of them, in the order in which they start."""
        return self._processes.values()

    @property
    def stopping(self) -> bool:
        """Whether stop() has been called."""
        return self._stopping is not None

    def summary(self) -> dict[str, Any]:
        """Return what `imctl up --json` prints. Any: JSON."""
        return {
            "cluster": self.spec.cluster,
            "ready_ms": self._ready_ms,
            "bus": without_password(self.spec.bus),
            "store": without_password(self.spec.store),
            "messages": without_password(self.spec.messages) if self.spec.messages else None,
            "registry": self.registry,
            "persistent": self.persistent,
            "nodes": [
                {"name": process.name, "kind": process.kind, "pid": process.pid, "addresses": process.addresses}
                for process in self._processes.values()
            ],
        }

    @property
    def persistent(self) -> bool:
        """Whether sessions survive a stop of the cluster."""
        if urlsplit(self.spec.store).netloc in self._services:
            return False  # what an embedded server has is removed at the stop
        known = [process.persistent for process in self._processes.values() if process.persistent is not None]
        return bool(known) and all(known)

    # -- one process

    def pause(self, process: Supervised, *, paused: bool) -> None:
        """Have a process stand still, or go on.

        Raises:
            ClusterError: it is not running.
        """
        self._check_running(process)
        process.signal(signal.SIGSTOP if paused else signal.SIGCONT)
        process.state = State.PAUSED if paused else State.RUNNING
        self._tell(Event(process.name, str(process.state) if paused else "resumed"))

    async def restart(self, process: Supervised, grace_s: float) -> None:
        """Have a process drain, end and start again; returns when it is ready.

        Raises:
            ClusterError: it is not running, or did not come back.
        """
        self._check_running(process)
        self._asked.add(process.name)
        process.ready.clear()
        await process.stop(grace_s)
        try:
            async with asyncio.timeout(self._start_timeout_s):
                await process.ready.wait()
        except TimeoutError:
            raise ClusterError(f"{process.name} did not come back", hint=process.hint("logs")) from None

    def _check_running(self, process: Supervised) -> None:
        if process.state not in (State.RUNNING, State.PAUSED):
            hint = command_for(self.spec.cluster, "imctl ps")
            raise ClusterError(f"{process.name} is {process.state}, not running", hint=hint)

    # -- life

    async def _keep(self, process: Supervised) -> None:
        """Start one process again whenever it ends, until the cluster stops."""
        wait_s = 0.0
        while True:
            await process.wait()
            if self._ending:
                process.state = State.STOPPED
                return
            asked = process.name in self._asked
            self._asked.discard(process.name)
            process.state = State.RESTARTING
            if asked or process.ran_s > _STEADY_S:
                wait_s = 0.0
            if asked:
                self._tell(Event(process.name, "restarting, as asked"))
            else:
                again = f"in {wait_s:g} s" if wait_s else "now"
                self._tell(Event(process.name, f"ended ({process.last_exit}), restarting {again}", warning=True))
            self._write_state()
            await asyncio.sleep(wait_s)
            if self._ending:
                process.state = State.STOPPED
                return
            wait_s = min(max(_BACKOFF_S[0], wait_s * 2), _BACKOFF_S[1])
            process.restarts += 1
            try:
                await process.spawn()
                await process.start(self.registry, self._start_timeout_s)
            except (ImctlError, OSError) as exc:
                self._tell(Event(process.name, f"restart failed: {exc}", warning=True))
                process.signal(signal.SIGKILL)
            else:
                self._write_state()
                self._tell(Event(process.name, f"running again, pid {process.pid}"))

    async def _stop(self, grace_s: float) -> None:
        try:
            await self._end(grace_s)
        finally:
            self.stopped.set()

    async def end_processes(self, grace_s: float) -> None:
        """End comets first, so that logic still hears their clients go; what all the others use last."""
        self._ending = True
        running = [process for process in self._processes.values() if process.pid is not None]
        comets = [process for process in running if process.kind == "comet"]
        services = [process for process in running if isinstance(process, ManagedProgram)]
        others = [process for process in running if process not in (*comets, *services)]
        for group in (comets, others, services):
            await asyncio.gather(*(process.stop(grace_s) for process in group))

    async def _end(self, grace_s: float) -> None:
        await self.end_processes(grace_s)
        keepers, self._keepers = self._keepers, {}
        if keepers:  # each sees that its process has ended, or sleeps before a restart
            _, asleep = await asyncio.wait(keepers.values(), timeout=0.5)
            for keeper in asleep:
                keeper.cancel()
            await asyncio.gather(*keepers.values(), return_exceptions=True)
        for process in self._processes.values():
            if process.pid is not None:
                process.signal(signal.SIGKILL)
                await process.wait()
            process.state = State.STOPPED
            process.close()
        await self._control.stop()
        self._tell(Event("", "stopped"))
        if self._log is not None:
            self._log.close()
            self._log = None
        self.folder.release(keep_logs=self._keep_logs)

    # -- words

    def _warner(self, name: str) -> Callable[[str], None]:
        return lambda line: self._on_event(Event(name, line, warning=True))

    def _tell(self, event: Event) -> None:
        if self._log is not None:
            now = datetime.now()  # noqa: DTZ005  a log has the machine's own time, as logging gives it
            level = "WARNING" if event.warning else "INFO"
            text = f"{event.node}: {event.text}" if event.node else event.text
            self._log.write(f"{now.isoformat(timespec='milliseconds')} {level} {text}\n".encode())
        self._on_event(event)

    def _write_state(self) -> None:
        if self._stopping is not None:
            return
        pid = os.getpid()
        self.folder.write(
            {
                **self.summary(),
                "started_at": self._started_at,
                "supervisor": {"pid": pid, "start": process_start(pid)},
                "control": str(self.folder.control),
                "logs": str(self.folder.logs),
                "certificate": self.spec.certificate,
            }
        )


async def _check_registry(url: str) -> None:
    """Return when one of the registry's nodes takes connections; without one every start would only time out."""
    problems = []
    for node in url.split(","):
        parts = urlsplit(node if "://" in node else f"http://{node}")
        try:
            async with asyncio.timeout(_REGISTRY_S):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        except (OSError, TimeoutError, ValueError) as exc:
            problems.append(f"registry {node} cannot be reached: {str(exc) or 'no answer'}")
        else:
            writer.close()
            return
    raise ClusterError(
        "; ".join(problems),
        hint="is it running there? Without --registry (discovery.nodes of a goim file) imctl starts one",
    )


async def _all_or_first_error(calls: list[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one fails, cancel the others and raise its error, and not a group of them."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
