import errno
import socket
import ssl

import pytest

from sim.failures import failure_text, on_one_line

SEVERAL = "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect call failed"


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 3101)"), "Connection refused"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (OSError(SEVERAL), "Connection refused"),
        (ConnectionResetError("closed without an answer"), "closed without an answer"),
        (ConnectionResetError(), "ConnectionResetError"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
            "[SSL: WRONG_VERSION_NUMBER] wrong version number",
        ),
    ],
    ids=["asyncio", "uvloop", "several addresses", "of ours", "without a word", "name", "TLS"],
)
def test_alike_failures_have_the_same_words_and_no_address(exc, text):
    assert failure_text(exc) == text


def test_a_certificate_that_is_not_trusted_says_why():
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_message = "self-signed certificate"

    assert failure_text(exc) == "certificate verify failed: self-signed certificate"


def test_a_long_text_is_cut_between_words_and_one_without_words_where_it_is_full():
    cut = on_one_line("seven " * 40)

    assert (len(cut) <= 120, cut.endswith("seven ...")) == (True, True)
    assert on_one_line("two\nlines\t here") == "two lines here"
    assert on_one_line("x" * 500) == "x" * 117 + "..."
    assert on_one_line("") == ""
