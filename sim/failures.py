"""What failed, in words that are the same for alike failures: reports add them up by their text."""

from __future__ import annotations

import os
import re
import socket
import ssl
import textwrap

__all__ = ["failure_text", "on_one_line"]

_MAX_CHARS = 120
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def failure_text(exc: OSError) -> str:
    """Return why a connection could not be made or broke, without the address or port that the text of each has."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return on_one_line(f"certificate verify failed: {exc.verify_message}")
    if isinstance(exc, (ssl.SSLError, socket.gaierror)):  # their numbers are not those of the system
        return on_one_line(exc.strerror or str(exc))
    # A name with several addresses: the text has the error of each, and the exception no number.
    found = _NUMBER.search(str(exc))
    number = exc.errno or (int(found[1]) if found else 0)
    return os.strerror(number) if number else on_one_line(str(exc)) or type(exc).__name__


def on_one_line(text: str) -> str:
    """Return a text of others on one line, cut between words where it is long."""
    line = textwrap.shorten(text, _MAX_CHARS, placeholder=" ...")
    return line if line != "..." else f"{text.strip()[: _MAX_CHARS - 3]}..."
