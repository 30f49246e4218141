"""Bytes of goim's wire explained to people: what each frame is, and what is wrong where."""

from imctl.decode.items import Kind, Problem, Report, Row
from imctl.decode.source import Source, SourceError, parse_bytes, parse_text
from imctl.decode.walk import Walk, decode, walk

__all__ = [
    # items
    "Kind",
    "Problem",
    "Report",
    "Row",
    # source
    "Source",
    "SourceError",
    "parse_bytes",
    "parse_text",
    # walk
    "Walk",
    "decode",
    "walk",
]
