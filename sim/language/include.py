"""`include: other.yaml`: a scenario that says what is different from another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sim.errors import Problem
from sim.language.yaml_tree import Item, parse_tree

__all__ = ["beside", "merge_included", "read_text"]

MAX_DEPTH = 8
"""Files that include one another, at most."""


def merge_included(root: Item, file: str, env: Mapping[str, str], problems: list[Problem]) -> Item:
    """Return a scenario's tree with the one it includes under it, and `include` gone.

    A mapping is merged key by key; everything else, lists too, replaces what
    the included file has. Each value keeps its own file and line.
    """
    return _merge_included(root, (Path(file),), env, problems)


def beside(item: Item, file: str) -> Path:
    """Return the path that an item names: from the folder of the file it stands in, which may be an included one.

    Args:
        item: A text.
        file: The scenario's path, for an item that an option gave.
    """
    return Path(item.file if item.line else file).parent / str(item.value)


def read_text(path: Path) -> str:
    """Return the text of a scenario file.

    Raises:
        ValueError: it cannot be read; the text says why, as what follows the file's name.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ValueError(f"not UTF-8 text: byte {exc.start} is wrong") from exc
    except OSError as exc:
        raise ValueError(f"cannot be read: {(exc.strerror or type(exc).__name__).lower()}") from exc


def _merge_included(root: Item, files: tuple[Path, ...], env: Mapping[str, str], problems: list[Problem]) -> Item:
    if not isinstance(root.value, dict):
        return root
    wanted = root.value.get("include")
    if wanted is None or not isinstance(wanted.value, str) or not wanted.value.strip():
        return root  # nothing to do, or no name of a file: that is reported with the rest
    del root.value["include"]
    path = files[-1].parent / wanted.value
    message = text = ""
    try:
        if any(os.path.realpath(path) == os.path.realpath(other) for other in files):
            message = f"include is {wanted.written()}, which includes this file; expected no circle"
        elif len(files) > MAX_DEPTH:
            message = f"include is {wanted.written()}, over {MAX_DEPTH} files deep; expected fewer"
        elif path.exists() and not path.is_file():
            message = f"include is {wanted.written()}, which is no file; expected a scenario file"
        else:
            text = read_text(path)
    except ValueError as exc:  # from the operating system's names too: one with a NUL in it
        message = f"include is {wanted.written()}: {path} {exc}"
    if message:
        problems.append(wanted.problem("include", message))
        return root
    included = parse_tree(text, file=str(path), env=env, problems=problems)
    if included is None:
        return root
    return _over(_merge_included(included, (*files, path), env, problems), root)


def _over(under: Item, item: Item) -> Item:
    """Return `item`, with what only `under` has added where both are mappings."""
    if not isinstance(item.value, dict) or not isinstance(under.value, dict):
        return item
    for key, child in under.value.items():
        if key in item.value:
            item.value[key] = _over(child, item.value[key])
        else:
            item.value[key] = child
            item.keys[key] = under.keys.get(key, (child.line, child.column))
    return item
