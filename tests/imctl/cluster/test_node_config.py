from __future__ import annotations

from typing import Any

import pytest

from imctl.cluster.node_config import PARTS, config_class, make_config, setting_problems
from imctl.errors import ConfigError


def test_nested_settings_become_their_class() -> None:
    config = make_config("logic", {"backoff": {"max_delay_s": 9}})

    assert (config.backoff.max_delay_s, config.backoff.base_delay_s) == (9, 3)


def test_a_list_becomes_a_tuple_and_a_whole_number_is_a_number_too() -> None:
    config = make_config("comet", {"public_addrs": ["a", "b"], "handshake_timeout_s": 2, "wss_port": None})

    assert (config.public_addrs, config.handshake_timeout_s, config.wss_port) == (("a", "b"), 2, None)


@pytest.mark.parametrize("part", PARTS)
def test_every_default_is_a_value_that_may_be_given(part: str) -> None:
    config = config_class(part)()

    assert setting_problems(part, {name: getattr(config, name) for name in config.__slots__}) == []


@pytest.mark.parametrize(
    ("part", "settings", "problem"),
    [
        ("comet", {"tcp_port": "abc"}, 'comet.tcp_port is "abc"; expected a port from 0 to 65535'),
        ("comet", {"tcp_port": 70000}, "comet.tcp_port is 70000; expected a port from 0 to 65535"),
        ("comet", {"wss_port": -1}, "comet.wss_port is -1; expected a port from 0 to 65535"),
        ("comet", {"tcp_port": True}, "comet.tcp_port is true; expected a port from 0 to 65535"),
        ("registry", {"port": 1.5}, "registry.port is 1.5; expected a port from 0 to 65535"),
        ("comet", {"host": 5}, "comet.host is 5; expected text"),
        ("comet", {"weight": "10"}, 'comet.weight is "10"; expected a whole number'),
        ("comet", {"offline": 1}, "comet.offline is 1; expected true or false"),
        ("comet", {"reuse_port": 1}, "comet.reuse_port is 1; expected true or false"),
        ("comet", {"handshake_timeout_s": float("nan")}, "comet.handshake_timeout_s is NaN; expected a number"),
        ("logic", {"hooks": "jwt"}, 'logic.hooks is "jwt"; expected a list of texts'),
        ("logic", {"hooks": [1]}, "logic.hooks is [1]; expected a list of texts"),
        ("logic", {"backoff": 3}, "logic.backoff is 3; expected a table with some of max_delay_s, "),
        ("logic", {"backoff": {"jiter": 3}}, "logic.backoff.jiter: unknown setting; did you mean jitter?"),
        ("job", {"zzz": 3}, "job.zzz: unknown setting"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_told(part: str, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(part, settings)

    assert str(caught.value).startswith(problem)


def test_all_that_is_wrong_with_a_node_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        make_config("comet", {"tcp_port": "x", "hots": "h"})

    assert len(str(caught.value).splitlines()) == 2
    assert "tcp_port" in caught.value.hint


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(ConfigError, match="unknown kind of node 'broker'; expected one of registry"):
        make_config("broker", {})
