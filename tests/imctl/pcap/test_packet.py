from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imctl.pcap import NoSegment, Packet, Segment, parse_segment
from imctl.pcap.packet import ACK, SYN
from tests.imctl.pcap.build import LINKS, ip_packet

V4 = (("10.0.0.1", 40000), ("10.0.0.2", 3101))
V6 = (("fe80::1", 40000), ("fe80::2", 3101))
TCP = struct.pack(">HHIIBBHHH", 40000, 3101, 7, 9, 0x50, ACK, 100, 0, 0) + b"payload"
WITH_OPTIONS = TCP[:12] + bytes([0x60]) + TCP[13:20] + bytes(4) + b"payload"


def parse(packet: bytes, link: str = "raw", *, kept: int | None = None) -> Segment | NoSegment:
    link_type, wrap = LINKS[link]
    data = wrap(packet)
    return parse_segment(Packet(0, link_type, data[:kept], len(data)))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
def test_a_segment_is_found_under_each_link_layer(link, ends):
    found = parse(ip_packet(*ends, TCP), link)

    assert found == Segment(*ends, 7, 9, ACK, b"payload", 7)


@pytest.mark.parametrize(
    "extension",
    [
        bytes([0, 6, 0]) + bytes(6),  # hop by hop
        bytes([43, 6, 1]) + bytes(14),  # routing
        bytes([51, 6, 1]) + bytes(10),  # authentication
        bytes([44, 6, 0]) + bytes(6),  # a fragment that is the whole packet
    ],
)
def test_extension_headers_of_ipv6_are_passed_over(extension):
    assert parse(ip_packet(*V6, TCP, extension=extension)) == Segment(*V6, 7, 9, ACK, b"payload", 7)


def test_tcp_options_are_passed_over():
    assert parse(ip_packet(*V4, WITH_OPTIONS)) == Segment(*V4, 7, 9, ACK, b"payload", 7)


def test_padding_of_a_short_ethernet_frame_is_no_payload():
    syn = struct.pack(">HHIIBBHHH", 40000, 3101, 7, 0, 0x50, SYN, 100, 0, 0)

    found = parse(ip_packet(*V4, syn) + bytes(6), "ethernet")

    assert isinstance(found, Segment)
    assert (found.payload, found.size) == (b"", 0)


def test_a_packet_that_the_snapshot_length_cut_says_how_long_it_was():
    found = parse(ip_packet(*V4, TCP), kept=43)

    assert isinstance(found, Segment)
    assert (found.payload, found.size) == (b"pay", 7)


def test_a_length_of_zero_is_that_of_segmentation_offload():
    packet = ip_packet(*V4, TCP)

    found = parse(packet[:2] + b"\0\0" + packet[4:])

    assert isinstance(found, Segment)
    assert found.payload == b"payload"


def changed(packet: bytes, at: int, value: bytes) -> bytes:
    return packet[:at] + value + packet[at + len(value) :]


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (changed(ip_packet(*V4, TCP), 9, b"\x11"), NoSegment.OTHER),  # UDP
        (changed(ip_packet(*V4, TCP), 6, b"\x20\0"), NoSegment.FRAGMENT),  # more follow
        (changed(ip_packet(*V4, TCP), 6, b"\0\x09"), NoSegment.FRAGMENT),  # a later one
        (ip_packet(*V6, TCP, extension=bytes([44, 6, 0, 0, 1]) + bytes(4)), NoSegment.FRAGMENT),
        (ip_packet(*V4, TCP)[:30], NoSegment.CUT),
        (ip_packet(*V6, TCP)[:20], NoSegment.CUT),
        (b"", NoSegment.CUT),
        (b"\x20" + bytes(60), NoSegment.OTHER),
        (changed(ip_packet(*V4, TCP), 32, b"\x10"), NoSegment.OTHER),  # a TCP header of 4 bytes
    ],
)
def test_other_packets_say_why_they_are_not_read(packet, why):
    assert parse(packet) is why


def test_an_unknown_link_type_is_named():
    assert parse_segment(Packet(0, 147, ip_packet(*V4, TCP), 47)) is NoSegment.LINK


def test_ethernet_without_ip_is_passed_over():
    assert parse_segment(Packet(0, 1, bytes(12) + b"\x08\x06" + bytes(28), 42)) is NoSegment.OTHER


@given(st.sampled_from([link_type for link_type, _ in LINKS.values()]), st.binary(max_size=120))
def test_any_bytes_give_a_segment_or_a_reason(link_type, data):
    found = parse_segment(Packet(0, link_type, data, len(data)))

    assert isinstance(found, NoSegment) or len(found.payload) <= found.size
