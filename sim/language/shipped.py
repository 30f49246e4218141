"""The scenarios that come with the simulator, by name or by path."""

from __future__ import annotations

from pathlib import Path

from sim.errors import Problem, ScenarioError
from sim.language.fields import nearest

__all__ = ["find_scenario", "shipped_folder", "shipped_scenarios", "summary_of"]


def shipped_folder() -> Path | None:
    """Return the folder of the shipped scenarios: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "scenarios_data"
    if installed.is_dir():
        return installed
    checkout = package.parent / "scenarios"
    # Without pyproject.toml the parent is site-packages, and `scenarios` there is somebody else's.
    return checkout if checkout.is_dir() and (package.parent / "pyproject.toml").is_file() else None


def shipped_scenarios() -> dict[str, Path]:
    """Return the shipped scenarios by name, in the order of their names."""
    folder = shipped_folder()
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder is not None else {}


def find_scenario(name: str) -> Path:
    """Return the file that a user means: a path, or else the name of a shipped scenario.

    `scenarios/room.yaml`, which is what the documentation says, also works away from a checkout.

    Raises:
        ScenarioError: it is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_scenarios()
    if not name.strip():
        message = "the name of the scenario is empty; expected a file, or the name of a shipped scenario"
        raise ScenarioError([Problem('""', 0, 0, "", message, "imctl scenarios lists those")])
    plain = path.stem if str(path.parent) in (".", "scenarios") and path.suffix in ("", ".yaml", ".yml") else ""
    if plain in shipped and not path.exists():
        return shipped[plain]
    if path.is_dir():
        raise ScenarioError([Problem(name, 0, 0, "", "is a folder; expected a scenario file", f"{name}/NAME.yaml")])
    meant = nearest(plain or path.stem, shipped)
    message = f"no such file, and no shipped scenario; those are {', '.join(shipped) or 'not installed'}"
    raise ScenarioError([Problem(name, 0, 0, "", message, f"did you mean {meant}?" if meant else "")])


def summary_of(path: Path) -> str:
    """Return the first comment of a scenario file, up to its first empty line, as one line."""
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        words.append(text)
    return " ".join(words).removesuffix(".")
