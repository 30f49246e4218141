"""A Redis or Valkey Cluster of our own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import redis

from tests.conftest import flush_redis
from tests.ports import free_port
from tests.services.brokers import Program

__all__ = ["PASSWORD", "RedisNodes", "closing"]

PASSWORD = "s3cret"
_SLOTS = 16384
_SOON_MS = 500
_NEVER_MS = 60_000


class _Closable(Protocol):
    def close(self) -> Awaitable[None]: ...


T = TypeVar("T", bound=_Closable)


@asynccontextmanager
async def closing(opened: T) -> AsyncIterator[T]:
    """Close a store, a log or a bus at the end, also of a test that fails."""
    try:
        yield opened
    finally:
        await opened.close()


class RedisNodes:
    """Three masters, each a process on loopback; with `replicas` each has a replica.

    Args:
        program: Path of redis-server or valkey-server.
        folder: For their files.
        replicas: Nobody takes over by himself, see fail_over().
        tls: Options of the servers for TLS, of which all nodes then want a password too.
    """

    def __init__(self, program: str, folder: Path, *, replicas: bool = False, tls: tuple[str, ...] = ()) -> None:
        self._program = program
        self._tls = tls
        self._bus_ports: dict[int, int] = {}
        names = ["a", "b", "c", *(("d", "e", "f") if replicas else ())]
        self.nodes = [self._node(folder / name) for name in names]

    @property
    def masters(self) -> list[Program]:
        """Those that were masters at the start."""
        return self.nodes[:3]

    def url(self, parameters: str = "", *, kind: str = "redis") -> str:
        """Return the URL of the cluster: a node that is not there, and two that are."""
        login = f":{PASSWORD}@" if self._tls else ""
        more = f"?{parameters}" if parameters else ""
        hosts = ",".join(f"127.0.0.1:{port}" for port in (1, *[node.port for node in self.nodes[:2]]))
        return f"{kind}{'s' if self._tls else ''}+cluster://{login}{hosts}{more}"

    def start(self) -> None:
        """Start all, deal out the slots, and wait until every node takes commands."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.masters):
            first, end = _SLOTS * number // 3, _SLOTS * (number + 1) // 3
            self.ask(node, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            self.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, self._bus_ports[node.port])
        self.wait_until(lambda: all(self._knows_all(node) for node in self.nodes))
        for node, replica in zip(self.masters, self.nodes[3:], strict=False):
            self.ask(replica, "CLUSTER", "REPLICATE", self.id_of(node))
        # A machine that is busy must not look like nodes that are dead.
        for node in self.nodes:
            self.ask(node, "CONFIG", "SET", "cluster-node-timeout", _NEVER_MS)
        self.wait_until(lambda: all(self.is_ok(node) for node in self.nodes))
        self.wait_until(lambda: all(self._has_link(replica) for replica in self.nodes[3:]))

    @contextmanager
    def running(self) -> Iterator[RedisNodes]:
        """Start them, and end those that started whatever happens."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """End all."""
        for node in self.nodes:
            node.stop(kill=True)

    def flush(self) -> None:
        """Forget every key."""
        for node in self.masters:
            flush_redis(node.port)

    def ask(self, node: Program, *command: str | int | bytes) -> Any:
        """Return a node's reply. Any: RESP values."""
        with self.client(node) as client:
            return client.execute_command(*command)

    def client(self, node: Program) -> Any:
        """Return a client of one node. Any: redis-py's, with options of its own for TLS."""
        options = {"protocol": 2, "decode_responses": True, "socket_timeout": 10}
        if self._tls:
            options |= {"ssl": True, "ssl_cert_reqs": "none", "password": PASSWORD}
        return redis.Redis(host="127.0.0.1", port=node.port, **options)  # type: ignore[arg-type]  # of several types

    def id_of(self, node: Program) -> str:
        """Return the name that a node has in the cluster."""
        return str(self.ask(node, "CLUSTER", "MYID"))

    def is_ok(self, node: Program) -> bool:
        """Whether a node takes commands, as far as the cluster is concerned."""
        return "cluster_state:ok" in self.ask(node, "CLUSTER", "INFO")

    def owner(self, key: str) -> Program:
        """Return the master that has the slot of a key now."""
        alive = next(node for node in self.nodes if node.process is not None)
        slot = self.ask(alive, "CLUSTER", "KEYSLOT", key)
        ports = {master[1] for first, last, master, *_ in self.ask(alive, "CLUSTER", "SLOTS") if first <= slot <= last}
        return next(node for node in self.nodes if node.port in ports)

    def fail_over(self, master: Program) -> None:
        """Kill a master and have its replica take over; return when all know it."""
        lost = self.id_of(master)
        replica = self.nodes[self.nodes.index(master) + 3]
        master.stop(kill=True)
        self.ask(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
        alive = [node for node in self.nodes if node is not master]

        def all_know() -> bool:
            return all(lost != owner[2] for node in alive for _, _, owner, *_ in self.ask(node, "CLUSTER", "SLOTS"))

        self.wait_until(all_know)

    def begin_move(self, slot: int, source: Program, target: Program) -> None:
        """Announce to both that a slot will move."""
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: Program, target: Program, most: int = 1000) -> list[str]:
        """Move keys of a slot; return which."""
        keys = [key for key in self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, most) if key]
        login = ("AUTH", PASSWORD) if self._tls else ()
        if keys:
            self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *login, "KEYS", *keys)
        return keys

    def end_move(self, slot: int, source: Program, target: Program) -> None:
        """Make the slot the target's, once all keys are there."""
        while self.move_keys(slot, source, target):
            pass
        for node in (target, source, *self.masters):
            self.ask(node, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    @staticmethod
    def wait_until(condition: Callable[[], bool], timeout_s: float = 40.0) -> None:
        """Return once it holds; for what nodes agree on among themselves, which nobody tells."""
        until_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until_s:
                raise TimeoutError("the nodes of the cluster do not come together")
            time.sleep(0.02)

    def _knows_all(self, node: Program) -> bool:
        return f"cluster_known_nodes:{len(self.nodes)}\r" in self.ask(node, "CLUSTER", "INFO")

    def _has_link(self, replica: Program) -> bool:
        with self.client(replica) as client:
            return bool(client.info("replication")["master_link_status"] == "up")

    def _node(self, folder: Path) -> Program:
        folder.mkdir()
        return Program(self._command, folder, ready=b"eady to accept connections", url="")

    def _command(self, port: int, data: Path) -> list[str]:
        bus_port = self._bus_ports.setdefault(port, free_port())
        ports = ["--port", "0", "--tls-port", str(port), *self._tls] if self._tls else ["--port", str(port)]
        command = [self._program, *ports, "--bind", "127.0.0.1", "--dir", str(data), "--save", ""]
        command += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
        command += [
            "--cluster-node-timeout",
            str(_SOON_MS),
        ]
        command += ["--cluster-replica-no-failover", "yes", "--repl-diskless-sync-delay", "0"]
        if self._tls:
            command += ["--tls-cluster", "yes", "--tls-replication", "yes"]
            command += ["--requirepass", PASSWORD, "--masterauth", PASSWORD]
        return command
