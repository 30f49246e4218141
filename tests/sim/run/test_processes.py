import asyncio
import contextlib

import pytest

from sim.errors import RunInterruptedError
from sim.run.heartbeats import Heartbeats
from sim.run.messages import Connect, Connected, Finish, Job, Progress, Seen
from sim.run.process import WorkerDiedError
from sim.run.processes import RunProcesses
from tests.sim.kit import NOWHERE, scenario_of, until

PROGRESS = Progress(1, 0, 1, 0)


class FakeWorker:
    """Says what the test has it say; one that is stopped reads nothing."""

    def __init__(self, name):
        self.name = name
        self.told = []
        self.stopped = False
        self.given_up = asyncio.Event()
        self._says = asyncio.Queue()

    def say(self, message):
        self._says.put_nowait(message)

    def end(self):
        self._says.put_nowait(None)

    async def start(self):
        pass

    async def send(self, message):
        if self.stopped:
            await self.given_up.wait()
            raise await self.died()
        self.told.append(message)

    async def messages(self):
        while (message := await self._says.get()) is not None:
            yield message

    async def died(self):
        return WorkerDiedError(self.name, -9, "")

    def give_up(self):
        self.given_up.set()
        self.end()

    async def stop(self):
        self.end()


class FakeCrew:
    def __init__(self, *workers):
        self.workers = workers

    async def start(self):
        return self.workers

    def ended(self):
        return ""

    async def clocks(self):
        return ()

    async def stop(self):
        for worker in self.workers:
            worker.end()


class Bench:
    def __init__(self):
        self.now_ns = 0
        self.taken = []
        self.workers = [FakeWorker("worker 1"), FakeWorker("worker 2")]
        self.interrupt = asyncio.Event()
        take = lambda child, message: self.taken.append((child.name, message))  # noqa: E731  one line for one thing
        self.processes = RunProcesses(FakeCrew(*self.workers), take, self.interrupt)
        self.publisher = self.processes.publisher = FakeWorker("publisher")
        self.processes.heartbeats = Heartbeats(10.0, lambda: self.now_ns)

    @contextlib.asynccontextmanager
    async def running(self):
        job = Job(scenario_of(), NOWHERE, 1)
        async with self.processes.running(lambda part, parts: Job(job.scenario, NOWHERE, 1, part, parts), job):
            yield self.processes

    @property
    def dead(self):
        return [str(error) for error in self.processes.dead]

    async def be_silent(self, *speaking):
        """Let the time pass after which one that says nothing hangs, while others speak."""
        for _ in range(2):  # the first look finds all of them speaking
            heard = len(self.taken)
            for worker in speaking:
                worker.say(PROGRESS)
            await until(lambda heard=heard: len(self.taken) == heard + len(speaking))
        for _ in range(25):
            self.now_ns += 500_000_000
            for worker in speaking:
                self.processes.heartbeats.heard(worker.name)
            for name, silent_s in self.processes.heartbeats.look().items():
                self.processes.give_up(name, f"nothing came from it for {silent_s:.0f} s")


@pytest.fixture
def bench():
    return Bench()


async def test_each_gets_its_part_and_what_they_say_is_taken(bench):
    async with bench.running() as processes:
        await processes.tell_workers(Connect())
        bench.workers[1].say(Connected())
        await until(lambda: bench.taken)

    assert [(worker.told[0].part, worker.told[0].parts, worker.told[1]) for worker in bench.workers] == [
        (0, 2, Connect()),
        (1, 2, Connect()),
    ]
    assert bench.taken == [("worker 2", Connected())]
    assert (bench.dead, processes.living) == ([], {"worker 1", "worker 2"})


async def test_what_is_for_the_publisher_is_passed_on(bench):
    async with bench.running():
        bench.workers[0].say(Seen(((1, 2),)))
        await until(lambda: len(bench.publisher.told) == 2)

    assert bench.publisher.told[1] == Seen(((1, 2),))
    assert bench.taken == []


async def test_one_that_ends_by_itself_is_dead_and_is_told_nothing_more(bench):
    async with bench.running() as processes:
        bench.workers[0].end()
        await until(lambda: processes.dead)
        await processes.tell_workers(Connect())

    assert bench.dead == ["worker 1 ended with exit code -9"]
    assert processes.living == {"worker 2"}
    assert processes.publisher_lives
    assert [len(worker.told) for worker in bench.workers] == [1, 2]


async def test_one_that_hangs_is_named_given_up_and_holds_up_nobody_who_tells_it_something(bench):
    async with bench.running() as processes:
        bench.workers[0].say(PROGRESS)
        await until(lambda: bench.taken)
        bench.workers[0].stopped = True
        telling = asyncio.create_task(processes.tell_workers(Finish({})))
        await bench.be_silent(bench.workers[1], bench.publisher)
        async with asyncio.timeout(10):
            await telling

    assert bench.dead == ["worker 1 hung: nothing came from it for 10 s"]
    assert [error.fate for error in processes.dead] == ["hung"]
    assert bench.workers[0].given_up.is_set()
    assert isinstance(bench.workers[1].told[-1], Finish)


async def test_a_publisher_that_hangs_does_not_silence_the_workers_that_have_something_for_it(bench):
    async with bench.running() as processes:
        bench.publisher.say(PROGRESS)
        await until(lambda: bench.taken)
        bench.publisher.stopped = True
        bench.workers[0].say(Seen(((1, 2),)))
        bench.workers[0].say(Connected())
        await bench.be_silent(bench.workers[1])
        await until(lambda: ("worker 1", Connected()) in bench.taken)

    assert bench.dead == ["publisher hung: nothing came from it for 10 s"]
    assert not processes.publisher_lives


async def test_an_interrupt_before_there_are_workers_is_the_end_of_the_run(bench):
    bench.interrupt.set()
    bench.processes.crew.start = asyncio.Event().wait

    with pytest.raises(RunInterruptedError, match="before it had its workers"):
        async with bench.running():
            raise AssertionError
