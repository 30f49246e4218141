"""What an install gets: the wheel, its dependencies, and the lock the set-up installs from."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import imctl
from tests.test_layout import PACKAGES, SOURCES, imports_of

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN_TIME = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
EXTRAS = [Requirement(line) for extra in PYPROJECT["project"]["optional-dependencies"].values() for line in extra]
DEVELOPMENT = [Requirement(line) for line in PYPROJECT["dependency-groups"]["dev"]]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")

# A whole entry: name==version, perhaps a marker, then its hashes, one a line.
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?: ; (?P<marker>[^\\]+))?"
    r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+$",
    re.M,
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_has_every_file_of_the_packages(wheel):
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert wanted - set(wheel.namelist()) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_says_that_the_packages_are_typed(wheel, package):
    assert f"{package}/py.typed" in wheel.namelist()


def test_wheel_has_the_protobuf_files(wheel):
    kinds = {Path(name).suffix for name in wheel.namelist() if name.startswith("protocol/pb/")}

    assert kinds >= {".binpb", ".proto", ".py", ".pyi"}


def test_wheel_has_nothing_else_at_its_top(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}

    assert tops == {*PACKAGES, f"imctl-{imctl.__version__}.dist-info"}


def test_wheel_has_command_licence_and_version(wheel):
    info = f"imctl-{imctl.__version__}.dist-info"

    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "[console_scripts]\nimctl = imctl.__main__:main\n" in entry_points
    assert "[pytest11]\nimctl = imctl.testing.plugin\n" in entry_points
    assert "the imctl authors" in wheel.read(f"{info}/licenses/LICENSE").decode()
    assert f"\nVersion: {imctl.__version__}\n" in wheel.read(f"{info}/METADATA").decode()


def test_published_dependencies_are_ranges():
    assert [str(wanted) for wanted in RUN_TIME + EXTRAS if not wanted.specifier or "==" in str(wanted.specifier)] == []


def test_every_import_is_a_declared_dependency():
    declared = {canonicalize_name(wanted.name) for wanted in RUN_TIME + EXTRAS}
    distributions = metadata.packages_distributions()
    own = sys.stdlib_module_names | set(PACKAGES)

    undeclared = {
        f"{SOURCES[module].relative_to(ROOT)}:{found.line} imports {found.module}"
        for module in SOURCES
        # A tool of this repository, which needs grpcio-tools; and what only pytest loads.
        if module not in ("protocol.pb.regenerate", "imctl.testing.plugin")
        for found in imports_of(module)
        if (top := found.module.split(".")[0]) not in own
        and not declared & {canonicalize_name(name) for name in distributions.get(top, [])}
    }

    assert undeclared == set()


def test_lock_is_versions_and_hashes_and_nothing_else():
    rest = ENTRY.sub("", re.sub(r"^#.*$", "", LOCK, flags=re.M)).split()

    assert rest == []


def test_lock_names_no_place_to_download_from():
    assert re.findall(r"https?:|://|--\w*(?:index|find-links|host)\S*|@", LOCK) == []


@pytest.mark.parametrize("wanted", RUN_TIME + EXTRAS + DEVELOPMENT, ids=lambda wanted: wanted.name)
def test_lock_has_a_version_that_pyproject_allows(wanted):
    locked = {entry["name"]: Version(entry["version"]) for entry in ENTRY.finditer(LOCK)}

    assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)])


def test_what_is_installed_is_what_is_locked():
    installed = {canonicalize_name(found.name): found.version for found in metadata.distributions()}

    other = [
        f"{entry['name']} {installed.get(entry['name'])}, locked {entry['version']}"
        for entry in ENTRY.finditer(LOCK)
        if (entry["marker"] is None or Requirement(f"x; {entry['marker']}").marker.evaluate())
        and installed.get(entry["name"]) != entry["version"]
    ]

    assert other == []
