import asyncio
import threading
from time import monotonic_ns

import pytest

from sim.clients.plan import make_plan
from sim.publish.feeder import Column, Feed, FeedOrder
from sim.publish.payload import parse_template
from sim.publish.publisher import PushRun, publish
from sim.publish.stamp import TAIL_BYTES, read_stamp
from sim.run.messages import Begin, Job, Published, PublishProgress
from sim.run.target import Target
from sim.scenario.publishing import Arrival, ClosedLoop, Publisher, PublishTo, UniformSize
from sim.scenario.scenario import Phase
from sim.scenario.shapes import send_times
from tests.ports import free_port
from tests.sim.kit import RUN, ScriptedLogic, scenario_of, until

OK = b'{"code":0,"message":""}'


async def ok(path, body):
    return 200, OK


def of(scenario, address):
    return PushRun(make_plan(scenario), [address], run=RUN)


async def run_of(scenario, answer):
    """Run the whole schedule against a logic; return the run and the pushes as (path, body)."""
    pushes = []

    async def noting(path, body):
        pushes.append((path, body))
        return await answer(path, body)

    async with ScriptedLogic(noting) as logic:
        run = of(scenario, logic.address)
        await run.run(monotonic_ns() + 50_000_000)
    return run, pushes


def room_scenario(rate_per_s=100.0, duration_s=0.3, **more):
    return scenario_of(
        publish=[Publisher(PublishTo.ROOM, "viewers", rate_per_s, more.pop("size", 64))],
        phases=(Phase("steady", duration_s),),
        **more,
    )


async def test_every_message_of_the_schedule_is_pushed_with_its_number_and_intended_time():
    scenario = room_scenario(rooms=("a://1", "a://2"))

    async with ScriptedLogic(ok) as logic:
        bodies = []

        async def noting(path, body):
            bodies.append((path, body))
            return 200, OK

        logic.answer = noting
        run = of(scenario, logic.address)
        t0_ns = monotonic_ns() + 50_000_000
        await run.run(t0_ns)

    stamps = sorted(read_stamp(body, RUN) for _, body in bodies)
    planned = list(send_times(scenario.publish, scenario.phases, scenario.seed))
    assert stamps == sorted((send.number % 2, send.number // 2, t0_ns + send.at_ns) for send in planned)
    assert run.messages == len(planned) == 30
    assert [sum(log.accepted) for log in run.logs] == [15, 15]
    assert run.expected == 15 * 2 + 15 * 1  # three clients in two rooms
    assert run.errors == {}


async def test_a_logic_that_stalls_does_not_hold_the_schedule_back():
    all_there = asyncio.Event()
    arrived = []

    async def stall(path, body):
        arrived.append(body)
        if len(arrived) == 50:
            all_there.set()
        await all_there.wait()
        return 200, OK

    async with ScriptedLogic(stall) as logic:
        run = of(room_scenario(rate_per_s=50.0, duration_s=1.0), logic.address)
        t0_ns = monotonic_ns() + 50_000_000
        await run.run(t0_ns)

    [log] = run.logs
    # All were sent before the first was answered.
    assert len(arrived) == 50
    assert max(log.sent_ns) < min(log.done_ns)
    assert sum(log.accepted) == 50
    intended = [t0_ns + send.at_ns for send in send_times(run._plan.scenario.publish, run._plan.scenario.phases, 1)]
    lags_ms = sorted((sent - wanted) / 1e6 for sent, wanted in zip(log.sent_ns, intended, strict=True))
    assert lags_ms[0] >= 0
    assert lags_ms[25] < 400  # a loaded machine wakes up late now and then, but not so for half of them


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, b"oops"), "HTTP status 500"),
        ((200, b'{"code":-400,"message":"bad"}'), "logic answered code -400: bad"),
        ((200, b"{}"), "logic answered code None: no message"),
        ((200, b"not json"), "the answer is not JSON"),
        ((200, b"[1]"), "the answer is no JSON object"),
        ((200, b"\xff"), "the answer is not JSON"),
    ],
    ids=["status", "code", "no code", "no JSON", "no object", "no text"],
)
async def test_what_logic_refuses_is_counted_by_reason_and_not_expected(answer, reason):
    async def refuse_some(path, body):
        return answer if read_stamp(body, RUN)[1] % 3 == 0 else (200, OK)

    run, _ = await run_of(room_scenario(), refuse_some)

    [(found, count)] = run.failures.items()
    assert found == reason
    assert (count, run.errors, run.messages) == (10, {(0, 0): 10}, 30)
    assert [n for n, accepted in enumerate(run.logs[0].accepted) if not accepted] == list(range(0, 30, 3))
    assert run.expected == 20 * 3


async def test_refusals_of_one_code_are_one_reason_whatever_their_messages_name():
    async def refuse(path, body):
        return 200, f'{{"code": -403, "message": "message {read_stamp(body, RUN)[1]} is not allowed"}}'.encode()

    run, _ = await run_of(room_scenario(), refuse)

    [(reason, count)] = run.failures.items()
    assert reason.startswith("logic answered code -403: message ")
    assert count == 30


