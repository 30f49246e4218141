from __future__ import annotations

import socket

import pytest

from imctl.doctor.contract import Status
from imctl.doctor.load import Load
from imctl.doctor.network import (
    check_accept_queue,
    check_ephemeral_ports,
    check_loopback,
    check_overflows,
    check_sources,
    check_tracking,
)

MANY = Load(100_000, 9, 7)
FEW = Load(1_000, 1, 2)
SOURCES = tuple(f"127.0.1.{n}" for n in range(1, 11))


@pytest.mark.parametrize(
    ("found", "clients", "status"),
    [
        ((32768, 60999), 10_000, Status.OK),
        ((32768, 60999), 20_000, Status.WARNING),
        ((32768, 40000), 10_000, Status.FAILED),
        ((1024, 65535), 10_000, Status.WARNING),
        (None, 10_000, Status.UNKNOWN),
        ((5,), 10_000, Status.UNKNOWN),
    ],
)
def test_ephemeral_ports_of_one_address_to_one_port(found, clients, status):
    assert check_ephemeral_ports(found, clients, [3101, 3102]).status is status


def test_a_range_with_ports_of_nodes_in_it_says_how_to_reserve_them():
    row = check_ephemeral_ports((1024, 65535), 100, [3101, 7171])

    assert row.fix == "sysctl -w net.ipv4.ip_local_reserved_ports=3101,7171"


def test_sources_that_can_be_had_are_fine():
    tried: list[str] = []

    row = check_sources(SOURCES, MANY, 10_000, tried.append)

    assert (row.status, row.required, row.found) == (Status.OK, "10 of 127.0.0.0/8", "127.0.1.1 to 127.0.1.10")
    assert tuple(tried) == SOURCES


def test_a_source_that_cannot_be_had_fails_and_is_named():
    def refuse(source: str) -> None:
        if source == "127.0.1.3":
            raise OSError("source 127.0.1.3 is no address of this machine")

    row = check_sources(SOURCES, MANY, 10_000, refuse)

    assert (row.status, row.found) == (Status.FAILED, "source 127.0.1.3 is no address of this machine")


@pytest.mark.parametrize(("load", "status"), [(FEW, Status.OK), (MANY, Status.WARNING)])
def test_a_system_with_one_source_is_enough_for_few(load, status):
    assert check_sources((), load, 10_000, lambda source: None).status is status


@pytest.mark.parametrize(
    ("found", "status"), [([4096], Status.OK), ([128], Status.WARNING), (None, Status.UNKNOWN), ([], Status.UNKNOWN)]
)
def test_accept_queue_against_what_a_comet_asks_for(found, status):
    assert check_accept_queue(found, 4096).status is status


@pytest.mark.parametrize(
    ("counters", "status", "found"),
    [
        ({"ListenOverflows": 0, "ListenDrops": 0}, Status.OK, "0"),
        ({"ListenOverflows": 1234}, Status.WARNING, "1,234"),
        ({}, Status.UNKNOWN, "unknown: no ListenOverflows"),
    ],
)
def test_connects_that_found_no_room(counters, status, found):
    row = check_overflows(counters)

    assert (row.status, row.found) == (status, found)


def test_no_firewall_is_no_row():
    assert check_tracking(None, FEW) == []


@pytest.mark.parametrize(("load", "status"), [(FEW, Status.OK), (MANY, Status.WARNING)])
def test_the_firewall_has_room_for_the_clients(load, status):
    (row,) = check_tracking((6_000, 65_536), load)

    assert row.status is status
    assert row.found == "59,536 free of 65,536"


def test_loopback_carries_bytes():
    assert check_loopback("127.0.0.1", is_needed=True).status is Status.OK


@pytest.mark.parametrize(("is_needed", "status"), [(True, Status.FAILED), (False, Status.WARNING)])
def test_an_address_that_cannot_be_bound_is_no_loopback(monkeypatch, is_needed, status):
    def refuse(*args: object) -> None:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(socket, "socket", refuse)

    row = check_loopback("::1", is_needed=is_needed)

    assert (row.status, row.found) == (status, "Cannot assign requested address")
