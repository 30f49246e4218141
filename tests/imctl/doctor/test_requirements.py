from __future__ import annotations

import importlib.metadata

import pytest
from packaging.requirements import Requirement as Oracle

from imctl.doctor.requirements import Requirement, parse_requirement, parse_requirements, satisfies

OWN = importlib.metadata.requires("imctl") or []
VERSIONS = ("0.4", "0.22.1", "0.23", "1", "1.78.0", "2.0.0", "2.5.1", "6.33.5", "7.1", "8.0.0", "9", "10.1.2")


@pytest.mark.parametrize("line", OWN)
def test_own_requirements_are_read_as_packaging_reads_them(line):
    oracle, found = Oracle(line), parse_requirement(line)

    assert found.name == oracle.name
    assert bool(found.extra) == ("extra" in str(oracle.marker or ""))
    assert {v: satisfies(v, found.bounds) for v in VERSIONS} == {v: oracle.specifier.contains(v) for v in VERSIONS}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rich", Requirement("rich", "")),
        ("redis<9,>=7.1", Requirement("redis", ">=7.1,<9")),
        ("redis (<9,>=7.1)", Requirement("redis", ">=7.1,<9")),
        ("fakeredis[lua]>=2", Requirement("fakeredis", ">=2")),
        ('locust<3,>=2.40; extra == "locust"', Requirement("locust", ">=2.40,<3", "locust")),
        ("uvloop>=0.23; sys_platform != 'win32'", Requirement("uvloop", ">=0.23", "", True)),
        ("v>=1; (sys_platform == 'linux') and extra == 'store'", Requirement("v", ">=1", "store", True)),
    ],
)
def test_a_line_of_metadata(line, expected):
    assert parse_requirement(line) == expected


def test_no_metadata_is_no_requirements():
    assert parse_requirements(None) == ()


def test_what_is_no_requirement_is_an_error():
    with pytest.raises(ValueError, match="is no requirement"):
        parse_requirement(">=3")


@pytest.mark.parametrize("bounds", ["~=1.2", "===1"])
def test_a_bound_of_another_form_is_an_error(bounds):
    with pytest.raises(ValueError, match="expected such as >=7.1"):
        satisfies("1.2", bounds)


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [("1.2.0", "==1.2", True), ("1.3", "!=1.3", False), ("1.3", ">1.2,<=1.3", True), ("2.0rc1", ">=2", True)],
)
def test_versions_compare_by_their_numbers(version, bounds, expected):
    assert satisfies(version, bounds) is expected


def test_a_version_without_a_number_is_an_error():
    with pytest.raises(ValueError, match="does not begin with a number"):
        satisfies("unknown", ">=1")
