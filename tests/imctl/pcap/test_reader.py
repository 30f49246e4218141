from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.pcap import CaptureError, Packet, read_packets
from tests.imctl.pcap.build import pcap, pcapng, pcapng_block

PACKETS = [b"one", b"packet2", bytes(60)]
FILES = {
    "pcap": pcap(PACKETS),
    "pcap big-endian": pcap(PACKETS, order=">"),
    "pcapng": pcapng(PACKETS),
    "pcapng big-endian": pcapng(PACKETS, order=">"),
}


def packets_of(data: bytes) -> list[Packet]:
    return list(read_packets(io.BytesIO(data)))


def read_until_damage(data: bytes) -> tuple[list[Packet], CaptureError | None]:
    found: list[Packet] = []
    try:
        for packet in read_packets(io.BytesIO(data)):
            found.append(packet)
    except CaptureError as exc:
        return found, exc
    return found, None


@pytest.mark.parametrize("name", FILES)
def test_packets_come_in_the_order_of_the_file(name):
    found = packets_of(FILES[name])

    assert [packet.data for packet in found] == PACKETS
    assert {(packet.link_type, packet.size == len(packet.data)) for packet in found} == {(101, True)}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("unit_ns", "fraction_ns"), [(1000, 7000), (1, 7)])
def test_times_of_pcap_are_micro_or_nanoseconds(order, unit_ns, fraction_ns):
    found = packets_of(pcap(PACKETS, order=order, unit_ns=unit_ns))

    assert [packet.time_ns for packet in found] == [(1_000_000_000 + i) * 10**9 + fraction_ns for i in range(3)]


@pytest.mark.parametrize(
    ("options", "time_ns"),
    [
        (b"", 10**18),  # microseconds unless it says otherwise
        (struct.pack("<HHB3x", 9, 1, 9), 10**15),
        (struct.pack("<HHB3x", 9, 1, 0x80 | 20), 10**15 * 10**9 // 2**20),
        (struct.pack("<HHq", 14, 8, 3600), 10**18 + 3600 * 10**9),
        (struct.pack("<HH4s", 2, 3, b"eth") + struct.pack("<HHB3x", 9, 1, 9), 10**15),
        (struct.pack("<HH", 0, 0) + struct.pack("<HHB3x", 9, 1, 9), 10**18),  # behind the end of options
    ],
)
def test_times_of_pcapng_are_in_the_unit_of_the_interface(options, time_ns):
    assert packets_of(pcapng([b"x"], options=options))[0].time_ns == time_ns


def test_blocks_that_are_not_packets_are_passed_over_and_sections_start_anew():
    names = pcapng_block(4, b"names")

    found = packets_of(pcapng([b"a"]) + names + pcapng([b"b"], 1, order=">"))

    assert [(packet.data, packet.link_type) for packet in found] == [(b"a", 101), (b"b", 1)]


def test_simple_and_obsolete_packet_blocks_are_read():
    section = pcapng([])
    simple = pcapng_block(3, struct.pack("<I", 3) + b"abc")
    obsolete = pcapng_block(2, struct.pack("<HHIIII", 0, 0, 0, 5, 2, 9) + b"de")

    first, second = packets_of(section + simple + obsolete)

    assert (first.data, first.time_ns, first.size) == (b"abc", 0, 3)
    assert (second.data, second.time_ns, second.size) == (b"de", 5000, 9)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08\x00", "this is a gzip file"),
        (b"\0\0\0\x10", "it begins with 00 00 00 10; expected pcap or pcapng"),
        (b"\xa1", "it begins with a1"),
        (pcap([])[:20], "the file ends after 16 of 20 bytes of the file's header"),
        (pcap([b"abc"])[:-1], "the file ends after 2 of 3 bytes of a packet"),
        (pcap([]) + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 0), "a packet of 4294967295 bytes; expected at most 262144"),
        (pcapng([])[:8] + b"abcd" + pcapng([])[12:], "byte-order mark 61 62 63 64"),
        (pcapng([]) + pcapng_block(6, b"short"), "bad block of type 6: it is too short"),
        (pcapng([]) + pcapng_block(6, struct.pack("<IIIII", 7, 0, 0, 0, 0)), "its interface was not described"),
        (pcapng([]) + pcapng_block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99)), "bad block of type 6: it is too short"),
        (pcapng([]) + struct.pack("<II", 6, 5), "a block of 5 bytes; expected 12 to"),
        (pcapng([]) + pcapng_block(6, bytes(20))[:-4] + b"\1\0\0\0", "a block of 32 bytes that says 1 at its end"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_and_where(data, problem):
    _, damage = read_until_damage(data)

    assert damage is not None
    assert problem in str(damage)
    assert str(damage).startswith(f"at byte {damage.offset} of the file: ")


@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_file_cut_anywhere_gives_its_whole_packets_and_says_so(name, data):
    whole = FILES[name]
    size = data.draw(st.integers(0, len(whole)))

    found, damage = read_until_damage(whole[:size])

    assert [packet.data for packet in found] == PACKETS[: len(found)]
    if size == len(whole):
        assert (len(found), damage) == (len(PACKETS), None)
    elif damage is None:  # between two packets it cannot be seen
        assert len(packets_of(whole[:size])) == len(found) < len(PACKETS)


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6))
def test_damaged_files_give_packets_or_an_error_and_nothing_else(name, changes):
    damaged = bytearray(FILES[name])
    for at, value in changes:
        damaged[at % len(damaged)] = value

    found, damage = read_until_damage(bytes(damaged))

    assert damage is None or damage.offset <= len(damaged)
    assert all(len(packet.data) <= packet.size for packet in found)
