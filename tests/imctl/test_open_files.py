from __future__ import annotations

import resource

import pytest

from imctl.open_files import connections_within, files_for_callers, files_for_connections, limit_for
from tests.imctl.comet.raw import Raw, Rig


@pytest.fixture
def open_files(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (request.param, request.param))
    return request.param


@pytest.mark.parametrize(
    ("open_files", "connections", "callers"),
    [
        (200, 150, 50),
        (1024, 768, 256),
        (20_000, 19_488, 5_000),
        (1_048_576, 1_048_064, 262_144),
        (resource.RLIM_INFINITY, 1_048_064, 262_144),
        (1, 0, 1),
    ],
    indirect=["open_files"],
)
def test_files_are_left_for_links_and_logs(open_files, connections, callers):
    assert files_for_connections() == connections
    assert files_for_callers() == callers


@pytest.mark.parametrize("connections", [1, 100, 384, 1536, 1537, 12_000])
def test_the_limit_for_connections_is_the_least_that_will_do(connections):
    limit = limit_for(connections)

    assert connections_within(limit - 1) < connections <= connections_within(limit)


@pytest.mark.parametrize("open_files", [4], indirect=True)
async def test_a_comet_refuses_and_counts_clients_before_it_runs_out_of_files(open_files):
    async with Rig() as rig:
        clients = [await Raw.login(rig.tcp, key=f"k{n}") for n in range(3)]

        async with await Raw.connect(rig.tcp) as refused:
            await refused.read_to_end()

        assert rig.counters["refused.max_connections"] == 1
        for client in clients:
            await client.no_frame()
            await client.close()
