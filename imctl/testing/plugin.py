"""The pytest plugin: private goim clusters, clients and load scenarios as fixtures.

pytest loads it by its entry point, in every project of an environment that has
imctl. So it imports nothing but pytest, and a fixture imports what it needs
when a test first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from imctl.testing.client import GoimClient
    from imctl.testing.cluster import GoimCluster
    from protocol.aio import Client
    from sim.report.model import RunReport

__all__ = [
    "goim_async_client",
    "goim_client",
    "goim_cluster",
    "goim_cluster_options",
    "goim_cluster_session",
    "pytest_configure",
    "pytest_runtest_makereport",
    "run_scenario",
]

_MARKER = "goim_cluster"
_USED = pytest.StashKey["GoimCluster"]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "goim_cluster(comets=1, compat_goim=False, ...): options of the test's own goim cluster, as of `imctl up`",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that failed what happened to the nodes of its cluster."""
    report = yield
    if report.failed and (cluster := item.stash.get(_USED, None)) is not None:
        report.sections.append((f"goim cluster {cluster.name}", "\n".join(cluster.events)))
    return report


@pytest.fixture(scope="session")
def goim_cluster_options() -> Mapping[str, Any]:
    """Options of all clusters, such as {"comets": 2}; define a fixture of this name to have others."""
    return {}


@pytest.fixture(scope="session")
def goim_cluster_session(goim_cluster_options: Mapping[str, Any]) -> Iterator[GoimCluster]:
    """A goim cluster that all tests of the run share (with pytest-xdist: of one worker)."""
    from imctl.testing.cluster import start_cluster

    with start_cluster(**goim_cluster_options) as cluster:
        yield cluster


@pytest.fixture
def goim_cluster(request: pytest.FixtureRequest, goim_cluster_options: Mapping[str, Any]) -> Iterator[GoimCluster]:
    """A goim cluster of the test's own; @pytest.mark.goim_cluster(comets=2) gives it options."""
    from imctl.testing.cluster import start_cluster

    marker = request.node.get_closest_marker(_MARKER)
    with start_cluster(**{**goim_cluster_options, **(marker.kwargs if marker is not None else {})}) as cluster:
        yield _used(request, cluster)


@pytest.fixture
def goim_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., GoimClient]]:
    """A function that connects a client, such as (mid=1, room="live://1", transport="ws"); all end with the test."""
    cluster = _cluster_of(request)
    with ExitStack() as clients:
        yield lambda *args, **options: clients.enter_context(cluster.connect(*args, **options))


@pytest.fixture
def goim_async_client(request: pytest.FixtureRequest) -> Callable[..., AbstractAsyncContextManager[Client]]:
    """A function that does so in an async test, where a client is a block: `async with ...(mid=1) as client:`."""
    return _cluster_of(request).client


@pytest.fixture
def run_scenario(request: pytest.FixtureRequest) -> Callable[..., RunReport]:
    """A function that runs a load scenario, such as ("scenarios/room.yaml", clients=100), and returns its report.

    A path is looked for from the test's file, then from the root of the tests, then from the working directory; a
    name without any such file is one of the scenarios that come with imctl.
    """
    cluster = _cluster_of(request)
    roots = (request.path.parent, request.config.rootpath, Path())

    def run(scenario: str | Path, **options: Any) -> RunReport:
        found = (root / scenario for root in roots if (root / scenario).is_file())
        return cluster.run_scenario(next(found, scenario), **options)

    return run


def _cluster_of(request: pytest.FixtureRequest) -> GoimCluster:
    """Return the test's own cluster where it has one, else the one that all share."""
    own = "goim_cluster" in request.fixturenames or request.node.get_closest_marker(_MARKER) is not None
    cluster: GoimCluster = request.getfixturevalue("goim_cluster" if own else "goim_cluster_session")
    return _used(request, cluster)


def _used(request: pytest.FixtureRequest, cluster: GoimCluster) -> GoimCluster:
    request.node.stash[_USED] = cluster
    return cluster
