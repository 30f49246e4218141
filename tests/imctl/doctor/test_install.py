from __future__ import annotations

import importlib.metadata

import pytest

from imctl.doctor.contract import Status
from imctl.doctor.install import (
    EXTRA_USES,
    PROGRAMS,
    check_event_loop,
    check_extras,
    check_libraries,
    check_platform,
    check_programs,
    check_python,
    installed_version,
)
from imctl.doctor.requirements import parse_requirements

NEEDED = parse_requirements(["grpcio<2,>=1.78", "rich<16,>=14.2", "uvloop>=0.23; sys_platform != 'win32'"])
FINE = {"grpcio": "1.80.0", "rich": "14.2", "uvloop": "0.23.0"}
EXTRAS = parse_requirements(['a>=1; extra == "mqtt"', 'b>=1; extra == "mqtt"', 'c>=2; extra == "kafka"'])


@pytest.mark.parametrize(("version", "status"), [("3.11.0", Status.OK), ("3.10.9", Status.FAILED)])
def test_python_is_judged_by_what_the_package_requires(version, status):
    row = check_python(version, "CPython", ">=3.11")

    assert (row.status, row.required, row.found) == (status, ">=3.11", f"CPython {version}")
    assert bool(row.fix) == (status is Status.FAILED)


@pytest.mark.parametrize(
    ("system", "status"), [("Linux", Status.OK), ("Darwin", Status.OK), ("Windows", Status.FAILED)]
)
def test_platform(system, status):
    assert check_platform(system, "x86_64").status is status


def test_libraries_as_required_have_rows_for_those_that_matter_only():
    rows = check_libraries(NEEDED, FINE.get)

    assert {row.status for row in rows} == {Status.OK}
    assert [(row.name, row.found) for row in rows] == [
        ("grpcio", "1.80.0"),
        ("uvloop", "0.23.0"),
        ("other libraries", "1 as required"),
    ]


def test_a_library_of_another_version_fails_and_names_the_command():
    rows = {row.name: row for row in check_libraries(NEEDED, (FINE | {"rich": "16.0"}).get)}

    assert (rows["rich"].status, rows["rich"].found) == (Status.FAILED, "16.0")
    assert rows["rich"].fix == "pip install 'rich>=14.2,<16'"


def test_a_missing_library_fails_and_one_of_some_systems_only_warns():
    rows = {row.name: row.status for row in check_libraries(NEEDED, {"grpcio": "1.80"}.get)}

    assert rows == {"grpcio": Status.OK, "rich": Status.FAILED, "uvloop": Status.WARNING}


def test_without_metadata_libraries_are_unknown():
    assert [row.status for row in check_libraries((), FINE.get)] == [Status.UNKNOWN]


@pytest.mark.parametrize(("module", "status"), [("uvloop", Status.OK), ("asyncio.unix_events", Status.WARNING)])
def test_event_loop(module, status):
    row = check_event_loop(module)

    assert (row.status, row.found) == (status, module.partition(".")[0])


def test_extras_are_whole_or_absent_or_broken():
    versions = {"a": "1.5", "b": None, "c": None}
    whole = {"a": "1.5", "b": "1.0", "c": "2"}
    old = {"a": "0.9", "b": "1.0"}

    assert [(row.name, row.status) for row in check_extras(EXTRAS, versions.get)] == [
        ("extra kafka", Status.INFO),
        ("extra mqtt", Status.WARNING),
    ]
    assert {row.status for row in check_extras(EXTRAS, whole.get)} == {Status.OK}
    assert check_extras(EXTRAS, old.get)[1].status is Status.WARNING
    assert check_extras(EXTRAS, versions.get)[1].found == "a 1.5, b missing"


def test_an_absent_extra_says_what_it_is_for_and_how_to_get_it():
    row = check_extras(EXTRAS, {}.get)[0]

    assert (row.required, row.found, row.fix) == ("--bus kafka://...", "not installed", "pip install 'imctl[kafka]'")


def test_every_extra_of_the_package_has_a_use():
    extras = {one.extra for one in parse_requirements(importlib.metadata.requires("imctl")) if one.extra}

    assert set(EXTRA_USES) == extras


def test_programs_are_looked_for_on_the_path(tmp_path):
    program = tmp_path / "mosquitto"
    program.write_text("")
    program.chmod(0o755)

    rows = {row.name: row for row in check_programs(str(tmp_path))}

    assert set(rows) == set(PROGRAMS)
    assert {row.status for row in rows.values()} == {Status.INFO}
    assert rows["mosquitto"].found == str(program)
    assert rows["redis-server"].found == "not found"


def test_installed_version_is_none_for_what_is_not_there():
    assert installed_version("imctl") == importlib.metadata.version("imctl")
    assert installed_version("no-such-package-at-all") is None
