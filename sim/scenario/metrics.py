"""The numbers that an expectation can name, and where they stand in the result document.

A path is a metric behind what limits it: `latency.p99`, `phase.spike.latency.p99`,
`population.viewers.delivery.lost`, `phase.spike.publisher.chat.publish.errors`;
and of nodes `node.comet-1.cpu_percent` or, of all of them together, `nodes.rss_bytes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sim.errors import SimError
from sim.language.fields import nearest
from sim.report.hops import HOPS
from sim.scenario.scenario import Phase

__all__ = [
    "NODE_METRICS",
    "PART_METRICS",
    "POPULATION_METRICS",
    "RUN_METRICS",
    "ExpectationError",
    "Metric",
    "Names",
    "Subject",
    "metric_paths",
    "read_path",
    "split_path",
]


class ExpectationError(SimError):
    """An expectation cannot be read, or names a number that no result has."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of the result document.

    Args:
        keys: Where it is, from the document, the phase or whatever else it belongs to.
        unit: `ms`, `s`, `bytes`, `/s`, `%`, or empty for a count.
        samples: Where the number of things it was measured over is; empty when it is itself such a number.
        none: What to say when that number is 0.
        live: Whether it is known while the run goes on.
    """

    keys: tuple[str, ...]
    unit: str = ""
    samples: tuple[str, ...] = ()
    none: str = ""
    live: bool = False


def _population_metrics() -> dict[str, Metric]:
    some = ("delivery", "expected"), "no delivery was expected"
    known = {
        "latency.count": Metric(("latency_ms", "count"), live=True),
        "delivery.expected": Metric(("delivery", "expected")),
        "delivery.delivered": Metric(("delivery", "delivered"), live=True),
        "delivery.deliveries_per_s": Metric(("delivery", "deliveries_per_s"), "/s", *some, live=True),
        "delivery.lost_percent": Metric(("delivery", "lost_percent"), "%", *some),
    }
    for key in ("min", "p50", "p90", "p95", "p99", "p999", "max"):
        samples = ("latency_ms", "count"), "nothing was delivered"
        known[f"latency.{key}"] = Metric(("latency_ms", key), "ms", *samples, live=True)
    for key in ("lost", "duplicated", "reordered", "unexpected"):
        known[f"delivery.{key}"] = Metric(("delivery", key), "", *some, live=key in ("duplicated", "unexpected"))
    return known


def _part_metrics() -> dict[str, Metric]:
    sent = ("publish", "messages"), "nothing was published"
    fanned = ("fanout", "messages"), "no message was for several clients"
    known = {
        **_population_metrics(),
        "publish.messages": Metric(("publish", "messages"), live=True),
        "publish.errors": Metric(("publish", "errors"), "", *sent, live=True),
        "publish.rate_per_s": Metric(("publish", "rate_per_s"), "/s", *sent, live=True),
        "fanout.messages": Metric(("fanout", "messages")),
        "fanout.complete": Metric(("fanout", "complete"), "", *fanned),
        "fanout.complete_percent": Metric(("fanout", "complete_percent"), "%", *fanned),
    }
    for key in ("p50", "p99", "max"):
        known[f"publish.send_lag.{key}"] = Metric(("publish", "send_lag_ms", key), "ms", *sent)
        known[f"fanout.spread.{key}"] = Metric(("fanout", "spread_ms", key), "ms", *fanned)
    return known


def _run_metrics() -> dict[str, Metric]:
    known = _part_metrics()
    for key in ("wanted", "connected", "failed", "disconnected", "reconnects"):
        known[f"clients.{key}"] = Metric(("clients", key), live=True)
    for key in ("provoked", "second_logins", "second_logins_failed"):
        known[f"clients.{key}"] = Metric(("clients", key))
    for hop in HOPS:
        for key in ("p50", "p99", "max"):
            samples = ("hops_ms", hop, "count"), "nobody told of this hop"
            known[f"hops.{hop}.{key}"] = Metric(("hops_ms", hop, key), "ms", *samples)
    known["clients.connects_per_s"] = Metric(("clients", "connects_per_s"), "/s")
    known["generator.workers"] = Metric(("generator", "workers"))
    known["generator.cpu"] = Metric(("generator", "cpu_percent"), "%")
    known["generator.loop_lag"] = Metric(("generator", "loop_lag_ms"), "ms")
    return known


POPULATION_METRICS = _population_metrics()
"""Of one population."""

PART_METRICS = _part_metrics()
"""Of a phase, a window or a publisher."""

RUN_METRICS = _run_metrics()
"""Of the whole run."""

NODE_METRICS = {
    "cpu_percent": Metric(("cpu_percent",), "%", live=True),
    "rss_bytes": Metric(("rss_bytes",), "bytes", live=True),
    "rss_max_bytes": Metric(("rss_max_bytes",), "bytes", live=True),
    "cpu": Metric(("cpu_s",), "s", live=True),
    "rss": Metric(("rss_bytes",), "bytes", live=True),
    "drops": Metric(("drops",), live=True),
}
"""Of one node, or of all of them added up."""

_LOST_AT = "delivery.lost_at."
_PLACE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Names:
    """What a scenario calls its parts; only these can be named.

    Args:
        phases: Name of each phase, and whether it is measured.
        populations: Names of populations.
        publishers: Names of publishers, and of another publisher that shares a target with it, or empty.
    """

    phases: Mapping[str, bool]
    populations: Sequence[str] = ()
    publishers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a path is about.

    Args:
        phase, population, publisher: Names of what limits it; empty for no limit.
        node: Name of a node; `*` for all of them; empty when it is about no node.
        key: The metric in the table of its subject, such as `latency.p99`.
    """

    phase: str = ""
    population: str = ""
    publisher: str = ""
    node: str = ""
    key: str = ""

    @property
    def table(self) -> Mapping[str, Metric]:
        """The metrics that this subject has."""
        if self.node:
            return NODE_METRICS
        if self.population:
            return POPULATION_METRICS
        return PART_METRICS if self.phase or self.publisher else RUN_METRICS

    @property
    def place(self) -> str:
        """Where, when it is about drops or losses at one place; else empty."""
        start = "drops." if self.node else _LOST_AT
        return self.key[len(start) :] if self.key.startswith(start) else ""

    @property
    def metric(self) -> Metric:
        """What is measured."""
        if self.place:
            return Metric((), live=bool(self.node))
        return self.table[self.key]


