"""docs/stats.md names all that nodes count, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from imctl.cluster.inprocess import LocalCluster
from imctl.cluster.node_config import PARTS
from protocol.aio import Client
from protocol.bodies import AuthToken
from protocol.errors import RemoteError
from tests.pages import ROOT, named, page, rows


def counted_names() -> dict[str, set[str]]:
    """Return every name that a node of a kind can count, found in its source: {kind: names}."""
    return {kind: set(_names_in(kind)) for kind in (*PARTS, "bus")}


def _names_in(kind: str) -> Iterator[str]:
    for path in (ROOT / "imctl" / kind).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield from _names_of_call(node, kind)
            elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                # `values["calls"] += 1`: the hot paths of job
                owner = ast.unparse(node.value)
                if owner == "values" or owner.endswith(("counters.values", "_counts")):
                    yield str(node.slice.value)


def _names_of_call(call: ast.Call, kind: str) -> Iterator[str]:
    function = ast.unparse(call.func)
    texts = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if function == "Counters":
        yield from texts
    elif function.endswith(("counters.add", "drops.add")):
        yield from (text for text in texts[:1] if not text.endswith("."))
    elif kind == "comet" and function.endswith((".close", ".abort")) and function != "self.transport.close":
        yield from (f"closed.{text}" for text in texts if re.fullmatch("[a-z_]+", text) and text != "linger")
    elif kind in ("logic", "job", "registry"):
        # Reasons that are handed to a method which counts them.
        yield from (text for text in texts if re.fullmatch(rf"{kind}\.[a-z_]+", text))


def documented_stats() -> dict[str, set[str]]:
    """Return the names in the first column of the page's tables, by the heading of the table."""
    found: dict[str, set[str]] = {}
    kind = ""
    for line in page("stats.md").splitlines():
        if line.startswith("#"):
            kind = line.lstrip("# ").lower()
        elif line.startswith("| `"):
            found.setdefault(kind, set()).update(named(rows(line)[0][0]))
    return found


def test_every_name_in_the_sources_is_documented():
    documented = documented_stats()
    # Addresses are called logic.http; the registry's counts of its own HTTP server need no more than the call.
    others = {"logic.http", "logic.grpc", "registry.http"}

    missing = {kind: sorted(names - others - documented[kind]) for kind, names in counted_names().items()}

    assert {kind: names for kind, names in missing.items() if names} == {}


def test_every_name_that_the_message_store_counts_is_documented():
    counted = {
        str(node.args[0].value)
        for path in (ROOT / "imctl" / "messages").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("._count", "._drop", "context.count"))
        and isinstance(node.args[0], ast.Constant)
    }
    documented = {
        name.removeprefix("hooks.offline.") for name in documented_stats()["hooks"] if name.startswith("hooks.offline.")
    }

    assert len(counted) > 10
    assert documented == counted


def test_every_reason_for_closing_that_the_wire_gives_is_documented():
    reasons = {cls.reason for cls in _subclasses(RemoteError) if cls.__module__ == "protocol.errors"}
    # Of bodies and containers, which do not close a connection.
    reasons -= {"body", "batch", "remote_error"}

    assert {f"closed.{reason}" for reason in reasons} <= documented_stats()["comet"]


def _subclasses(cls: type[RemoteError]) -> Iterator[type[RemoteError]]:
    for below in cls.__subclasses__():
        yield below
        yield from _subclasses(below)


def test_nothing_is_documented_that_no_source_has():
    documented = documented_stats()
    sources = {
        kind: "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "imctl" / kind).glob("*.py"))
        for kind in (*PARTS, "bus", "link")
    }
    wire = (ROOT / "protocol" / "errors.py").read_text(encoding="utf-8")

    gone = {
        kind: [
            name
            for name in documented[kind]
            if f'"{name.removeprefix("link_") if kind == "link" else name}"' not in sources[kind]
            and f'"{name.removeprefix("closed.")}"' not in sources[kind] + wire
        ]
        for kind in sources
    }

    assert {kind: names for kind, names in gone.items() if names} == {}


async def test_every_name_that_a_cluster_reports_is_documented():
    documented = documented_stats()
    gauges = {(name, kind) for row in rows(page("stats.md")) for name in named(row[0]) for kind in row[1].split(", ")}
    unknown = []

    async with LocalCluster() as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        async with await Client.connect_tcp(host, int(port), AuthToken(mid=1, room_id="live://1")):
            parts = [stats for process in cluster.stats().values() for stats in process.values()]
    for stats in parts:
        kind = stats["kind"]
        known = documented[kind] | documented["link"]
        unknown += [(kind, name) for name in (*stats["counters"], *stats["drops"]) if name not in known]
        for name in stats["gauges"]:
            name = re.sub(r"^queued\..+", "queued.HOSTNAME", name)
            unknown += [] if (name, kind) in gauges else [(kind, name)]

    assert unknown == []
