"""What every test may use: the event loop, hypothesis profiles, and real services."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest
import uvloop

from tests.ports import free_port

if TYPE_CHECKING:
    from tests.services.redis_cluster import RedisNodes

__all__ = ["RedisServer", "require_program"]

# The same examples on every run and machine, so a failure is a failure of the
# change at hand; `make fuzz` is the place for new ones. No deadline: tests
# share their cores with whatever else the machine does.
hypothesis.settings.register_profile("default", derandomize=True, deadline=None, max_examples=60)
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=20_000,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("default")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def pytest_configure(config: pytest.Config) -> None:
    # Tests start hundreds of processes: without bytecode on disk each of them compiles all that it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    config.addinivalue_line("markers", "recording(file, key): replays a line of tests/vectors, see lines.py there")


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are cores: a worker often waits for the processes of a test, or for a timer."""
    cores = yield
    return cores + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loop",
        choices=[*LOOPS, "both"],
        default="uvloop",
        help="event loop of async tests; one test can ask by @pytest.mark.asyncio(loop_factories=['asyncio'])",
    )


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    chosen = config.getoption("--loop")
    asked = item.get_closest_marker("asyncio")
    # A test that names its loops picks from all of them, whatever --loop says.
    if chosen == "both" or (asked is not None and "loop_factories" in asked.kwargs):
        return LOOPS
    return {chosen: LOOPS[chosen]}


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where CI=true: there `.ci/run` has installed everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def require_program(name: str, package: str) -> str:
    """Return the path of a program that a test starts; without it skip the test, or fail it in CI.

    Args:
        name: The program, such as `mosquitto`.
        package: What to install to get it, such as `mosquitto`; goes into the message.
    """
    # Debian puts servers where a user's PATH may not look.
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        missing(f"{name} is not installed (package {package})")
    return path


def end_with_parent() -> None:
    """Let the child about to be started die with this process, also when that is killed (Linux only)."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def flush_redis(port: int) -> None:
    """Have a Redis on this port forget every key."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        reply = connection.recv(64)
    assert reply == b"+OK\r\n", reply


class RedisServer:
    """A redis-server of our own: loopback, a free port, nothing written to disk.

    Args:
        program: Path of redis-server.
        folder: An empty folder for its log.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.log = folder / "redis.log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it takes connections; on the port it had before, if it was started before."""
        # Between choosing a port and listening on it another worker can be
        # faster, and then redis ends at once: choose another.
        for _ in range(1 if self.port else 5):
            port = self.port or free_port()
            self.log.write_bytes(b"")
            self.process = subprocess.Popen(
                [
                    *(self.program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"),
                    *("--dir", str(self.log.parent), "--logfile", str(self.log), "--daemonize", "no"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                preexec_fn=end_with_parent,
            )
            if self._is_ready(timeout_s=10):
                self.port = port
                return
            self.stop()
        raise RuntimeError(f"redis-server did not start; its log:\n{self.log.read_text()}")

    def _is_ready(self, timeout_s: float) -> bool:
        # Its own log, not a connection: on that port somebody else may answer.
        assert self.process is not None
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self.process.poll() is None:
            if b"eady to accept connections" in self.log.read_bytes():
                return True
            time.sleep(0.01)
        return False

    def flush(self) -> None:
        """Forget every key."""
        flush_redis(self.port)

    def stop(self) -> None:
        """End it and wait for it; a server that is not running stays so."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait(timeout=10)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A running Redis, one a worker; a test that stops it has to start it again."""
    program = require_program("redis-server", "redis-server")
    with tempfile.TemporaryDirectory(prefix="imctl-redis-") as folder:
        server = RedisServer(program, Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a real Redis with no keys in it."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def redis_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNodes]:
    """A running Redis Cluster, one a worker; it stays as it is."""
    from tests.services.redis_cluster import RedisNodes

    program = require_program("redis-server", "redis-server")
    with RedisNodes(program, tmp_path_factory.mktemp("redis-cluster")).running() as nodes:
        yield nodes


@pytest.fixture
def redis_cluster_url(redis_nodes: RedisNodes) -> str:
    """The URL of a real Redis Cluster with no keys in it."""
    redis_nodes.flush()
    return redis_nodes.url()
