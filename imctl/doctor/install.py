"""Python, the libraries that matter, the event loop, and what is optional."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Mapping, Sequence

from imctl.doctor.contract import Condition, Status, judged, unknown
from imctl.doctor.requirements import Requirement, satisfies

__all__ = [
    "EXTRA_USES",
    "PROGRAMS",
    "check_event_loop",
    "check_extras",
    "check_libraries",
    "check_platform",
    "check_programs",
    "check_python",
    "installed_version",
]

Versions = Callable[[str], str | None]
"""The installed version of a package by its name, None when it is not there."""

EXTRA_USES: Mapping[str, str] = {
    "jwt": "--hooks jwt?...",
    "kafka": "--bus kafka://...",
    "locust": "imctl sim --locust",
    "mqtt": "--bus mqtt, --bus mqtt://...",
    "store": "--store valkey, --bus valkey",
}
"""What of imctl needs each extra."""

PROGRAMS: Mapping[str, str] = {
    "redis-server": "for redis://",
    "valkey-server": "for valkey://",
    "mosquitto": "for mqtt://",
    "openssl": "for up --tls",
}
"""Programs that imctl does not need to start, and what they are of use for."""

_WATCHED = ("uvloop", "grpcio", "protobuf")
"""A row each, also when they are fine: they are what differs between machines that behave differently."""


def installed_version(name: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python(version: str, implementation: str, needed: str) -> Condition:
    """Judge the interpreter.

    Args:
        version: Such as 3.11.7.
        implementation: Such as CPython.
        needed: Bounds, such as `>=3.11`; empty when they are not known.
    """
    found = f"{implementation} {version}"
    return judged("Python", satisfies(version, needed), needed or "any", found, "make PYTHON=/path/to/python3 setup")


def check_platform(system: str, machine: str) -> Condition:
    """Judge the operating system.

    Args:
        system: As platform.system() has it.
        machine: Such as x86_64.
    """
    is_known = system in ("Linux", "Darwin")
    return judged("platform", is_known, "Linux or macOS", f"{system} {machine}", "run it on Linux, or in WSL")


def check_libraries(needed: Sequence[Requirement], version_of: Versions) -> list[Condition]:
    """Judge what everybody needs: a row for each that matters or is not as required, one for all others.

    Args:
        needed: Requirements without those of extras.
        version_of: Tells what is installed.
    """
    if not needed:
        return [unknown("libraries", "those of imctl", "imctl is not installed as a package", "pip install imctl")]
    rows = [_library(one, version_of(one.name)) for one in needed]
    shown = [row for row in rows if row.status is not Status.OK or row.name in _WATCHED]
    others = len(rows) - len(shown)
    if others:
        shown.append(Condition("other libraries", Status.OK, "as imctl requires", f"{others} as required"))
    return shown


def _library(needed: Requirement, version: str | None) -> Condition:
    required = needed.bounds or "any"
    if version is None:
        # Where it is not for this system, its absence is right; imctl runs without.
        status = Status.WARNING if needed.is_conditional else Status.FAILED
        return Condition(needed.name, status, required, "not installed", f"pip install '{needed.name}{needed.bounds}'")
    fix = f"pip install '{needed.name}{needed.bounds}'"
    return judged(needed.name, satisfies(version, needed.bounds), required, version, fix, version=version)


def check_event_loop(module: str) -> Condition:
    """Judge the loop that commands and nodes run on.

    Args:
        module: Of the class of a running loop.
    """
    found = module.partition(".")[0]
    fix = "pip install uvloop; asyncio is several times slower"
    return judged("event loop", found == "uvloop", "uvloop", found, fix, otherwise=Status.WARNING)


def check_extras(requirements: Sequence[Requirement], version_of: Versions) -> list[Condition]:
    """Say of each extra whether it is there, and what it is for."""
    rows = []
    for extra in sorted({one.extra for one in requirements if one.extra}):
        packages = [one for one in requirements if one.extra == extra]
        versions = {one.name: version_of(one.name) for one in packages}
        use = EXTRA_USES.get(extra, "")
        install = f"pip install 'imctl[{extra}]'"
        missing = [name for name, version in versions.items() if version is None]
        if len(missing) == len(packages):
            rows.append(Condition(f"extra {extra}", Status.INFO, use, "not installed", install))
            continue
        wrong = [one.name for one in packages if (v := versions[one.name]) and not satisfies(v, one.bounds)]
        found = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
        is_whole = not missing and not wrong
        rows.append(judged(f"extra {extra}", is_whole, use, found, install, otherwise=Status.WARNING, **versions))
    return rows


def check_programs(path: str | None = None) -> list[Condition]:
    """Say which servers and tools there are.

    Args:
        path: Folders to look in, as in PATH, which is the default.
    """
    found = {program: shutil.which(program, path=path) for program in PROGRAMS}
    return [Condition(name, Status.INFO, PROGRAMS[name], where or "not found") for name, where in found.items()]
