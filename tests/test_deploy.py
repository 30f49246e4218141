"""The units and the compose file of deploy/: what they start is understood by this version of imctl."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.core import TyperGroup

from imctl.cli.app import build_app, hoist_globals
from imctl.cli.commands import node as node_command
from imctl.cli.context import Context
from imctl.cluster.spec import ProcessSpec
from tests.conftest import missing

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = DEPLOY / "compose.yaml"


def environment() -> dict[str, str]:
    lines = (DEPLOY / "systemd" / "imctl.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def command_of(unit: Path, *, instance: str = "2") -> list[str]:
    """Return what a unit executes, as systemd would."""
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.M)
    words = []
    for word in shlex.split(line):
        word = word.replace("%i", instance).replace("%H", "machine")
        word = re.sub(r"\$\{(\w+)\}", lambda name: environment()[name[1]], word)
        words.append(word.replace("/etc/imctl", str(DEPLOY / "systemd")))
    assert words[0] == "/opt/imctl/bin/imctl"
    return words[1:]


def started(words: list[str], monkeypatch: pytest.MonkeyPatch) -> ProcessSpec:
    """Return what `imctl WORDS` would run, checked as far as it can be without running it."""
    found: list[ProcessSpec] = []

    async def run(spec: ProcessSpec, printer: object) -> None:
        found.append(spec)

    monkeypatch.setattr(node_command, "_run", run)
    monkeypatch.setattr(node_command, "_log_to_stderr", lambda *, debug: None)
    group = typer.main.get_command(build_app())
    assert isinstance(group, TyperGroup)
    with group.make_context("imctl", hoist_globals(words), obj=Context()) as context:
        group.invoke(context)
    (spec,) = found
    spec.wanted()  # makes every config object
    return spec


def services() -> Iterator[tuple[str, Mapping[str, Any]]]:
    document = yaml.safe_load(COMPOSE.read_text())
    for name, service in document["services"].items():
        if service["image"] == "imctl":
            yield name, service


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_node_of_its_kind(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = re.sub(r"imctl-(\w+)@?\.service", r"\1", unit.name)

    spec = started(command_of(unit), monkeypatch)

    assert spec.kind == kind
    assert spec.registry == "http://10.0.0.1:7171"
    assert spec.parts[kind].get("host", "10.0.0.1") == environment()["IMCTL_BIND"]
    assert spec.parts[kind]["hostname"].startswith("machine-")


def test_comets_of_one_machine_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = DEPLOY / "systemd" / "imctl-comet@.service"

    ports = [{want.port for want in started(command_of(unit, instance=i), monkeypatch).wanted()} for i in ("1", "2")]

    assert ports == [{3101, 3102, 3109}, {3201, 3202, 3209}]


def test_systemd_finds_no_fault_with_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        missing("systemd-analyze is not installed (package systemd)")
    for unit in UNITS:
        # It looks whether the program and the user are there.
        text = unit.read_text().replace("/opt/imctl/bin/imctl", sys.executable).replace("User=imctl", "User=root")
        (tmp_path / unit.name.replace("@", "@1")).write_text(text)

    verified = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", *map(str, tmp_path.glob("*.service"))],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    said = [line for line in verified.stderr.splitlines() if str(tmp_path) in line or "imctl-" in line]
    assert (verified.returncode, said) == (0, []), verified.stderr


@pytest.mark.parametrize(("name", "service"), list(services()), ids=[name for name, _ in services()])
def test_a_compose_service_starts_a_node_that_the_others_find(
    name: str, service: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = started(list(service["command"]), monkeypatch)

    kind = name.partition("-")[0]
    settings = spec.parts[kind]
    assert spec.kind == kind
    if kind != "registry":
        assert (settings["hostname"], spec.registry) == (name, "http://registry:7171")
    if kind in ("logic", "comet"):
        assert settings["advertise_host"] == name
    if kind in ("logic", "job"):
        assert spec.bus == "mqtt://mosquitto:1883"
    listened = {want.port for want in spec.wanted()}
    assert {int(port.split(":")[-1]) for port in service.get("ports", ())} <= listened
    if "healthcheck" in service:
        assert int(service["environment"]["PROBE"]) in listened


def test_the_compose_file_is_the_cluster_of_the_page() -> None:
    kinds = [name.partition("-")[0] for name, _ in services()]

    assert {kind: kinds.count(kind) for kind in kinds} == {"registry": 1, "logic": 2, "job": 2, "comet": 3}


def test_the_image_has_the_extras_of_the_buses() -> None:
    assert "/src[kafka,mqtt]" in (DEPLOY / "Dockerfile").read_text()
