"""The locustfile: what Locust's master and workers do for a run; the only module that imports Locust.

Importing Locust puts other sockets, threads and processes in the place of
Python's, so only a process that is one of Locust's may import this.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from locust import User, events, task
from locust.env import Environment
from locust.main import main as locust_main
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import StatsEntry

from sim.run.locust_figures import Figures
from sim.run.locust_messages import FD_VARIABLE, Link, Listening
from sim.run.locust_relay import MasterRelay, WorkerRelay

__all__ = ["Clients", "main"]


class Clients(User):
    """What Locust counts as users. It does nothing: the scenario says how many clients there are, and what they do."""

    @task
    def wait(self) -> None:
        """Wait for the end."""
        time.sleep(1)


def _set_up(environment: Environment, runner: Any, **_: Any) -> None:
    if isinstance(runner, WorkerRunner):
        _set_up_worker(environment, runner)
    elif isinstance(runner, MasterRunner) and FD_VARIABLE in os.environ:
        _set_up_master(environment, runner, int(os.environ.pop(FD_VARIABLE)))
    else:
        sys.exit("locust: this locustfile is for workers; a run is started by: imctl sim SCENARIO --locust")


def _set_up_master(environment: Environment, runner: MasterRunner, fd: int) -> None:
    def quit_all() -> None:
        runner.quit()
        if environment.web_ui is not None:
            environment.web_ui.stop()

    link = Link(socket.socket(fileno=fd))
    relay = MasterRelay(runner, link, quit_all)
    environment.events.test_start.add_listener(lambda **_: relay.test_started())
    environment.events.test_stopping.add_listener(lambda **_: relay.test_stopping())
    relay.start()
    link.send(Listening(runner.server.port))


def _set_up_worker(environment: Environment, runner: WorkerRunner) -> None:
    def show(figures: Figures) -> None:
        row = _entry(environment, figures)
        environment.stats.get(figures.name, figures.method).extend(row)
        environment.stats.total.extend(row)

    relay = WorkerRelay(runner, show)

    def count_clients(data: dict[str, Any], **_: Any) -> None:
        data["user_count"] = relay.alive
        data["user_classes_count"] = {Clients.__name__: relay.alive}

    environment.events.report_to_master.add_listener(count_clients)
    environment.events.quitting.add_listener(lambda **_: relay.stop())


def _entry(environment: Environment, figures: Figures) -> StatsEntry:
    entry = StatsEntry(environment.stats, figures.name, figures.method)
    entry.start_time = time.time()
    entry.last_request_timestamp = max(figures.per_second, default=0)
    entry.num_requests = figures.count
    entry.num_none_requests = figures.timeless
    entry.num_failures = figures.failures
    entry.response_times.update(figures.times_ms)
    entry.total_response_time = int(figures.total_ms)
    entry.min_response_time = int(figures.min_ms) if figures.times_ms else None
    entry.max_response_time = int(figures.max_ms)
    entry.num_reqs_per_sec.update(figures.per_second)
    if figures.failures:
        entry.num_fail_per_sec[max(figures.per_second)] = figures.failures
    return entry


def main() -> None:
    """Be `locust` with this file; with `python -P -m` it is not misled by a folder here that is called sim."""
    sys.argv = ["locust", "--locustfile", os.path.abspath(__file__), *sys.argv[1:]]
    locust_main()


if __name__ == "__main__":
    main()
else:  # loaded by Locust
    events.init.add_listener(_set_up)
