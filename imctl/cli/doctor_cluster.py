"""What `imctl doctor` looks at in a running cluster, or at the addresses of a target."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import imctl
from imctl.cli.context import DEFAULT_CLUSTER, Context
from imctl.doctor.contract import Condition, Found, Section, Status, examine, examine_async, unknown
from imctl.errors import ClusterError, ImctlError

if TYPE_CHECKING:
    from imctl.cluster.client import ClusterInfo
    from imctl.conform import Target
    from imctl.doctor.delivery import Delivery

__all__ = ["cluster_section", "find", "target_section"]

_PROBE_S = 5.0
_OPERATION = 1000


def find(context: Context) -> tuple[ClusterInfo | None, tuple[Condition, ...]]:
    """Return the running cluster, or what is in the place of one.

    Raises:
        ConfigError: no cluster can have this name.
    """
    from imctl.cluster.client import find_cluster
    from imctl.cluster.naming import check_cluster_name
    from imctl.cluster.state import ClusterFolder, StateError

    name = check_cluster_name(context.cluster)
    try:
        return find_cluster(name), ()
    except StateError as exc:
        return None, (Condition("cluster", Status.FAILED, "running", exc.message, exc.hint),)
    except ClusterError as exc:
        # Nobody has to have started one; but who names one, or had one, wants to hear that it is not there.
        is_gone = ClusterFolder(name).read() is not None
        status = Status.WARNING if is_gone else Status.FAILED if name != DEFAULT_CLUSTER else Status.INFO
        return None, (Condition("cluster", status, "running", exc.message, exc.hint),)
    except ImctlError as exc:  # the state folder, which is judged by itself
        return None, (Condition("cluster", Status.UNKNOWN, "running", exc.message, exc.hint),)


async def cluster_section(context: Context, info: ClusterInfo, *, probes: bool) -> Section:
    """Return the section of a running cluster.

    Args:
        context: Which cluster, for a probe.
        info: The same.
        probes: Whether to push a message to a client of our own.
    """
    from imctl.cluster.client import ControlClient
    from imctl.doctor.nodes import check_drops, check_nodes, check_peers

    rows: list[Condition] = []
    try:
        async with ControlClient(info) as control:
            processes, answers = (await control.ps())["nodes"], await control.stats()
    except ImctlError as exc:
        fix = context.command("imctl down") + " and up again"
        rows.append(Condition("supervisor", Status.FAILED, "answers", exc.message, fix))
    else:
        rows += examine("nodes", lambda: check_nodes(processes, answers, context.command))
        rows += examine("nodes together", lambda: check_peers(answers))
        rows += examine("drops", lambda: check_drops(answers))
    if info.registry:
        wanted = {
            node.name if node.kind == part else f"{node.name} {part}": (f"goim.{part}", address)
            for node in info.nodes
            for part in ("comet", "logic")
            if (address := node.address(part, "grpc"))
        }
        rows += await examine_async("registry", partial(_registry, info.registry, wanted))
    rows += await _servers(info)
    if probes:
        rows += await examine_async("push to a client", partial(_probe, context, None, None, ws=not info.comet_tcp))
    return Section("cluster", f"Cluster {info.cluster}", tuple(rows))


async def _servers(info: ClusterInfo) -> list[Condition]:
    from imctl.doctor.servers import check_file, check_server
    from imctl.messages.factory import sqlite_path

    rows = [
        *await examine_async("bus", partial(check_server, "bus", info.bus)),
        *await examine_async("session store", partial(check_server, "session store", info.store)),
    ]
    messages = info.summary.get("messages")
    if not isinstance(messages, str):
        return rows
    if not messages.startswith("sqlite:"):
        return [*rows, *await examine_async("messages", partial(check_server, "messages", messages))]
    if messages.startswith("sqlite:///") and not messages.startswith("sqlite:////"):
        return [*rows, unknown("messages", "can be written", "its path begins where imctl up was typed")]
    return [*rows, *examine("messages", lambda: check_file("messages", sqlite_path(messages, info.cluster)))]


async def _registry(nodes: str, wanted: Mapping[str, tuple[str, str]]) -> Found:
    from imctl.doctor.registry import check_records, check_versions, fetch_instances

    try:
        where, instances = await fetch_instances(nodes)
    except ImctlError as exc:
        return Condition("registry", Status.FAILED, "answers", exc.message, exc.hint)
    return [*check_records(where, instances, wanted), *check_versions(instances, imctl.__version__)]


async def target_section(context: Context, target: Target, *, probes: bool) -> Section:
    """Return the section of addresses that were given.

    Args:
        context: Of the command.
        target: The addresses.
        probes: Whether to push a message to a client of our own.
    """
    from imctl.conform.target import PARTS
    from imctl.doctor.servers import check_address

    rows: list[Condition] = []
    for part, address in target.given().items():
        what = PARTS[part]
        if part == "http":
            rows += await examine_async(what, partial(_logic, what, address))
        elif part == "discovery":
            known = {"comet": target.comet_grpc, "logic": target.grpc}
            wanted = {kind: (f"goim.{kind}", at) for kind, at in known.items() if at}
            rows += await examine_async(what, partial(_registry, address, wanted))
        else:
            fix = "is it running, and is that its address?"
            rows += await examine_async(what, partial(check_address, what, address, fix))
    if probes:
        ws = target.tcp is None
        comet = target.ws if ws else target.tcp
        if target.http is None:
            rows.append(unknown("push to a client", "read", "it takes http=PORT in --target"))
        else:
            rows += await examine_async("push to a client", partial(_probe, context, target.http, comet, ws=ws))
    return Section("target", "Target", tuple(rows))


async def _logic(what: str, address: str) -> Condition:
    from imctl.cli.logic_http import LogicHttp
    from protocol.push_api import OnlineTotal

    required = "answers as a logic"
    try:
        async with LogicHttp(address, timeout_s=_PROBE_S) as logic:
            found = await logic.call(OnlineTotal())
    except ImctlError as exc:
        return Condition(what, Status.FAILED, required, exc.message, exc.hint)
    return Condition(what, Status.OK, required, f"{address}, {found['conn_count']} connections", "", dict(found))


async def _probe(context: Context, logic: str | None, comet: str | None, *, ws: bool) -> Condition:
    from imctl.cli.commands.push import Receivers
    from imctl.cli.commands.trace import Tracer
    from imctl.doctor.delivery import check_delivery
    from protocol.errors import WireError

    # By key: rooms and users can have their messages kept by a store.
    receivers = Receivers(keys=(f"imctl-doctor-{secrets.token_hex(8)}",))
    tracer = Tracer(context, receivers, _OPERATION, None, target=logic, timeout_s=_PROBE_S)
    try:
        report, was_read = await tracer.trace(listen=True, ws=ws, comet=comet)
    except (ImctlError, WireError) as exc:
        fix = context.command("imctl logs") if logic is None else "the logs of comet and logic have the reason"
        return Condition("push to a client", Status.FAILED, "connects and is read", str(exc), fix)
    return check_delivery(_delivery(report, was_read=was_read))


def _delivery(report: Any, *, was_read: bool) -> Delivery:
    """Return what a trace says. Any: TraceReport, which brings what `--help` does without."""
    from imctl.doctor.delivery import Delivery

    hops = {hop.name: hop.took_ms for hop in report.hops}
    return Delivery(report.total_ms, was_read, hops, _PROBE_S, report.hidden, report.lost)
