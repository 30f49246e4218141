"""The pages say what is there: commands, options, exit codes, settings, counters, links, examples."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from functools import cache

import pytest
import typer.main
from typer.core import TyperGroup

from benchmarks.__main__ import NAMES
from imctl.cli.app import COMMANDS, build_app, hoist_globals
from imctl.cli.context import Context
from imctl.cli.exits import Exit
from imctl.cli.reference import commands_page, exit_meanings
from imctl.cluster import goim_file, settings
from imctl.cluster.node_config import PARTS, config_class
from protocol.operation import Operation
from protocol.push_api import (
    NodesInstances,
    NodesWeighted,
    OnlineRoom,
    OnlineTop,
    OnlineTotal,
    PushAll,
    PushKeys,
    PushMids,
    PushRoom,
    Sessions,
    Stats,
)
from sim.report.model import RunReport, SeriesRow
from tests.pages import ROOT, named, page, rows, section

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "scenarios" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


# --- README -----------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_shows_the_command(command):
    # As `imctl NAME`, or in a list of several: "`pause`, `resume`".
    assert re.search(rf"imctl {command}\b|`{command}`", README)


@pytest.mark.parametrize("code", list(Exit), ids=lambda code: code.name)
def test_readme_explains_the_exit_code(code):
    assert f"\n| {code.value} | " in README


# --- links and make targets -------------------------------------------------


def anchor(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, heading = link.partition("#")
        target = path.parent / name if name else path
        if "://" in link:
            continue
        if not target.exists():
            broken.append(link)
        elif heading:
            anchors = [
                anchor(line.lstrip("# ")) for line in target.read_text(encoding="utf-8").splitlines() if line[:1] == "#"
            ]
            broken += [link] if heading not in anchors else []

    assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    used = set(re.findall(r"(?:`|^)make ([a-z]+)", path.read_text(encoding="utf-8"), re.M))

    assert used - targets == set()


def test_every_page_is_in_the_index():
    index = page("README.md")
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]

    assert [name for name in pages if name != "README.md" and f"({name})" not in index] == []


# --- commands ---------------------------------------------------------------


def test_the_page_of_commands_is_up_to_date():
    assert page("commands.md") == commands_page(), "python -m imctl.cli.reference > docs/commands.md"


def test_every_exit_code_has_a_meaning():
    assert set(exit_meanings()) == set(Exit)


def examples() -> Iterator[tuple[str, str]]:
    """Return every `imctl ...` that a page shows as something to type, and where."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        blocks = [*re.findall(r"```sh\n(.*?)```", text, re.S), "\n".join(re.findall(r"^    (imctl .*)", text, re.M))]
        for line in "\n".join(blocks).splitlines():
            # Several on a line, in $( ), behind a pipe, in the background.
            for part in re.split(
                r"&&|\|\|?|&|\$\(|<", re.sub(r"'[^']*'", lambda quoted: quoted[0].replace("&", "+"), line)
            ):
                if part.strip().startswith("imctl "):
                    yield part.partition(" > ")[0].partition(")")[0].strip(), path.name


@cache
def imctl_group() -> TyperGroup:
    group = typer.main.get_command(build_app())
    assert isinstance(group, TyperGroup)
    return group


@pytest.mark.parametrize(("line", "where"), sorted(set(examples())))
def test_examples_parse(line, where):
    group = imctl_group()
    words = hoist_globals(shlex.split(line, comments=True)[1:])

    with group.make_context("imctl", list(words), obj=Context()) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None, line
        with command.make_context(name, rest, parent=context):
            pass


# --- configuration ----------------------------------------------------------