async def test_no_answer_in_time_is_counted_as_that(monkeypatch):
    monkeypatch.setattr("sim.publish.publisher._ANSWER_TIMEOUT_S", 0.2)

    async def never(path, body):
        await asyncio.Event().wait()

    run, _ = await run_of(room_scenario(rate_per_s=20.0), never)

    assert run.failures == {"no answer within 0 s": 6}
    assert sum(run.logs[0].accepted) == 0
    assert all(done - sent >= 150_000_000 for sent, done in zip(run.logs[0].sent_ns, run.logs[0].done_ns, strict=True))


async def test_a_logic_that_is_gone_is_counted_and_the_schedule_goes_on():
    run = of(room_scenario(), ("127.0.0.1", free_port()))
    await run.run(monotonic_ns())

    assert (run.messages, run.errors) == (30, {(0, 0): 30})
    [(reason, _)] = run.failures.items()
    assert reason == "Connection refused"


async def test_too_many_pushes_without_an_answer_are_not_sent_and_counted(monkeypatch):
    monkeypatch.setattr("sim.publish.publisher._MAX_OUTSTANDING", 5)
    answered = asyncio.Event()

    async def wait(path, body):
        await answered.wait()
        return 200, OK

    async with ScriptedLogic(wait) as logic:
        run = of(room_scenario(), logic.address)
        running = asyncio.create_task(run.run(monotonic_ns()))
        await until(lambda: run.messages == 30)
        answered.set()
        await running

    assert run.failures == {"not sent: 5 pushes wait for an answer": 25}
    assert run.messages == 30
    assert sum(run.logs[0].accepted) == 5


async def test_equal_seeds_give_equal_messages():
    scenario = room_scenario(size=UniformSize(24, 200), rooms=("a://1", "a://2"), seed=3)
    other = room_scenario(size=UniformSize(24, 200), rooms=("a://1", "a://2"), seed=4)

    runs = [await run_of(one, ok) for one in (scenario, scenario, other)]

    facts = [sorted((path, read_stamp(body, RUN)[:2], len(body)) for path, body in pushes) for _, pushes in runs]
    assert facts[0] == facts[1] != facts[2]


async def test_a_cancelled_run_ends_its_thread_and_its_pushes():
    async def never(path, body):
        await asyncio.Event().wait()

    async with ScriptedLogic(never) as logic:
        run = of(room_scenario(duration_s=60.0), logic.address)
        running = asyncio.create_task(run.run(monotonic_ns()))
        await until(lambda: run.messages > 5)
        running.cancel()
        await asyncio.wait([running])
        messages = run.messages
        for thread in threading.enumerate():
            if thread.name == "pacer":
                await asyncio.to_thread(thread.join, 5)
        await asyncio.sleep(0.05)

    assert running.cancelled()
    assert run.messages == messages > 0
    assert not [thread for thread in threading.enumerate() if thread.name == "pacer"]


async def test_the_process_says_when_it_is_ready_and_what_it_published():
    async with ScriptedLogic(ok) as logic:
        here = (("127.0.0.1", logic.port),)
        job = Job(room_scenario(), Target("t", here, here, here), RUN)
        sent, ready, over = [], asyncio.Event(), asyncio.Event()

        def send(message):
            sent.append(message)
            (over if isinstance(message, Published) else ready).set()

        async def parent():
            yield job
            await ready.wait()
            yield Begin(monotonic_ns() + 50_000_000)
            await over.wait()

        await publish(parent(), send)

    assert sent[0] == PublishProgress(0, 0, 0)
    published = sent[-1]
    assert (len(published.logs[0]), published.errors, published.expected) == (30, {}, 90)
    assert sum(published.seconds.values()) == published.lag[0, 0].count == published.sent[0, 0] == 30


async def test_a_fault_of_the_run_ends_the_process(monkeypatch):
    async def broken(self, t0_ns):
        raise RuntimeError("a fault")

    monkeypatch.setattr(PushRun, "run", broken)
    here = (("127.0.0.1", 1),)

    async def parent():
        yield Job(room_scenario(), Target("t", here, here, here), RUN)
        yield Begin(monotonic_ns())
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await publish(parent(), lambda message: None)

    assert caught.group_contains(RuntimeError, match="a fault")


def mixed_scenario(seed=1, **more):
    """Two kinds of message in one schedule: a text from a feed's rows, and filler."""
    users = Feed("u", "u.csv", FeedOrder.RANDOM, ("name", "room"), (("A", "B"), ("a://1", "a://2")), (2, 3))
    common = {"mix": "talk", "arrival": Arrival.POISSON}
    text = Publisher(
        PublishTo.ROOM,
        "",
        80.0,
        weight=0.8,
        body=parse_template("${seq} ${u.name} ${uuid}"),
        targets=Column("u", "room"),
        op=1001,
        **common,
    )
    filler = Publisher(PublishTo.ALL, "", 20.0, UniformSize(24, 200), weight=0.2, speed=9, **common)
    rooms = ("a://1", "a://2")
    phases = (Phase("steady", 0.5),)
    return scenario_of(publish=[text, filler], feeds=[users], rooms=rooms, phases=phases, seed=seed, **more)


