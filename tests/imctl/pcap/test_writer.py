from __future__ import annotations

import io
import ipaddress
import struct

import pytest

from imctl.pcap import NoSegment, PcapngWriter, Segment, TcpScript, parse_segment, read_packets
from imctl.pcap.packet import ACK, FIN, RST, SYN

V4 = (("10.0.0.1", 40000), ("10.0.0.2", 3101))
V6 = (("fe80::1", 40000), ("fe80::2", 3101))


def written(*batches: tuple[int, list[bytes]]) -> bytes:
    file = io.BytesIO()
    writer = PcapngWriter(file, "a test")
    for time_ns, packets in batches:
        writer.add(time_ns, packets)
    return file.getvalue()


def segments(packets: list[bytes]) -> list[Segment]:
    found = [parse_segment(packet) for packet in read_packets(io.BytesIO(written((0, packets))))]
    assert not any(isinstance(segment, NoSegment) for segment in found)
    return [segment for segment in found if isinstance(segment, Segment)]


def sum_of(data: bytes) -> int:
    """Return the Internet checksum's sum, by its definition: 0xFFFF over data with a right checksum."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_packets_and_times_are_read_back_to_the_nanosecond():
    found = list(read_packets(io.BytesIO(written((1_700_000_000_123_456_789, [b"one", b"four"]), (1, [b"x"])))))

    assert [(packet.time_ns, packet.data) for packet in found] == [
        (1_700_000_000_123_456_789, b"one"),
        (1_700_000_000_123_456_789, b"four"),
        (1, b"x"),
    ]


def test_each_write_ends_with_a_whole_block():
    writes: list[bytes] = []

    class Sink:
        def write(self, data: bytes) -> int:
            writes.append(data)
            return len(data)

    writer = PcapngWriter(Sink(), "a test")
    writer.add(1, [b"abc"])
    writer.add(2, [b"d", b"efghi"])

    for count in range(1, len(writes) + 1):
        assert len(list(read_packets(io.BytesIO(b"".join(writes[:count]))))) == [0, 1, 3][count - 1]


def test_a_connection_has_the_numbers_it_would_have():
    script = TcpScript(*V4, 3)
    packets = script.open() + script.send(b"hello", from_client=True) + script.send(b"you", from_client=False)

    found = segments(packets + script.finish(from_client=True) + script.reset(from_client=False))

    client0, comet0 = found[0].seq, found[1].seq
    assert [(s.source == V4[0], s.flags, (s.seq - (client0, comet0)[s.source != V4[0]]) % 2**32) for s in found] == [
        (True, SYN, 0),
        (False, SYN | ACK, 0),
        (True, ACK, 1),
        (True, ACK, 1),
        (False, ACK, 1),
        (True, FIN | ACK, 6),
        (False, ACK, 4),
        (False, RST | ACK, 4),
    ]
    assert [(s.ack - (comet0, client0)[s.source != V4[0]]) % 2**32 for s in found[1:]] == [1, 1, 1, 6, 4, 7, 7]


@pytest.mark.parametrize("ends", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("data", [b"odd", b"even", b"\xff\xff", bytes(10), b"\xff" * 40001])
def test_checksums_are_right(ends, data):
    for packet in TcpScript(*ends).send(data, from_client=True):
        if packet[0] >> 4 == 4:
            assert sum_of(packet[:20]) == 0xFFFF
            addresses, segment = packet[12:20], packet[20:]
        else:
            addresses, segment = packet[8:40], packet[40:]
        assert sum_of(addresses + struct.pack(">II", len(segment), 6) + segment) == 0xFFFF


def test_long_data_is_several_packets():
    data = bytes(range(256)) * 400

    found = segments(TcpScript(*V4).send(data, from_client=False))

    assert len(found) == 4
    assert b"".join(segment.payload for segment in found) == data


def test_an_ipv4_end_beside_an_ipv6_one_is_mapped():
    [found] = segments(TcpScript(V4[0], V6[1]).send(b"x", from_client=True))

    assert ipaddress.ip_address(found.source[0]) == ipaddress.ip_address("::ffff:10.0.0.1")
    assert found.target[0] == "fe80::2"


def test_bytes_that_are_skipped_are_a_hole_in_the_numbers():
    script = TcpScript(*V4)

    before = script.send(b"ab", from_client=True)
    script.skip(10, from_client=True)
    first, second = segments(before + script.send(b"cd", from_client=True))

    assert (second.seq - first.seq) % 2**32 == 12
