"""From a URL to a bus."""

from __future__ import annotations

from weakref import WeakValueDictionary

from imctl.bus.contract import Bus
from imctl.bus.memory import MemoryBus
from imctl.bus.url import BusUrl, known_url
from imctl.redis_cluster.url import CLUSTER_SCHEMES
from imctl.sentinel_url import SENTINEL_SCHEMES

__all__ = ["BUS_SCHEMES", "check_bus", "open_bus"]

# Held by those who opened it: a bus that nobody uses any more is gone.
_memory: WeakValueDictionary[str, MemoryBus] = WeakValueDictionary()

_REDIS = (
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "unix",
    "redis-stream",
    "redis-streams",
    *SENTINEL_SCHEMES,
    *CLUSTER_SCHEMES,
)
_KAFKA = ("kafka", "kafka+ssl")
_MQTT = ("mqtt", "mqtts")
BUS_SCHEMES = ("memory", *_REDIS, *_KAFKA, *_MQTT)


def open_bus(url: str) -> Bus:
    """Open a bus; it connects when it is first used.

    `memory://NAME` is private to this process; everyone who opens the same
    name while it is in use and not closed gets the same bus. The others can be
    shared by any number of processes:

        redis://[USER:PASSWORD@]HOST[:PORT][/DB][?stream=NAME]   Redis Streams; rediss:// with TLS
        redis+sentinel://[USER:PASSWORD@]HOST[,HOST...]/MASTER[/DB]   the same with Sentinel
        redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST...]    the same on a cluster
        kafka://[USER:PASSWORD@]HOST[:PORT][,HOST...][/TOPIC]    Kafka; kafka+ssl:// with TLS
        mqtt://[USER:PASSWORD@]HOST[:PORT][/PREFIX]              MQTT 5; mqtts:// with TLS

    Raises:
        ConfigError: the URL names no backend we have, a part of it is not acceptable,
            or a package that the backend needs is not installed.
    """
    scheme = check_bus(url).scheme
    if scheme == "memory":
        bus = _memory.get(url)
        if bus is None or bus.closed:
            bus = _memory[url] = MemoryBus(url)
        return bus
    # Imported when asked for: memory:// needs none of their packages.
    if scheme in _REDIS:
        from imctl.bus.redis_streams import RedisStreamsBus

        return RedisStreamsBus(url)
    if scheme in _KAFKA:
        from imctl.bus.kafka import KafkaBus

        return KafkaBus(url)
    from imctl.bus.mqtt import MqttBus

    return MqttBus(url)


def check_bus(url: str) -> BusUrl:
    """Return a bus's URL taken apart, as far as that can be done without the packages that the bus needs.

    Raises:
        ConfigError: as open_bus(), but for the parameters of a bus outside this process.
    """
    hint = "memory:// needs nothing; redis://127.0.0.1:6379 is a Redis on this machine"
    parsed = known_url(url, "bus", BUS_SCHEMES, hint)
    if parsed.scheme == "memory":
        parsed.done()
    return parsed
