"""What URLs of Redis with Sentinel say."""

from __future__ import annotations

import pytest

from imctl.bus.factory import open_bus
from imctl.bus.url import parse_bus_url
from imctl.errors import ConfigError
from imctl.messages.factory import open_messages
from imctl.sentinel_url import SentinelUrl
from imctl.store.factory import open_store


def parsed(url: str) -> SentinelUrl:
    return SentinelUrl.parse(parse_bus_url(url, "session store"))


def test_a_url_names_sentinels_master_and_database() -> None:
    at = parsed("redis+sentinel://me:p%40ss@a:26380,b,[::1]:7/mymaster/2?sentinel_username=s&sentinel_password=t")

    assert at.hosts == (("a", 26380), ("b", 26379), ("::1", 7))
    assert (at.master, at.db) == ("mymaster", 2)
    assert at.login == {"username": "me", "password": "p@ss"}
    assert at.sentinel_login == {"username": "s", "password": "t"}
    assert at.tls == {}
    assert "p%40ss" not in at.shown
    assert "sentinel_password=***" in at.shown


def test_database_and_logins_may_be_left_out() -> None:
    at = parsed("valkey+sentinel://a/m")

    assert (at.master, at.db, at.login, at.sentinel_login) == ("m", 0, {}, {})


def test_tls_is_for_sentinels_and_master() -> None:
    checked = parsed("rediss+sentinel://a/m?ssl_ca_certs=/ca.pem")
    unchecked = parsed("valkeys+sentinel://a/m?ssl_cert_reqs=none")

    assert checked.tls == {"ssl": True, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True}
    assert unchecked.tls == {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}


@pytest.mark.parametrize("url", ["redis+sentinel://a:26379", "redis+sentinel:///m", "redis+sentinel://a/m/zero"])
@pytest.mark.parametrize("opened", [open_bus, open_store, open_messages])
def test_what_is_missing_or_wrong_is_told(url, opened) -> None:
    with pytest.raises(ConfigError, match="sentinels and the name of their master|database 'zero' is not a number"):
        opened(url)


@pytest.mark.parametrize("opened", [open_bus, open_store, open_messages])
def test_an_unknown_parameter_is_told(opened) -> None:
    with pytest.raises(ConfigError, match="unknown parameter 'bogus'"):
        opened("redis+sentinel://a/m?bogus=1")
