from imctl.registry.memory import MemoryRegistry
from imctl.registry.polls import Cursor, HeldPoll, ask
from protocol.discovery_api import Instance
from protocol.discovery_forms import Cancel, Poll, Register, Set

NOW = 1_700_000_000_000_000_000


def register(registry, hostname="h1", appid="app", zone="z1"):
    registry.register(Register(Instance(appid=appid, hostname=hostname, zone=zone, env="dev")), NOW)
    return registry.latest_of("dev", appid)


def touch(registry, hostname="h1", appid="app"):
    registry.set(Set("z1", "dev", appid, (hostname,), metadata=('{"n":"1"}',)), NOW)


def poll(*timestamps, appids=("app", "other"), zone=""):
    return Poll("dev", "me", appids[: len(timestamps)], timestamps, zone)


def hold(registry, request, cursor, answers):
    return HeldPoll(registry, request, cursor, (), answers.append)


def test_older_timestamp_is_answered_at_once_with_all_apps_that_have_news():
    registry = MemoryRegistry()
    latest = register(registry)
    register(registry, appid="other")

    both = ask(registry, poll(0, 0), Cursor())
    one = ask(registry, poll(latest, 0), Cursor())

    assert set(both.infos) == {"app", "other"}
    assert set(one.infos) == {"other"}


def test_up_to_date_future_and_unknown_have_no_news():
    registry = MemoryRegistry()
    latest = register(registry)

    assert ask(registry, poll(latest), Cursor()).infos == {}
    assert ask(registry, poll(latest + 10**15), Cursor()).infos == {}
    assert ask(registry, poll(0, zone="z9"), Cursor()).missing == ("app",)
    assert ask(registry, poll(0, 0, appids=("a", "b")), Cursor()).missing == ("a", "b")


def test_set_between_two_polls_of_one_connection_is_not_lost():
    registry, cursor = MemoryRegistry(), Cursor()
    latest = register(registry)
    ask(registry, poll(0), cursor)

    touch(registry)

    assert ask(registry, poll(latest), cursor).infos["app"].flat()[0].metadata == {"n": "1"}
    assert ask(registry, poll(latest), cursor).infos == {}


def test_change_of_another_app_during_the_answer_comes_with_the_next_poll():
    registry, cursor, answers = MemoryRegistry(), Cursor(), []
    stamps = register(registry), register(registry, appid="other")
    ask(registry, poll(*stamps), cursor)
    hold(registry, poll(*stamps), cursor, answers)

    touch(registry)
    touch(registry, appid="other")

    assert [set(answer.infos) for answer in answers] == [{"app"}]
    assert set(ask(registry, poll(*stamps), cursor).infos) == {"other"}


def test_last_instance_leaving_is_told_once_with_a_newer_timestamp():
    registry, cursor, answers = MemoryRegistry(), Cursor(), []
    latest = register(registry)
    ask(registry, poll(latest), cursor)
    hold(registry, poll(latest), cursor, answers)

    registry.cancel(Cancel("z1", "dev", "app", "h1"))

    assert answers[0].infos["app"].instances == {}
    assert answers[0].infos["app"].latest_timestamp > latest
    # goim's client keeps its old timestamp; it must not be answered for ever.
    assert ask(registry, poll(latest), cursor).infos == {}


def test_last_instance_leaving_between_two_polls_is_told_with_the_next():
    registry, cursor = MemoryRegistry(), Cursor()
    latest = register(registry)
    ask(registry, poll(0), cursor)

    registry.cancel(Cancel("z1", "dev", "app", "h1"))

    assert ask(registry, poll(latest), cursor).infos["app"].instances == {}
    assert ask(registry, poll(latest), cursor).infos == {}
    assert ask(registry, poll(latest), Cursor()).infos == {}


def test_poll_of_one_zone_is_not_woken_by_an_app_that_is_only_in_another():
    registry, answers = MemoryRegistry(), []
    held = hold(registry, poll(0, zone="z1"), Cursor(), answers)

    register(registry, zone="z2")
    registry.cancel(Cancel("z2", "dev", "app", "h1"))
    assert answers == []
    register(registry, zone="z1")

    assert list(answers[0].infos["app"].instances) == ["z1"]
    held.close()


def test_closed_poll_hears_nothing_and_takes_nothing_from_others():
    registry, gone, answers = MemoryRegistry(), [], []
    hold(registry, poll(0), Cursor(), gone).close()
    hold(registry, poll(0), Cursor(), answers)

    register(registry)

    assert (len(gone), len(answers)) == (0, 1)


def test_cursor_remembers_a_bounded_number_of_apps():
    cursor = Cursor()

    for at in range(3000):
        cursor.note(poll(0), f"app{at}", 1)

    assert cursor.seen(poll(0), "app0") is None
    assert cursor.seen(poll(0), "app2999") == 1
