from __future__ import annotations

import pytest

from imctl.errors import ClusterError, ConfigError, ImctlError, PortInUseError, StartError


@pytest.mark.parametrize("kind", [ImctlError, ConfigError, ClusterError, StartError])
def test_error_keeps_message_and_hint(kind):
    error = kind('port is "x"; expected a number', hint="port = 3101")

    assert isinstance(error, ImctlError)
    assert (str(error), error.message, error.hint) == ((error.message,) * 2 + ("port = 3101",))
    assert kind("no hint").hint == ""


@pytest.mark.parametrize(
    ("holder", "text"),
    [
        ("", "comet tcp: address 127.0.0.1:3101 is in use"),
        ("python3 (pid 7)", "comet tcp: address 127.0.0.1:3101 is in use by python3 (pid 7)"),
    ],
)
def test_port_in_use_names_what_where_and_by_whom(holder, text):
    error = PortInUseError("127.0.0.1:3101", "comet tcp", holder)

    assert isinstance(error, StartError)
    assert str(error) == text
    assert (error.address, error.what, error.holder) == ("127.0.0.1:3101", "comet tcp", holder)
    assert "--any-port" in error.hint
