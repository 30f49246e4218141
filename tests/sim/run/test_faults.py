import asyncio
from time import monotonic_ns

import pytest

from sim.errors import SimError
from sim.run.faults import check_node_events, play_node_events
from sim.scenario.scenario import Event, EventKind
from tests.sim.kit import scenario_of


class Nodes:
    """A cluster that notes what is done to it.

    Args:
        broken: Operations that fail.
        stuck: Operations that never come to an end.
    """

    nodes = ("core", "comet-1")

    def __init__(self, *, broken=(), stuck=()):
        self.seen = []
        self.reached = asyncio.Event()
        self._broken = broken
        self._stuck = stuck

    async def kill(self, node):
        await self._do("kill", node)

    async def pause(self, node):
        await self._do("pause", node)

    async def resume(self, node):
        await self._do("resume", node)

    async def restart(self, node):
        await self._do("restart", node)

    async def _do(self, what, node):
        self.seen.append((what, node))
        self.reached.set()
        if what in self._stuck:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if what in self._broken:
            raise SimError(f"{what} is not possible")


def node_event(kind, *, at_s=0.0, node="comet-1", for_s=None):
    return Event(at_s, kind, node=node, for_s=for_s, line=7, column=5)


async def played(nodes, *events):
    done, failed = [], []
    await play_node_events(events, nodes, monotonic_ns(), done, failed)
    return [(report.do, report.target) for report in done], failed


async def test_a_node_is_killed_and_another_restarted_in_the_order_of_their_times():
    nodes = Nodes()

    done, failed = await played(
        nodes, node_event(EventKind.RESTART, at_s=0.05, node="core"), node_event(EventKind.KILL)
    )

    assert nodes.seen == [("kill", "comet-1"), ("restart", "core")]
    assert (done, failed) == ([("kill", "comet-1"), ("restart", "core")], [])


async def test_a_pause_has_its_length_and_an_end():
    nodes = Nodes()
    begin_ns = monotonic_ns()

    done, _ = await played(nodes, node_event(EventKind.PAUSE, for_s=0.1))

    assert monotonic_ns() - begin_ns >= 99_000_000
    assert nodes.seen == [("pause", "comet-1"), ("resume", "comet-1")]
    assert done == [("pause", "comet-1")]


@pytest.mark.parametrize("stuck", [(), ("pause",)], ids=["while it lasts", "before it is confirmed"])
async def test_a_run_that_is_stopped_leaves_no_node_paused_and_tells_of_the_pause(stuck):
    nodes = Nodes(stuck=stuck)
    done = []
    pause = [node_event(EventKind.PAUSE, for_s=60.0)]
    playing = asyncio.create_task(play_node_events(pause, nodes, monotonic_ns(), done, []))
    await nodes.reached.wait()
    for _ in range(5):
        await asyncio.sleep(0)

    playing.cancel()
    await asyncio.wait([playing])

    assert playing.cancelled()
    assert nodes.seen == [("pause", "comet-1"), ("resume", "comet-1")]
    assert len(done) == (0 if stuck else 1)


async def test_what_cannot_be_done_is_told_and_ends_no_other_event():
    nodes = Nodes(broken=("kill",))

    done, failed = await played(
        nodes, node_event(EventKind.KILL), node_event(EventKind.RESTART, at_s=0.05, node="core")
    )

    assert done == [("restart", "core")]
    [reason] = failed
    assert reason.startswith("kill comet-1 at 0.0")
    assert reason.endswith(" s: kill is not possible")


async def test_a_pause_that_failed_is_undone_all_the_same():
    nodes = Nodes(broken=("pause",))

    done, failed = await played(nodes, node_event(EventKind.PAUSE, for_s=1.0))

    assert nodes.seen == [("pause", "comet-1"), ("resume", "comet-1")]
    assert (done, len(failed)) == ([], 1)


async def test_a_node_that_cannot_be_resumed_is_told():
    _, failed = await played(Nodes(broken=("resume",)), node_event(EventKind.PAUSE, for_s=0.01))

    [reason] = failed
    assert reason.startswith("pause comet-1 at 0.0")
    assert reason.endswith("resume is not possible")


async def test_events_on_clients_are_none_of_its_business():
    nodes = Nodes()

    assert await played(nodes, Event(0.0, EventKind.DISCONNECT, "viewers")) == ([], [])
    check_node_events(scenario_of(events=[Event(0.0, EventKind.DISCONNECT, "viewers")]), None)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (None, ":7:5: kill comet-9: the nodes of this target cannot be reached"),
        (Nodes, ":7:5: kill comet-9: there is no node 'comet-9'"),
    ],
    ids=["a foreign cluster", "no such node"],
)
def test_an_event_that_cannot_be_is_an_error_before_the_run(nodes, message):
    scenario = scenario_of(events=[node_event(EventKind.KILL, node="comet-9")])

    with pytest.raises(SimError) as caught:
        check_node_events(scenario, nodes() if nodes else None)

    assert caught.value.message == message
    assert caught.value.hint
