"""The processes of a cluster as its supervisor and they themselves tell: alive, connected with each other, current."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imctl.doctor.contract import Condition, Status, judged
from imctl.doctor.drop_meanings import NORMAL, meaning_of

__all__ = ["check_drops", "check_nodes", "check_peers"]

Row = Mapping[str, Any]
"""Of ControlClient.ps() or stats(). Any: JSON."""

_PEERS = (
    ("comet", "logics", "logic", "nobody can connect: is a logic running, in the same env and region?"),
    ("logic", "comets", "comet", "nothing can be delivered: is a comet running, in the same env?"),
    ("job", "comets", "comet", "nothing can be delivered: is a comet running, in the same env and zone?"),
)
"""Kind, the gauge of what it knows, the kind of those, and what to do when it is 0."""


def check_nodes(
    processes: Sequence[Row], answers: Sequence[Row], command: Callable[[str], str] = str
) -> list[Condition]:
    """Judge each process: whether it runs, answers, and has been restarted.

    Args:
        processes: As ps() has them.
        answers: As stats() has them.
        command: Adds to a command which cluster it is for.
    """
    problems = {row["name"]: row.get("problem", "") for row in answers}
    return [_node(row, problems.get(row["name"], "it was not asked"), command) for row in processes]


def _node(row: Row, problem: str, command: Callable[[str], str]) -> Condition:
    name, required = row["name"], "running, answers"
    facts = {key: row[key] for key in ("pid", "state", "uptime_s", "restarts", "last_exit")}
    logs = command(f"imctl logs {name}")
    if row["state"] != "running":
        fix = command(f"imctl resume {name}") if row["state"] == "paused" else logs
        return Condition(name, Status.FAILED, required, row["state"], fix, facts)
    if problem:
        return Condition(name, Status.FAILED, required, problem, f"{logs}; {command(f'imctl restart {name}')}", facts)
    if row["restarts"]:
        times = "once" if row["restarts"] == 1 else f"{row['restarts']} times"
        found = f"restarted {times}, last end: {row['last_exit']}"
        return Condition(name, Status.WARNING, required, found, f"{logs} has its last words", facts)
    return Condition(name, Status.OK, required, f"{row['state']}, pid {row['pid']}", "", facts)


def check_peers(answers: Sequence[Row]) -> list[Condition]:
    """Judge whether the nodes have found each other: a row for each kind that knows nobody, or one for all."""
    lonely = []
    kinds = {kind for row in answers for kind in row["parts"]}
    for row in answers:
        for kind, gauge, of, fix in _PEERS:
            part = row["parts"].get(kind)
            if part is None or part["gauges"].get(gauge, 0) > 0:
                continue
            # Without one in this cluster it may be elsewhere, or not wanted.
            status = Status.FAILED if of in kinds else Status.WARNING
            who = row["name"] if row["name"].startswith(kind) else f"{row['name']} {kind}"
            lonely.append(Condition(who, status, f"knows a {of}", "knows none", fix))
    if lonely or not kinds:
        return lonely
    return [Condition("nodes together", Status.OK, "know each other", "do")]


def check_drops(answers: Sequence[Row]) -> list[Condition]:
    """Show what was dropped since the nodes started, with its meaning; one row when nothing was."""
    counts: dict[str, dict[str, int]] = {}
    for row in answers:
        for name, count in (row.get("drops") or {}).items():
            if count:
                counts.setdefault(name, {})[row["name"]] = count
    if not counts:
        asked = [row for row in answers if not row.get("problem")]
        return [judged("drops", bool(asked), "0", "0" if asked else "no node answered", "see the nodes above")]
    return [_drop(name, nodes) for name, nodes in sorted(counts.items(), key=lambda one: -sum(one[1].values()))]


def _drop(name: str, nodes: Mapping[str, int]) -> Condition:
    total = sum(nodes.values())
    status = Status.INFO if name in NORMAL else Status.WARNING
    found = f"{total:,} on {', '.join(nodes)}"
    return Condition(name, status, "0 dropped", found, meaning_of(name), {"count": total, "nodes": dict(nodes)})
