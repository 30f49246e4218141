from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imctl.comet.hub import Room
from imctl.link.limits import MAX_MESSAGE_BYTES
from imctl.room_counts import fitting
from protocol.pb.logic import OnlineReq
from tests.imctl.comet.raw import Raw, Rig, eventually

TOO_MANY = MAX_MESSAGE_BYTES // 4000 + 1


def long_rooms(count: int) -> dict[str, int]:
    """Rooms as hostile clients name them: as long as a frame may be."""
    return {f"live://{n:04000}": 1 for n in range(count)}


@given(st.dictionaries(st.text(max_size=30), st.integers(-(2**31), 2**31 - 1)), st.integers(0, 2000))
def test_what_is_kept_fits_and_nothing_shorter_is_left_out(counts, most_bytes):
    kept = fitting(counts, most_bytes)

    assert kept.items() <= counts.items()
    assert not kept or OnlineReq(roomCount=kept).ByteSize() <= most_bytes
    if left_out := counts.keys() - kept.keys():
        assert min(map(len, left_out)) >= max(map(len, kept), default=0)
        assert OnlineReq(roomCount=counts).ByteSize() + 24 * len(counts) > most_bytes


def test_rooms_that_all_fit_are_the_same_mapping():
    counts = {"live://1": 5}

    assert fitting(counts) is counts


async def test_clients_with_long_room_names_do_not_stop_the_counts_of_the_others():
    async with Rig(link="batched", online_delay_s=0.02, renew_online_s=0.05) as rig:
        rig.logic.rooms = {"live://1": 40}
        rooms = rig.comet.sessions.hub.rooms
        for key in long_rooms(TOO_MANY):
            rooms[key] = Room(key)
            rooms[key].tcp[object()] = None  # type: ignore[index]  # a member that is only counted

        async with await Raw.login(rig.tcp, key="a", room_id="live://1") as client:
            await eventually(lambda: rig.comet.sessions.hub.online == {"live://1": 40})
            assert await client.heartbeat() == 40

        assert rig.counters["rooms_not_reported"] >= 1
        rooms.clear()
