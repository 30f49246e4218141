"""A private goim cluster for tests: processes of its own, any ports, ended whatever happens."""

from __future__ import annotations

import itertools
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imctl.cluster.client import ClusterInfo, ControlClient, find_cluster
from imctl.cluster.spec import ClusterOptions, plan
from imctl.cluster.state import state_root
from imctl.cluster.supervisor import Event, Supervisor
from imctl.testing.background import BackgroundLoop
from imctl.testing.client import GoimClient

if TYPE_CHECKING:
    from protocol.aio import Client
    from protocol.push_api import Request
    from sim.report.model import RunReport

__all__ = ["GoimCluster", "start_cluster"]

_START_S = 60.0
_EVENTS = 50
_numbers = itertools.count(1)

Transport = Literal["tcp", "ws"]


@contextmanager
def start_cluster(**options: Any) -> Iterator[GoimCluster]:
    """Start a cluster, yield it once every node answers, and end it with the block.

    Its processes also end when this one does, even by SIGKILL.

    Args:
        options: Fields of `imctl.cluster.spec.ClusterOptions`, such as `comets=2` or `compat_goim=True`. Any: as
            they are there.

    Raises:
        ImctlError: an option is not acceptable, or the cluster did not start.
    """
    name = f"test-{os.getpid()}-{next(_numbers)}"
    events: deque[Event] = deque(maxlen=_EVENTS)
    loop = BackgroundLoop(name)
    try:
        spec = plan(ClusterOptions(**{"any_port": True, **options, "cluster": name}))
        supervisor = loop.run(_started(spec, events), _START_S)
        try:
            yield GoimCluster(find_cluster(name), loop, events)
        finally:
            loop.run(_stopped(supervisor))
    finally:
        loop.close()


async def _started(spec: Any, events: deque[Event]) -> Supervisor:
    # Made here, and not by the caller: its events belong to this loop.
    supervisor = Supervisor(spec, on_event=events.append, keep_logs=False)
    await supervisor.start()
    return supervisor


async def _stopped(supervisor: Supervisor) -> None:
    # A test's clients are closed before; nobody is left to be drained for long.
    await supervisor.stop(grace_s=1.0)


