from collections import Counter

import pytest

from sim.errors import SimError
from sim.run.target import Target, comet_of, parse_target
from sim.scenario.scenario import Transport


def test_ports_are_goims_where_none_are_given():
    target = parse_target("goim://h")

    assert (target.tcp, target.ws, target.http) == ((("h", 3101),), (("h", 3102),), (("h", 3111),))
    assert (target.wss, target.tls, target.ca) == ((("h", 3103),), (("h", 3104),), "")


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
    for room in range(every):
        counts = Counter(comet_of(client, comets) for client in range(room, 600, every))

        assert len(counts) == comets
        assert max(counts.values()) - min(counts.values()) <= 6


def test_each_transport_has_addresses_of_its_own():
    target = Target("t", (("h", 1),), (("h", 2),), (), (("h", 3),), (("h", 4),))

    assert [target.comets(transport) for transport in Transport] == [(("h", port),) for port in (1, 2, 3, 4)]
