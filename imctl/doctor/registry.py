"""What a registry says of the nodes, beside where they are and which version this imctl is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imctl.doctor.contract import Condition, Status, judged
from protocol.discovery_api import Instance, instance_from_json

__all__ = ["check_records", "check_versions", "fetch_instances"]

_ANSWER_S = 3.0
_ANYWHERE = frozenset(("0.0.0.0", "::", ""))


async def fetch_instances(nodes: str) -> tuple[str, tuple[Instance, ...]]:
    """Return which registry node answered, and all that is registered there, in whatever environment.

    Args:
        nodes: URLs or `host:port`, with commas between; the first that answers is taken.

    Raises:
        ImctlError: none answers.
        DiscoveryFormatError: what came is no answer of a registry.
    """
    from imctl.registry.calls import DiscoveryNodes, RegistryUnreachableError  # brings aiohttp
    from imctl.registry.factory import node_urls

    asked = DiscoveryNodes(node_urls(nodes))
    try:
        for left in reversed(range(len(asked))):
            at = asked.current
            try:
                answer = await asked.get("/discovery/fetch/all", [], timeout_s=_ANSWER_S)
            except RegistryUnreachableError:
                if not left:
                    raise
                continue
            return at, _instances(answer.data)
    finally:
        await asked.close()
    raise AssertionError("the last failure is raised")


def _instances(data: object) -> tuple[Instance, ...]:
    apps = data if isinstance(data, dict) else {}
    return tuple(instance_from_json(one) for found in apps.values() for one in found or ())


def check_records(where: str, instances: Sequence[Instance], wanted: Mapping[str, tuple[str, str]]) -> list[Condition]:
    """Judge whether each node is registered, once, where it really is.

    Args:
        where: URL of the registry.
        instances: All that is registered.
        wanted: {node: (its app, its gRPC address)}.
    """
    nodes = [one for one in instances if one.appid in ("goim.comet", "goim.logic")]
    rows = [Condition("registry", Status.OK, "answers", f"{len(nodes)} nodes ({where})", "", {"nodes": len(nodes)})]
    missing = [_record(node, appid, address, instances) for node, (appid, address) in wanted.items()]
    wrong = [row for row in missing if row.status is not Status.OK]
    if wanted and not wrong:
        rows.append(Condition("registry records", Status.OK, "match the nodes", f"{len(wanted)} do"))
    return rows + wrong


def _record(node: str, appid: str, address: str, instances: Sequence[Instance]) -> Condition:
    of_app = [one for one in instances if one.appid == appid]
    here = [one for one in of_app if any(_is_at(addr, address) for addr in one.addrs)]
    known = ", ".join(f"{one.hostname} {' '.join(one.addrs)}" for one in of_app[:3]) or "none of its kind"
    fix = "its log says why; a restart registers it again"
    is_up = [one for one in here if one.status == 1]
    if here and not is_up:
        return Condition(node, Status.WARNING, "registered as up", f"status {here[0].status}", fix)
    if len(is_up) > 1:
        others = ", ".join(one.hostname for one in is_up)
        found = f"{len(is_up)} records of one address: {others}"
        return Condition(node, Status.WARNING, "one record", found, "what a node before it left ends by itself")
    return judged(node, bool(is_up), f"registered at {address}", f"registered: {known}", fix)


def _is_at(registered: str, address: str) -> bool:
    """Whether `grpc://host:port` is the address; a node that listens everywhere is registered at one of its own."""
    host, _, port = registered.partition("://")[2].rpartition(":")
    wanted_host, _, wanted_port = address.rpartition(":")
    return port == wanted_port and (host == wanted_host or wanted_host.strip("[]") in _ANYWHERE)


def check_versions(instances: Sequence[Instance], own: str) -> list[Condition]:
    """Judge whether nodes are of this version; a Go node tells none.

    Args:
        instances: Registered ones.
        own: Version of this imctl.
    """
    # Only our own nodes have a link, and those of before versions were told have no version.
    ours = [one for one in instances if one.metadata.get("imctl.link") == "1"]
    other = {one.hostname: one.version or "one that tells none" for one in ours if one.version != own}
    if not ours:
        return []
    found = ", ".join(f"{node} {version}" for node, version in other.items()) or f"{len(ours)} nodes are"
    fix = "imctl down && imctl up: they run what was installed before"
    return [judged("node versions", not other, own, found, fix, otherwise=Status.WARNING, others=other)]
