"""From what a user has (hex, base64, a binary file) to bytes."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from imctl.errors import ImctlError

__all__ = ["MAX_INPUT_BYTES", "Source", "SourceError", "parse_bytes", "parse_text"]

MAX_INPUT_BYTES = 64 * 1024 * 1024
"""Every frame becomes a row in memory, so there has to be some limit."""

# Between and before hex digits: "0x10, 0x00", "\x10\x00", "10:00", "10-00", lines.
_BETWEEN = re.compile(r"\\x|0[xX]|[\s:,;_-]+")
_NOT_HEX = re.compile(r"[^0-9a-fA-F]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_LEAST_GUESSED_BYTES = 8
"""Half a frame's header. Nearly every word is base64, and a short one rather the name of a file that is not there."""


class SourceError(ImctlError):
    """The input is not in any form that can be read."""


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes, and the form they came in: `hex`, `base64` or `binary`."""

    data: bytes
    form: str


def parse_text(text: str, *, as_base64: bool = False) -> Source:
    """Return the bytes of hex, with anything usual between the digits, or of base64.

    Args:
        text: What the user typed, or a file of text.
        as_base64: Take it as base64 also if it could be hex.

    Raises:
        SourceError: it is neither.
    """
    if as_base64:
        return Source(_parse_base64(text), "base64")
    digits = _BETWEEN.sub("", text)
    wrong = _NOT_HEX.search(digits)
    if wrong is None:
        if len(digits) % 2:
            raise SourceError(
                f"{len(digits)} hex digits, the last one is half a byte; expected an even number",
                hint="is the first or the last digit missing?",
            )
        return Source(bytes.fromhex(digits), "hex")
    try:
        found = _parse_base64(text)
    except SourceError:
        found = b""
    if len(found) < _LEAST_GUESSED_BYTES:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        few = f" of at least {_LEAST_GUESSED_BYTES} bytes" if found else ""
        raise SourceError(
            f"{shown!r} is no file, not hex ({wrong.group()!r} is no hex digit) and not base64{few}",
            hint="hex as xxd -p or tcpdump -x print it without offsets, base64, a file name, or - for stdin",
        )
    return Source(found, "base64")


def parse_bytes(raw: bytes, *, as_base64: bool = False) -> Source:
    """Return the bytes of a file or of stdin: of text in hex or base64, else as they are.

    Raises:
        SourceError: too long; or base64 was asked for and it is not.
    """
    if len(raw) > MAX_INPUT_BYTES:
        raise SourceError(f"the input has over {MAX_INPUT_BYTES // 2**20} MiB", hint="cut it, for example with head -c")
    if not as_base64 and not raw.isascii():
        return Source(raw, "binary")
    try:
        return parse_text(raw.decode("ascii"), as_base64=as_base64)
    except UnicodeDecodeError:
        raise SourceError("the input is not base64: it has bytes that are no ASCII") from None
    except SourceError:
        # Frames are hardly ever hex digits by chance; an odd number of them is a hex text cut short.
        if as_base64 or not _NOT_HEX.search(_BETWEEN.sub("", raw.decode("ascii"))):
            raise
        return Source(raw, "binary")


def _parse_base64(text: str) -> bytes:
    joined = "".join(text.split())
    if not _BASE64.fullmatch(joined):
        raise SourceError("the input is not base64: it has other characters than A-Z a-z 0-9 + / - _ =")
    try:
        padded = joined.rstrip("=") + "=" * (-len(joined.rstrip("=")) % 4)
        return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as exc:
        raise SourceError(f"the input is not base64: {exc}") from exc