def shown(value: object) -> str:
    """Return a default as the page has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "[]" if value == () else str(value)


@pytest.mark.parametrize("part", PARTS)
def test_every_setting_is_documented_with_its_default(part):
    table = section(page("configuration.md"), f"### `[{part}]`")
    documented = {name: row[1].strip("`") for row in rows(table) for name in named(row[0])}
    fields = dataclasses.fields(config_class(part))

    assert set(documented) == {field.name for field in fields}
    for field in fields:
        if field.default is dataclasses.MISSING:  # a table of its own: its settings stand in the text
            row = next(row for row in rows(table) if f"`{field.name}`" in row[0])
            assert field.default_factory is not dataclasses.MISSING
            for inner, value in dataclasses.asdict(field.default_factory()).items():
                assert f"`{inner}` ({shown(value)})" in row[2].replace(".0)", ")") or f"`{inner}` ({value:g})" in row[2]
        elif field.default not in (None, ""):
            assert documented[field.name] == shown(field.default), field.name


def test_every_key_of_the_cluster_table_is_documented():
    documented = {name for row in rows(section(page("configuration.md"), "### `[cluster]`")) for name in named(row[0])}

    assert documented == {*settings._CLUSTER_KEYS, "compat"}


@pytest.mark.parametrize("kind", ["comet", "logic", "job"])
def test_every_key_of_goims_files_that_is_read_is_documented(kind):
    text = section(page("configuration.md"), "## goim's files").lower()

    assert [key for key in goim_file._RULES[kind] if f"`{key}`" not in text] == []


@pytest.mark.parametrize("kind", ["comet", "logic", "job"])
def test_every_key_of_goims_files_that_is_not_used_is_documented(kind):
    text = section(page("configuration.md"), "## goim's files").lower()
    named_as = {
        key: (f"`{key}`", f"`{key.partition('.')[2]}`", f"`{key.partition('.')[0]}.*`")
        for key in goim_file._NOT_HERE[kind] | goim_file._NO_EFFECT_THERE
    }

    assert sorted(key for key, forms in named_as.items() if not any(form in text for form in forms)) == []


def test_environment_variables_are_documented():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "imctl").rglob("*.py")]
    used = {name for text in sources for name in re.findall(r"environ(?:\.get\(|\[)\"(IMCTL_[A-Z_]+)\"", text)}

    assert [name for name in used if f"`{name}`" not in page("configuration.md")] == []


# --- wire, simulator, benchmarks --------------------------------------------


def test_every_operation_is_documented():
    text = section(page("wire.md"), "## Operations")
    numbers = {int(number) for row in rows(text) for number in re.findall(r"\b\d+\b", row[0])}
    numbers |= {
        int(number) for number in re.findall(r"\d+", text.partition("have names in goim")[0].rpartition("\n\n")[2])
    }
    replies = {13, 15, 17}  # named with their requests

    assert {int(operation) for operation in Operation} <= numbers | replies
    assert all(f"op {reply}" in text for reply in replies)


def test_every_call_of_the_push_api_is_documented():
    calls = (PushKeys, PushMids, PushRoom, PushAll, OnlineTop, OnlineRoom, OnlineTotal)
    calls += (NodesWeighted, NodesInstances, Sessions, Stats)

    assert [call for call in calls if f"`{call.method} {call.path}`" not in page("wire.md")] == []


def test_every_field_of_the_result_document_is_documented():
    table = rows(section(page("simulator.md"), "## The result document"))
    documented = {name: set(named(row[1])) for row in table for name in named(row[0])}

    assert set(documented) == {"schema_version", *(field.name for field in dataclasses.fields(RunReport))}
    report = RunReport("", 0, "", "", verdict="pass")  # type: ignore[arg-type]  # only its fields matter
    for name in ("clients", "publish", "delivery", "latency_ms", "generator"):
        assert {field.name for field in dataclasses.fields(getattr(report, name))} <= documented[name], name
    assert {field.name for field in dataclasses.fields(SeriesRow)} <= documented["series"]


def test_every_benchmark_is_documented():
    documented = {name for row in rows(page("benchmarks.md")) for name in named(row[0])}

    assert documented == set(NAMES)
