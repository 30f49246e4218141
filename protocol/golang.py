"""What Go's standard library does to text, where goim lets a client see it.

goim's HTTP API shows the rules of net/url (queries, room keys as URLs),
strconv (numbers and their errors) and encoding/json (escapes, key order).
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

__all__ = ["GoNumberError", "dump_json", "parse_int", "parse_query", "quote", "url_host"]

_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HTML_SAFE = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"},
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PORT = re.compile(r":[0-9]*", re.ASCII)
_HOST = re.compile(r"""(?:[A-Za-z0-9!$&'()*+,;=:\[\]<>"._~-]|[^\x00-\x7f]|%25|%[89A-Fa-f][0-9A-Fa-f])*""")
_USER = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class GoNumberError(ValueError):
    """A text is not a decimal integer of the size; reads as strconv's error."""


def parse_int(text: str, bits: int) -> int:
    """Return a decimal integer with an optional sign; "" is 0, as gin has it.

    Raises:
        GoNumberError: not such a number, or out of the range of `bits`.
    """
    if not text:
        return 0
    if len(text) < 10 and text.isascii() and text.isdigit():
        return int(text)  # nearly all of them
    # The length check keeps Python's own limit on digits (4300) out of the way.
    if not _INT.fullmatch(text):
        raise GoNumberError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    value = int(text) if len(text) < 64 else 1 << 64
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise GoNumberError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return value


def quote(text: str) -> str:
    """Return the text in double quotes as strconv.Quote does."""
    return '"' + "".join(_quoted(letter) for letter in text) + '"'


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def _quoted(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    code = ord(letter)
    if code < 0x80:
        return _ESCAPES.get(letter, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def dump_json(value: Any) -> bytes:
    """Return compact JSON with `<`, `>`, `&` and the two line separators escaped, text in UTF-8.

    Any: what json takes. Members stay in the order given; Go sorts a map's
    keys and keeps a struct's, so the caller decides.
    """
    return _encode(value).translate(_HTML_SAFE).encode("utf-8", "replace")


def parse_query(query: str) -> list[tuple[str, str]]:
    """Return the pairs of a query; a pair with `;` or a broken escape is left out, as Go 1.17 does.

    Bytes that are not UTF-8 come as lone surrogates, so a caller can tell.
    """
    pairs = []
    for part in query.split("&"):
        if not part or ";" in part:
            continue
        name, _, value = part.partition("=")
        if "%" in part or "+" in part:
            if _BAD_ESCAPE.search(part):
                continue
            name, value = _unescape(name), _unescape(value)
        pairs.append((name, value))
    return pairs


def _unescape(text: str) -> str:
    # surrogateescape both ways: the request line itself may have had bytes over 127.
    raw = text.replace("+", " ").encode("utf-8", "surrogateescape")
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def url_host(url: str) -> str:
    """Return the host part of a URL as net/url parses it, "" when it has none.

    Raises:
        ValueError: net/url would not parse it.
    """
    if any(letter < " " or letter == "\x7f" for letter in url):
        raise ValueError("control character")
    rest, _, fragment = url.partition("#")
    if _BAD_ESCAPE.search(fragment):
        raise ValueError("bad escape in the fragment")
    scheme = _SCHEME.match(rest)
    if scheme:
        rest = rest[scheme.end() :]
    elif rest.startswith(":"):
        raise ValueError("missing protocol scheme")
    rest = rest.partition("?")[0]
    if not rest.startswith("/"):
        if scheme:
            return ""  # opaque, as mailto:x
        if ":" in rest.partition("/")[0]:
            raise ValueError("first path segment contains a colon")
    host = ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        host = _authority_host(authority)
        rest = slash + path
    if _BAD_ESCAPE.search(rest):
        raise ValueError("bad escape in the path")
    return host


def _authority_host(authority: str) -> str:
    user, at, host = authority.rpartition("@")
    if at and (not _USER.fullmatch(user) or _BAD_ESCAPE.search(user)):
        raise ValueError("bad user information")
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise ValueError("missing ']' in the host")
        port = host[end + 1 :]
    else:
        colon = host.rfind(":")
        port = host[colon:] if colon >= 0 else ""
    if port and not _PORT.fullmatch(port):
        raise ValueError(f"bad port {port!r} after the host")
    if not _HOST.fullmatch(host):
        raise ValueError("bad character or escape in the host")
    if "%" not in host:
        return host
    return unquote_to_bytes(host.encode()).decode("utf-8", "replace")
