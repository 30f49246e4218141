from collections import Counter

import pytest

from sim.errors import SimError
from sim.target import Target, parse_target


def test_ports_are_goims_where_none_are_given():
    target = parse_target("goim://h")

    assert (target.tcp, target.ws, target.http) == ((("h", 3101),), (("h", 3102),), (("h", 3111),))


def test_ports_repeat_and_may_be_on_other_hosts():
    target = parse_target("goim://h?tcp=1&tcp=other:2&ws=[::1]:3&http=4")

    assert target.tcp == (("h", 1), ("other", 2))
    assert target.ws == (("::1", 3),)
    assert target.http == (("h", 4),)


@pytest.mark.parametrize(
    "text",
    [
        *("", "h", "http://h", "goim://", "goim://?tcp=1", "goim://h?udp=1", "goim://h?tcp"),
        *("goim://h?tcp=", "goim://h?tcp=x", "goim://h?tcp=0", "goim://h?tcp=65536", "goim://h?tcp=:1"),
        *("goim://h:3101", "goim://h:x", "goim://h/path", "goim://user@h", "goim://h#x", "goim://[::1"),
    ],
)
def test_anything_else_is_refused_with_its_text(text):
    with pytest.raises(SimError) as caught:
        parse_target(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("comets", [1, 2, 3, 6])
@pytest.mark.parametrize("every", [1, 2, 4, 7])
def test_clients_of_each_room_are_spread_evenly_over_comets(comets, every):
    target = Target("t", tuple(("h", port) for port in range(comets)), (("h", 99),), ())

    for room in range(every):
        counts = Counter(target.address(client, is_ws=False) for client in range(room, 600, every))

        assert len(counts) == comets
        assert max(counts.values()) - min(counts.values()) <= 6


def test_websocket_clients_have_addresses_of_their_own():
    target = Target("t", (("h", 1),), (("h", 2),), ())

    assert (target.address(5, is_ws=False), target.address(5, is_ws=True)) == (("h", 1), ("h", 2))
