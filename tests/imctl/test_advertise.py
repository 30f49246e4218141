from __future__ import annotations

import pytest

from imctl.advertise import advertised


@pytest.mark.parametrize(
    ("listening", "advertise_host", "bind_host", "expected"),
    [
        ("127.0.0.1:3109", "", "127.0.0.1", "127.0.0.1:3109"),
        ("0.0.0.0:3109", "comet.example", "0.0.0.0", "comet.example:3109"),
        ("10.0.0.5:3109", "", "10.0.0.5", "10.0.0.5:3109"),
    ],
)
def test_what_is_configured_is_advertised(listening, advertise_host, bind_host, expected):
    assert advertised(listening, advertise_host, bind_host) == expected


@pytest.mark.parametrize("bind_host", ["", "0.0.0.0", "::"])
def test_a_node_that_listens_everywhere_does_not_advertise_everywhere(bind_host):
    host, _, port = advertised("0.0.0.0:3109", "", bind_host).rpartition(":")

    assert host not in ("", "0.0.0.0", "::")
    assert port == "3109"
