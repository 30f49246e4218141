"""What logic tells clients about comets: where to connect and how to retry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imctl.logic.balancer import Balancer
from imctl.logic.comets import KnownComet, known_comets
from imctl.logic.config import LogicConfig
from protocol.discovery_api import Instance
from protocol.pb import logic

__all__ = ["Nodes"]


class Nodes:
    """The known comets and the answers made from them.

    Args:
        config: Ports, domains and back-off that clients are told.
    """

    def __init__(self, config: LogicConfig) -> None:
        self._config = config
        self._balancer = Balancer(keep_on_loss=config.compat_goim)
        self.comets: tuple[KnownComet, ...] = ()

    def update(self, instances: Sequence[Instance]) -> None:
        """Take the comets of the registry."""
        self.comets = known_comets(instances)
        self._balancer.update(self.comets)

    def total(self) -> dict[str, int]:
        """Return the sums of all comets' connections and client addresses, as online/total has them."""
        return {
            "conn_count": sum(comet.conn_count for comet in self.comets),
            "ip_count": sum(comet.ip_count for comet in self.comets),
        }

    def weighted(self, platform: str) -> dict[str, object]:
        """Return the data of nodes/weighted; members that are zero are left out, as Go does."""
        config, backoff = self._config, self._config.backoff
        return _without_zeros(
            {
                "domain": config.default_domain,
                "tcp_port": config.tcp_port,
                "ws_port": config.ws_port,
                "wss_port": config.wss_port,
                "heartbeat": int(config.heartbeat_s),
                "nodes": self._addresses(platform),
                "backoff": _without_zeros(
                    {
                        "max_delay": backoff.max_delay_s,
                        "base_delay": backoff.base_delay_s,
                        "factor": _number(backoff.factor),
                        "jitter": _number(backoff.jitter),
                    }
                ),
                "heartbeat_max": config.heartbeat_max,
            }
        )

    def reply(self, request: Any) -> Any:
        """Answer goim.logic.Logic/Nodes. Any: a protobuf message."""
        config, backoff = self._config, self._config.backoff
        return logic.NodesReply(
            domain=config.default_domain,
            tcp_port=config.tcp_port,
            ws_port=config.ws_port,
            wss_port=config.wss_port,
            heartbeat=int(config.heartbeat_s),
            nodes=self._addresses(request.platform),
            backoff=logic.Backoff(
                max_delay=backoff.max_delay_s,
                base_delay=backoff.base_delay_s,
                factor=backoff.factor,
                jitter=backoff.jitter,
            ),
            heartbeat_max=config.heartbeat_max,
        )

    def instances(self) -> list[dict[str, object]] | None:
        """Return the data of nodes/instances; None when no comet is known."""
        return [_instance(comet.instance) for comet in self.comets] or None

    def _addresses(self, platform: str) -> list[str]:
        # The client's region is "": goim's look-up of an address's region is an empty stub.
        chosen = self._balancer.choose("", self._config.region_weight)
        if platform == "web":
            found = [comet.instance.hostname + self._config.host_domain for comet in chosen]
        else:
            found = [address for comet in chosen for address in comet.addrs]
        return found or [self._config.default_domain]


def _instance(instance: Instance) -> dict[str, object]:
    return {
        "region": instance.region,
        "zone": instance.zone,
        "env": instance.env,
        "appid": instance.appid,
        "hostname": instance.hostname,
        "addrs": list(instance.addrs),
        "version": instance.version,
        "latest_timestamp": instance.latest_timestamp,
        "metadata": dict(sorted(instance.metadata.items())),
    }


def _without_zeros(members: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value}


def _number(value: float) -> float | int:
    """Go writes 2.0 as 2."""
    return int(value) if value == int(value) else value
