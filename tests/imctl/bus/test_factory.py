from __future__ import annotations

import gc

import pytest

from imctl.bus.factory import open_bus
from imctl.errors import ConfigError


async def test_the_same_name_is_the_same_bus_until_it_is_closed():
    bus = open_bus("memory://same")

    assert open_bus("memory://same") is bus
    assert open_bus("memory://other") is not bus
    assert open_bus("memory://") is not bus
    await bus.close()
    assert open_bus("memory://same") is not bus


async def test_a_bus_that_nobody_holds_is_gone():
    bus = open_bus("memory://gone")
    await bus.publish("k", b"")
    del bus
    gc.collect()

    assert open_bus("memory://gone").stats()["published"] == 0


def test_the_bus_shows_its_url():
    assert open_bus("memory://x").url == "memory://x"


@pytest.mark.parametrize("url", ["", "memory", "nats://127.0.0.1", "http://x"])
def test_an_unknown_url_is_a_config_error(url):
    with pytest.raises(ConfigError, match="expected one of memory://, redis://") as raised:
        open_bus(url)

    assert raised.value.hint