class GoimCluster:
    """A running cluster; made by start_cluster().

    Args:
        info: Its nodes and all their addresses.
        loop: Runs its supervisor, and what is asked of it.
        events: What its supervisor told, the newest last; exits, restarts, warnings of nodes.
    """

    def __init__(self, info: ClusterInfo, loop: BackgroundLoop, events: deque[Event]) -> None:
        self.info = info
        self._loop = loop
        self._events = events

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def name(self) -> str:
        """For `imctl --cluster NAME ps` and all other commands."""
        return self.info.cluster

    @property
    def http(self) -> str:
        """Of the first logic's push API, such as `http://127.0.0.1:40123`."""
        return f"http://{self.info.logic_http}"

    @property
    def tcp(self) -> str:
        """`host:port` of the first comet."""
        return self.info.comet_tcp[0]

    @property
    def ws(self) -> str:
        """Of the first comet, such as `ws://127.0.0.1:40125/sub`."""
        return f"ws://{self.info.comet_ws[0]}/sub"

    @property
    def env(self) -> dict[str, str]:
        """IMCTL_* for programs that a test starts, as `imctl env` prints them; imctl itself then finds this cluster."""
        from imctl.cli.commands.env import environment

        return {**environment(self.info), "IMCTL_STATE_DIR": str(state_root())}

    @property
    def events(self) -> list[str]:
        """What happened to its nodes, a line each, the newest last."""
        return [f"{event.node}: {event.text}" if event.node else event.text for event in list(self._events)]

    # -- pushes, as an application makes them

    def push_mid(self, mid: int, body: bytes | str, *, op: int = 1000) -> None:
        """Push to all connections of a user. Raises ImctlError when logic does not take it; so do the others."""
        from protocol.push_api import PushMids

        self._push(PushMids(op, (mid,)), body)

    def push_key(self, key: str, body: bytes | str, *, op: int = 1000) -> None:
        """Push to one connection."""
        from protocol.push_api import PushKeys

        self._push(PushKeys(op, (key,)), body)

    def push_room(self, room: str, body: bytes | str, *, op: int = 1000) -> None:
        """Push to everybody in a room, such as `live://1`."""
        from protocol.push_api import PushRoom

        kind, colon, name = room.partition("://")
        if not (kind and colon and name):
            raise ValueError(f"room {room!r} is not of the form TYPE://ID, such as live://1")
        self._push(PushRoom(op, kind, name), body)

    def push_all(self, body: bytes | str, *, op: int = 1000, speed: int = 0) -> None:
        """Push to everybody who accepts the operation, at most `speed` messages a second (0: at once)."""
        from protocol.push_api import PushAll

        self._push(PushAll(op, speed), body)

    # -- clients

    def connect(self, mid: int = 0, room: str = "", **options: Any) -> GoimClient:
        """Return a connected client for a test that is not async.

        Args:
            mid: User; 0 is anonymous.
            room: Such as `live://1`; "" is none.
            options: `key` (logic makes one), `accepts` (operations from pushes by mid, key and to all, (1000,)),
                `transport` ("tcp" or "ws"), `comet` (which one, from 0), `token` (the bytes of an op 7 body
                instead of all that), and those of `protocol.aio.Client`, such as `timeout_s` and `heartbeat_s`.

        Raises:
            AuthRefusedError: logic did not let it in.
            ConnectError: comet cannot be reached.
        """
        return GoimClient(self._loop.run(self._connected(mid, room, **options)), self._loop)

    @asynccontextmanager
    async def client(self, mid: int = 0, room: str = "", **options: Any) -> AsyncIterator[Client]:
        """Yield a connected `protocol.aio.Client` in the loop of an async test; arguments as connect()."""
        async with await self._connected(mid, room, **options) as client:
            yield client

    # -- faults

    def kill(self, node: str) -> None:
        """Kill a process, such as `comet-1` or `core`, with SIGKILL; it is started again."""
        self._loop.run(self._control("kill", node))

    def pause(self, node: str) -> None:
        """Stop a process with SIGSTOP: its connections stay open and nothing answers."""
        self._loop.run(self._control("pause", node))

    def resume(self, node: str) -> None:
        """Let a paused process go on."""
        self._loop.run(self._control("resume", node))

    def restart(self, node: str) -> None:
        """Drain a process, start it again, and return once it is ready."""
        self._loop.run(self._control("restart", node))

    # -- scenarios

    def run_scenario(
        self,
        scenario: str | Path,
        *,
        clients: int | None = None,
        duration: str | float | None = None,
        workers: int | None = None,
        reports: Sequence[str | Path] = (),
        **changes: Any,
    ) -> RunReport:
        """Run a scenario against this cluster, as `imctl sim` does, and return its report.

        Args:
            scenario: A file, or the name of a shipped one.
            clients: Clients of all populations together.
            duration: Of the measured phases together: `"3s"`, or seconds.
            workers: Processes that hold clients; one a core by default.
            reports: Files to write; the ending says the format: .json, .md, .html, .xml (JUnit).
            changes: Other values of the scenario, as --set: `seed=3`, `**{"publish[0].rate": "100/s"}`. Any: what
                YAML can hold.

        Raises:
            ScenarioError: the scenario is not valid; with every mistake.
        """
        from sim.language.load import load_scenario
        from sim.language.shipped import find_scenario
        from sim.language.units import parse_duration_s
        from sim.report.files import check_writable, write_report

        loaded = load_scenario(
            find_scenario(str(scenario)),
            sets=[f"{path}={_written(value)}" for path, value in changes.items()],
            clients=clients,
            duration_s=parse_duration_s(duration) if isinstance(duration, str) else duration,
            env=os.environ,
        )
        files = [Path(file) for file in reports]
        for file in files:
            check_writable(file)
        report = self._loop.run(self._scenario(loaded, workers))
        for file in files:
            write_report(report, file)
        return report

    # -- in the loop

    async def _scenario(self, scenario: Any, workers: int | None) -> RunReport:
        from imctl.cli.printer import Printer
        from imctl.cli.under_test import ClusterNodes, target_of
        from sim.run.runner import run_scenario

        nodes = ClusterNodes(self.info, Printer(quiet=True))
        result = await run_scenario(
            scenario,
            target_of(self.info),
            workers=workers,
            sample_nodes=nodes.sample,
            read_traces=nodes.traces,
            faults=nodes,
        )
        return result.report

    async def _connected(
        self,
        mid: int,
        room: str,
        *,
        key: str = "",
        accepts: Sequence[int] = (1000,),
        transport: Transport = "tcp",
        comet: int = 0,
        token: bytes | None = None,
        **options: Any,
    ) -> Client:
        from protocol.aio import Client
        from protocol.bodies import AuthToken

        if transport not in ("tcp", "ws"):
            raise ValueError(f'transport {transport!r}: expected "tcp" or "ws"')
        addresses = self.info.comet_tcp if transport == "tcp" else self.info.comet_ws
        host, _, port = addresses[comet].rpartition(":")
        connect = Client.connect_tcp if transport == "tcp" else Client.connect_ws
        auth = AuthToken(mid=mid, key=key, room_id=room, accepts=tuple(accepts)) if token is None else token
        return await connect(host, int(port), auth, **options)

    def _push(self, request: Request, body: bytes | str) -> None:
        self._loop.run(self._call(request, body.encode() if isinstance(body, str) else body))

    async def _call(self, request: Request, body: bytes) -> None:
        from imctl.cli.logic_http import LogicHttp

        async with LogicHttp(self.info.logic_http) as logic:
            await logic.call(request, body)

    async def _control(self, command: str, node: str) -> None:
        async with ControlClient(self.info) as control:
            await getattr(control, command)(node)


def _written(value: Any) -> str:
    """Return a value as --set has it: YAML, of which JSON is a part."""
    return value if isinstance(value, str) else json.dumps(value)
