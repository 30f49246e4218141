"""Capture files of network traffic: read, put together, written."""

from imctl.pcap.goim import COMET_PORTS, Capture, address_text
from imctl.pcap.packet import Endpoint, NoSegment, Segment, parse_segment
from imctl.pcap.reader import CaptureError, Packet, read_packets
from imctl.pcap.tcp import Flow, Reassembler
from imctl.pcap.writer import PcapngWriter, Sink, TcpScript

__all__ = [
    # goim
    "COMET_PORTS",
    "Capture",
    "address_text",
    # packet
    "Endpoint",
    "NoSegment",
    "Segment",
    "parse_segment",
    # reader
    "CaptureError",
    "Packet",
    "read_packets",
    # tcp
    "Flow",
    "Reassembler",
    # writer
    "PcapngWriter",
    "Sink",
    "TcpScript",
]
