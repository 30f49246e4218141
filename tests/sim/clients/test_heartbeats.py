import asyncio
from contextlib import asynccontextmanager

from protocol.operation import Operation
from sim.clients.heartbeats import Heartbeats
from tests.sim.kit import until


class Beating:
    """What heartbeats need of a client."""

    def __init__(self, *, is_in=True, silenced=0):
        self.is_in = is_in
        self.silenced = silenced
        self.beats = 0

    def send(self, op):
        assert op == Operation.HEARTBEAT
        self.beats += 1
        if self.beats == 1:
            raise OSError("a connection that is about to be lost")


@asynccontextmanager
async def sending(heartbeats):
    task = asyncio.create_task(heartbeats.send())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()  # nothing else has ended it


async def test_who_is_in_and_not_silent_beats_again_and_again():
    clients = [Beating(), Beating(is_in=False), Beating(silenced=1), Beating()]

    async with sending(Heartbeats(clients, [0, 1, 2], 0.01)):
        await until(lambda: clients[0].beats >= 4)
        clients[2].silenced = 0
        clients[1] = Beating()  # it has come back
        await until(lambda: clients[2].beats >= 2 and clients[1].beats >= 2)

    assert clients[3].beats == 0  # of another population


async def test_a_connection_beside_them_beats_for_as_long_as_it_is_in():
    client, beside = Beating(), Beating()
    heartbeats = Heartbeats([client], [0], 0.01)

    async with sending(heartbeats):
        heartbeats.beat_too(beside)
        await until(lambda: beside.beats >= 3)
        beside.is_in = False
        await until(lambda: len(heartbeats._due) == 1)
        beside.is_in = True
        seen, beats = beside.beats, client.beats
        await until(lambda: client.beats >= beats + 3)

    assert beside.beats == seen