def split_path(path: str) -> Subject:
    """Return what a path is about; nothing is checked."""
    head, _, rest = path.partition(".")
    if head == "nodes" and rest:
        return Subject(node="*", key=rest)
    if head == "node" and rest:
        name, _, key = rest.partition(".")
        return Subject(node=name, key=key)
    limits: dict[str, str] = {}
    while head in ("phase", "population", "publisher") and rest and head not in limits:
        limits[head], _, path = rest.partition(".")
        head, _, rest = path.partition(".")
    return Subject(key=path, **limits)


def read_path(path: str, names: Names) -> Subject:
    """Return what a path is about.

    Raises:
        ExpectationError: no result has it.
    """
    subject = split_path(path)
    if subject.phase:
        _check_name(path, "phase", subject.phase, names.phases)
        if not names.phases[subject.phase]:
            raise ExpectationError(
                f'{path} names the phase "{subject.phase}", which is not measured; expected a phase with measure: true',
                hint=f"take measure: false away from {subject.phase}, or expect this of another phase",
            )
    if subject.population:
        _check_name(path, "population", subject.population, names.populations)
    if subject.publisher:
        _check_name(path, "publisher", subject.publisher, names.publishers)
        if other := names.publishers[subject.publisher]:
            raise ExpectationError(
                f'{path} names the publisher "{subject.publisher}", which shares a target with "{other}", so their '
                "messages cannot be told apart; expected a publisher with targets of its own",
                hint="expect this of the phase, or of the population",
            )
    _check_key(path, subject)
    return subject


def metric_paths(phases: Sequence[Phase] = ()) -> tuple[str, ...]:
    """Return every path an expectation can have, with words in capitals where a name goes."""
    scoped = [f"phase.{phase.name}.{key}" for phase in phases for key in (*PART_METRICS, f"{_LOST_AT}PLACE")]
    parts = [f"population.NAME.{key}" for key in POPULATION_METRICS]
    parts += [f"publisher.NAME.{key}" for key in PART_METRICS]
    nodes = [f"{head}.{key}" for head in ("node.NODE", "nodes") for key in (*NODE_METRICS, "drops.PLACE")]
    return (*RUN_METRICS, f"{_LOST_AT}PLACE", *scoped, *parts, *nodes)


def _check_name(path: str, what: str, name: str, known: Mapping[str, object] | Sequence[str]) -> None:
    if name in known:
        return
    _, _, rest = path.partition(f"{what}.{name}.")
    meant = nearest(name, known)
    raise ExpectationError(
        f'{path} names the {what} "{name}"; expected one of {", ".join(known) or "none: there is no " + what}',
        hint=f"did you mean {what}.{meant}.{rest}?" if meant else "",
    )


def _check_key(path: str, subject: Subject) -> None:
    table, key = subject.table, subject.key
    # Places are not known of parts that nodes know nothing of: they count no drops by population.
    by_place = bool(subject.node) or not (subject.population or subject.publisher)
    if key in table or (by_place and subject.place and _PLACE.fullmatch(subject.place)):
        return
    prefix = path.removesuffix(key) if key else f"{path}."
    # `latency_ms.p99` is what the document has; the unit belongs to the value here.
    plain = re.sub(r"_(ms|bytes|percent|s)(?=\.|$)", "", key)
    meant = plain if plain in table else nearest(key, table)
    groups = {known.partition(".")[0] for known in table}
    if table is RUN_METRICS:
        groups |= {"phase", "population", "publisher", "node", "nodes"}
    raise ExpectationError(
        f"{path} is not in the result; expected a metric of {', '.join(sorted(groups))}",
        hint=f"did you mean {prefix}{meant}?" if meant else f"such as {prefix}{next(iter(table))}",
    )