async def test_a_message_has_its_content_its_operation_and_its_stamp():
    run, pushes = await run_of(mixed_scenario(), ok)

    texts = [(path, body) for path, body in pushes if "/room?" in path]
    filler = [(path, body) for path, body in pushes if "/all?" in path]
    assert len(pushes) == len(texts) + len(filler) == run.messages == 50
    assert {path.partition("&")[0] for path, _ in texts} == {"/goim/push/room?operation=1001"}
    assert {path for path, _ in filler} == {"/goim/push/all?operation=1000&speed=9"}
    assert sorted(int(body.split()[0]) for _, body in texts) == list(range(len(texts)))
    for path, body in texts:
        room, stream = ("1", 0) if body.split()[1] == b"A" else ("2", 1)
        assert path.endswith(f"&type=a&room={room}")
        assert read_stamp(body, RUN)[0] == stream
    assert sum(run.sent.values()) == 50
    assert run.sent[1, 0] == len(filler)
    assert [len(log) for log in run.logs] == [sum(read_stamp(b, RUN)[0] == n for _, b in pushes) for n in range(3)]


async def test_equal_seeds_give_equal_contents():
    runs = [await run_of(mixed_scenario(seed), ok) for seed in (3, 3, 4)]

    # Of a text what comes before its stamp, of filler its length.
    facts = [
        sorted((path, body[:-TAIL_BYTES] if "/room?" in path else b"." * len(body)) for path, body in pushes)
        for _, pushes in runs
    ]
    assert facts[0] == facts[1] != facts[2]


async def test_a_publisher_whose_rows_are_used_up_sends_no_more():
    once = Feed("u", "u.csv", FeedOrder.ONCE, ("name",), (("A", "B", "C"),), (2, 3, 4))
    publisher = Publisher(PublishTo.ALL, "", 100.0, body=parse_template("${u.name}"))
    scenario = scenario_of(publish=[publisher], feeds=[once], phases=(Phase("steady", 0.1),))

    run, pushes = await run_of(scenario, ok)

    assert [body[:1] for _, body in pushes] == [b"A", b"B", b"C"]
    assert (run.messages, run.lag[0, 0].count, run.errors) == (3, 3, {})


async def test_a_closed_loop_is_stamped_with_the_actual_time_and_is_never_late():
    answers = []

    async def slow(path, body):
        await asyncio.sleep(0.02)
        answers.append(monotonic_ns())
        return 200, OK

    publisher = Publisher(PublishTo.ALL, "", 0.0, closed=ClosedLoop(2), name="writers")
    run, pushes = await run_of(scenario_of(publish=[publisher], phases=(Phase("steady", 1.5),)), slow)

    [log] = run.logs
    assert 2 < len(pushes) == run.messages == sum(log.accepted) <= 2 * 1.5 / 0.02
    assert sorted(read_stamp(body, RUN)[2] for _, body in pushes) == log.sent_ns
    assert run.lag == {}
    # Two at a time: the next begins when one of them is done.
    assert all(log.sent_ns[n + 2] >= sorted(log.done_ns)[n] for n in range(len(log) - 2))


async def test_an_open_loop_beside_a_closed_one_keeps_to_its_schedule_and_phases_never_fall():
    open_loop = Publisher(PublishTo.ALL, "", 200.0)
    closed = Publisher(PublishTo.ALL, "", 0.0, closed=ClosedLoop(5, 0.001))
    phases = tuple(Phase(str(n), 0.1) for n in range(4))

    run, pushes = await run_of(scenario_of(publish=[open_loop, closed], phases=phases), ok)

    [log] = run.logs
    assert sum(count for (publisher, _), count in run.sent.items() if publisher == 0) == 80
    assert run.sent.total() == len(log) == len(pushes)
    # A machine that was held up for a phase has sent its messages in the next one.
    assert log.phase == sorted(log.phase)
    assert log.phase[-1] == 3


async def test_a_run_that_is_stopped_ends_its_closed_loops():
    async with ScriptedLogic(ok) as logic:
        publisher = Publisher(PublishTo.ALL, "", 0.0, closed=ClosedLoop(3, 0.001))
        run = of(scenario_of(publish=[publisher], phases=(Phase("steady", 600.0),)), logic.address)
        running = asyncio.create_task(run.run(monotonic_ns()))
        await until(lambda: run.messages > 5)

        run.stop()
        await asyncio.wait_for(running, 10)

    assert sum(run.logs[0].accepted) == run.messages


async def test_a_fault_of_a_closed_loop_ends_the_run(monkeypatch):
    def broken(self, number, rng):
        raise RuntimeError("a fault")

    monkeypatch.setattr("sim.publish.composer.Composer.compose", broken)
    publisher = Publisher(PublishTo.ALL, "", 0.0, closed=ClosedLoop(1))
    run = of(scenario_of(publish=[publisher], phases=(Phase("steady", 600.0),)), ("127.0.0.1", 1))

    with pytest.raises(RuntimeError, match="a fault"):
        await asyncio.wait_for(run.run(monotonic_ns()), 10)
