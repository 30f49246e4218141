"""A connection to an MQTT broker that comes back by itself.

aiomqtt connects and runs paho in the event loop. Messages and acknowledgements
are taken from paho itself: aiomqtt acknowledges before anybody has seen a
message, and passes over the reason with which a broker refuses one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from imctl.bus.contract import BusError
from imctl.bus.ending import ended, kept_up
from imctl.bus.url import BusUrl
from imctl.errors import ConfigError

try:
    from aiomqtt import Client, MqttError, ProtocolVersion, Will
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
except ImportError as exc:
    raise ConfigError("bus mqtt:// needs the package aiomqtt", hint="pip install 'imctl[mqtt]'") from exc

__all__ = ["MqttLink", "MqttSettings"]

logger = logging.getLogger(__name__)

_CONNECT_S = 3.0
_FAILING = 3
_FIRST_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 1.0


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """What the URL says.

    Args:
        shown: The URL without secrets.
        prefix: First levels of every topic.
        partitions: Topics that the keys are dealt to.
        window: Records of a partition that the broker sends ahead of their acknowledgement.
        timeout_s: Longest wait of a publish().
        lease_s: A member that was not heard of for so long is dead.
        expiry_s: How long the broker keeps what waits for a group without members.
        keepalive_s: MQTT's.
    """

    shown: str
    host: str
    port: int
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None
    prefix: str
    partitions: int
    window: int
    timeout_s: float
    lease_s: float
    expiry_s: int
    keepalive_s: int

    @classmethod
    def parse(cls, url: BusUrl, tls: ssl.SSLContext | None) -> MqttSettings:
        """Take the parameters of a URL.

        Raises:
            ConfigError: one is not acceptable.
        """
        if len(url.hosts) > 1:
            raise ConfigError(f"bus {url.shown}: expected one host")
        host, port = url.hosts[0] if url.hosts else ("127.0.0.1", None)
        prefix = url.path.strip("/") or "goim-push-topic"
        if set(prefix) & set("#+\0"):
            raise ConfigError(f"bus {url.shown}: topic {prefix!r} must not have # or +")
        settings = cls(
            shown=url.shown,
            host=host,
            port=port or (8883 if tls else 1883),
            username=url.username,
            password=url.password,
            tls=tls,
            prefix=prefix,
            partitions=url.whole("partitions", 4, 1, 1000),
            window=url.whole("window", 5000, 1, 65_535),
            timeout_s=url.number("timeout_s", 5.0, 0.05, 600),
            lease_s=url.number("lease_s", 5.0, 0.5, 600),
            expiry_s=url.whole("expiry_s", 86_400, 1, 4_000_000_000),
            keepalive_s=url.whole("keepalive_s", 10, 1, 3600),
        )
        url.done()
        return settings


class MqttLink:
    """Connects, and again whenever the connection is lost, until stop().

    Args:
        settings: Of the bus.
        identifier: MQTT client identifier; a broker has one connection of it at a time.
        session: Whether the broker keeps the session while there is no connection.
        will: What the broker publishes when the connection breaks.
        on_up: Awaited when there is a connection; is told whether the broker had kept the session.
        on_down: Called when it is lost, with the reason code of MQTT, or 0.
        on_message: Called with each message of paho. Any: it has types of its own kind.
        on_acknowledged: Called with a packet identifier and MQTT's reason code.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        identifier: str,
        session: bool = False,
        will: Will | None = None,
        on_up: Callable[[bool], Awaitable[None]],
        on_down: Callable[[int], None] = lambda code: None,
        on_message: Callable[[Any], None] = lambda message: None,
        on_acknowledged: Callable[[int, int], None] = lambda packet, code: None,
    ) -> None:
        self.up = asyncio.Event()
        self.failing = asyncio.Event()
        """Set while the last few attempts to connect have failed."""
        self.why = ""
        """Why there is no connection; empty when there is one."""
        self._settings = settings
        self._identifier = identifier
        self._session = session
        self._will = will
        self._on_up = on_up
        self._on_down = on_down
        self._on_message = on_message
        self._on_acknowledged = on_acknowledged
        self._kept = False
        self._client: Client | None = None
        # Set earlier: the first messages come together with the answer to our CONNECT.
        self._paho: Any = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = kept_up(self._run(), f"mqtt {self._identifier}")

    async def stop(self) -> None:
        """Disconnect; safe to call twice, and before start()."""
        self._stopping.set()
        if self._task is not None:
            # It ends by itself: connecting, which is done by a thread, has a limit.
            await asyncio.wait((self._task,), timeout=2 * _CONNECT_S)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait((self._task,))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send with QoS 1 and return the packet identifier, which on_acknowledged() will name.

        Raises:
            BusError: there is no connection, or the message cannot be sent.
        """
        if self._client is None:
            raise BusError(self.why or "no connection")
        try:
            info = self._client._client.publish(topic, payload, qos=1, retain=retain)
        except ValueError as exc:
            raise BusError(f"cannot publish: {exc}") from exc
        if info.rc:
            raise BusError(f"cannot publish: error {info.rc}")
        return info.mid

    async def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 1; raises MqttError."""
        if self._client is None:
            raise MqttError("no connection")
        codes = await self._client.subscribe(topic, qos=1, timeout=self._settings.timeout_s)
        code = next(iter(codes))
        if getattr(code, "is_failure", False):
            raise MqttError(f"may not subscribe to {topic}: {code}")

    def acknowledge(self, packet: int) -> None:
        """Tell the broker that a message is done; without a connection it is told nothing."""
        if self._paho is not None:
            self._paho.ack(packet, 1)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            code = 0
            client = self._make_client()
            self._paho = client._client
            try:
                async with client:
                    self._client = client
                    await self._on_up(self._kept)
                    if failures > 1:
                        logger.warning("bus %s: %s is back", self._settings.shown, self._identifier)
                    failures = 0
                    self.why = ""
                    self.failing.clear()
                    self.up.set()
                    code = await self._until_lost(client)
            except MqttError as exc:
                self.why = str(exc)
                failures += 1
                if failures == _FAILING:
                    self.failing.set()
                if failures == 2:
                    logger.warning("bus %s: %s has no connection: %s", self._settings.shown, self._identifier, exc)
            finally:
                self.up.clear()
                self._client = self._paho = None
                _close(client)
                self._on_down(code)
            if not self._stopping.is_set():
                delay_s = min(_FIRST_BACKOFF_S * 2.0 ** min(failures, 10), _MAX_BACKOFF_S) * random.uniform(0.5, 1.0)
                await _first(self._stopping.wait(), within_s=delay_s)

    async def _until_lost(self, client: Client) -> int:
        """Return when the connection is lost or is to be closed: with MQTT's reason code, or 0."""
        lost = client._disconnected
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((lost, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await asyncio.wait((stopping,))
        if not lost.done() or (error := lost.exception()) is None:
            return 0
        self.why = str(error)
        return int(getattr(getattr(error, "rc", 0), "value", 0) or 0)

    def _make_client(self) -> Client:
        settings = self._settings
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.ReceiveMaximum = settings.window
        if self._session:
            properties.SessionExpiryInterval = settings.expiry_s
        client = Client(
            settings.host,
            settings.port,
            username=settings.username,
            password=settings.password,
            identifier=self._identifier,
            protocol=ProtocolVersion.V5,
            clean_start=not self._session,
            properties=properties,
            will=self._will,
            tls_context=settings.tls,
            keepalive=settings.keepalive_s,
            timeout=_CONNECT_S,
        )
        paho = client._client
        paho.connect_timeout = _CONNECT_S
        paho.manual_ack_set(True)
        paho.disable_logger()
        connected = paho.on_connect
        assert connected is not None

        def on_connect(*args: Any) -> None:
            self._kept = bool(args[2].session_present)
            connected(*args)

        paho.on_connect = on_connect
        paho.on_message = lambda _client, _data, message: self._on_message(message)
        paho.on_publish = lambda _client, _data, packet, code, _properties: self._on_acknowledged(packet, code.value)
        return client


def _close(client: Client) -> None:
    """Close what a connection that did not come about has left open."""
    paho: Any = client._client
    paho._sock_close()


async def _first(waiting: Any, *, within_s: float) -> None:
    await ended(waiting, within_s=within_s)
