"""Which module may import which, as docs/contributing.md draws it; read from the source, nothing is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("protocol", "imctl", "sim")

# Sockets, clocks, randomness and logging belong to who uses the wire, not to the wire.
NOT_IN_PROTOCOL_CORE = (
    *("asyncio", "http", "select", "selectors", "socket", "socketserver", "ssl", "urllib.request"),
    *("multiprocessing", "signal", "subprocess", "threading"),
    *("datetime", "time", "random", "secrets", "uuid", "logging"),
)

# Each takes longer to import than `imctl --help` may take as a whole.
HEAVY = frozenset({"aiohttp", "fakeredis", "google", "grpc", "numpy", "pydantic", "redis", "rich", "yaml"})


@dataclass(frozen=True, slots=True)
class Import:
    module: str
    line: int
    at_top: bool
    """Runs when the module is imported: not inside a function, not for type checkers only."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """All imports of a module; `from a import b` counts as a.b where that is a module of ours."""
    return tuple(_walk(tree_of(module), at_top=True))


def _walk(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_top)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                full = f"{child.module}.{alias.name}"
                yield Import(full if full in SOURCES else str(child.module), child.lineno, at_top)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _walk(child, at_top=False)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _walk(child, at_top=at_top and not inside)


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def breaks(sources: list[str], *forbidden: str) -> list[str]:
    """Return `path:line imports X` for each import of a forbidden package by the given modules."""
    return [
        f"{SOURCES[source].relative_to(ROOT)}:{found.line} imports {found.module}"
        for source in sources
        for found in imports_of(source)
        if within(found.module, *forbidden)
    ]


def sources_of(*packages: str, but: tuple[str, ...] = ()) -> list[str]:
    return [module for module in SOURCES if within(module, *packages) and not within(module, *but)]


def test_protocol_imports_neither_imctl_nor_sim():
    assert breaks(sources_of("protocol"), "imctl", "sim") == []


def test_protocol_core_uses_the_standard_library_and_protobuf_only():
    core = sources_of("protocol", but=("protocol.aio", "protocol.pb.regenerate"))

    strangers = [
        f"{SOURCES[module].relative_to(ROOT)}:{found.line} imports {found.module}"
        for module in core
        for found in imports_of(module)
        if found.module.split(".")[0] not in sys.stdlib_module_names | {"protocol"}
        and not within(found.module, "google.protobuf")
    ]

    assert strangers == []


def test_protocol_core_has_no_sockets_clock_random_or_logging():
    core = sources_of("protocol", but=("protocol.aio", "protocol.pb.regenerate"))

    assert breaks(core, "protocol.aio", *NOT_IN_PROTOCOL_CORE) == []


def test_sim_never_imports_imctl():
    assert breaks(sources_of("sim"), "imctl") == []


def test_imctl_outside_the_command_line_imports_neither_it_nor_sim():
    # imctl.testing is a front as the command line is one: pytest's.
    fronts = ("imctl.cli", "imctl.__main__", "imctl.testing")

    assert breaks(sources_of("imctl", but=fronts), "imctl.cli", "imctl.testing", "sim") == []


@pytest.mark.parametrize("node", ["comet", "logic", "job"])
def test_nodes_meet_on_the_link_only(node):
    others = [f"imctl.{other}" for other in ("comet", "logic", "job", "cluster") if other != node]

    assert breaks(sources_of(f"imctl.{node}"), *others) == []


@pytest.mark.parametrize("part", ["bus", "hooks", "link", "messages", "registry", "store"])
def test_what_nodes_plug_into_does_not_know_the_nodes(part):
    nodes = ("imctl.comet", "imctl.logic", "imctl.job", "imctl.cluster")

    assert breaks(sources_of(f"imctl.{part}"), *nodes) == []


def test_only_the_locust_process_imports_locust():
    assert breaks(sources_of(*PACKAGES, but=("sim.run.locustfile",)), "locust", "gevent") == []


def test_there_is_no_import_cycle():
    graph = {
        module: {found.module for found in imports_of(module) if found.at_top and found.module in SOURCES}
        for module in SOURCES
    }

    # Modules that import nothing which is left can go; what stays hangs on a cycle.
    while free := {module for module, needed in graph.items() if not needed & graph.keys()}:
        graph = {module: needed for module, needed in graph.items() if module not in free}

    assert {module: sorted(needed & graph.keys()) for module, needed in graph.items()} == {}


def test_command_modules_import_nothing_heavy_at_their_top():
    slow = [
        f"{SOURCES[module].relative_to(ROOT)}:{found.line} imports {found.module}"
        for module in sources_of("imctl.cli")
        for found in imports_of(module)
        if found.at_top and found.module.split(".")[0] in HEAVY
    ]

    assert slow == []


def test_help_loads_nothing_heavy():
    show = """
import sys
from imctl.cli.app import main
try:
    main(["--help"])
finally:
    print(*sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""
    shown = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, timeout=200)

    assert shown.returncode == 0, shown.stderr
    assert HEAVY & set(shown.stderr.split()) == set()


def exports(tree: ast.Module) -> ast.expr | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
            return node.value
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "__all__":
            return node.value
    return None


def test_every_module_with_code_has_all():
    without = [
        str(path.relative_to(ROOT))
        for module, path in SOURCES.items()
        if module != "imctl.__main__"
        and any(not is_docstring(node) for node in tree_of(module).body)
        and exports(tree_of(module)) is None
    ]

    assert without == []


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def test_all_names_only_what_the_module_has():
    wrong = []
    for module, path in SOURCES.items():
        tree, listed = tree_of(module), exports(tree_of(module))
        if isinstance(listed, (ast.List, ast.Tuple)):
            names = [ast.literal_eval(item) for item in listed.elts if isinstance(item, ast.Constant)]
            unknown = sorted(set(names) - top_names(tree))
            doubled = sorted({name for name in names if names.count(name) > 1})
            wrong += [f"{path.relative_to(ROOT)}: __all__ has {name}" for name in unknown + doubled]

    assert wrong == []


def top_names(tree: ast.Module) -> set[str]:
    """Names a module binds, wherever outside functions and classes."""
    names: set[str] = set()
    nodes: list[ast.AST] = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        else:
            nodes += ast.iter_child_nodes(node)
    return names


def test_every_test_folder_is_a_package():
    # Without it tests/protocol would hide protocol itself.
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}

    assert sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()) == []
