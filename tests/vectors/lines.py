"""The recordings line by line, and which test replays which line.

A test that replays a line carries `recording(file, key)`; `line_params` puts
it there. `tests/e2e/test_vectors_complete.py` collects these marks and fails
for a line that no test has. The key is the number of the line, from 1; the
one object of redis.json has keys such as `monitor.3`, by its parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["FILES", "FOLDER", "keys_of", "line_params", "lines", "marks_of", "recording", "redis_recording"]

FOLDER = Path(__file__).parent
FILES = tuple(sorted(path.stem for path in FOLDER.glob("*.jsonl")))


def lines(file: str) -> list[Any]:
    """Return every line of a file, such as `tcp-sessions`. Any: JSON.

    Not by splitlines() of the text: a body holds a Unicode line separator.
    """
    return [json.loads(line) for line in (FOLDER / f"{file}.jsonl").read_bytes().splitlines()]


def redis_recording() -> Any:
    """Return the one object of redis.json. Any: JSON."""
    return json.loads((FOLDER / "redis.json").read_text(encoding="utf-8"))


def keys_of(file: str) -> list[str]:
    """Return the key of everything in a file, or in `redis`, that has to be replayed."""
    if file != "redis":
        return [str(number) for number in range(1, len(lines(file)) + 1)]
    keys = []
    for part, value in redis_recording().items():
        if isinstance(value, list):
            keys += [f"{part}.{number}" for number in range(1, len(value) + 1)]
        elif isinstance(value, dict):
            keys.append(part)
    return keys  # a part that is text says what another one is


def recording(file: str, key: int | str) -> pytest.MarkDecorator:
    """Return the mark of a test that replays a line."""
    return pytest.mark.recording(file, str(key))


def line_params(
    file: str,
    title: Callable[[Any], str] = lambda line: str(line["what"]),
    *,
    when: Callable[[Any], object] = lambda line: True,
    entries: Iterable[Any] | None = None,
) -> list[Any]:
    """Return a marked parameter for each line of a file that `when` accepts, with a readable id. Any: ParameterSet.

    Args:
        file: As in lines(); or `redis.monitor` and the like with its `entries`.
        title: Makes the id, with the line's number before it.
        when: Which lines to take.
        entries: Instead of the lines of the file.
    """
    return [
        pytest.param(line, id=f"{key}-{title(line)[:60]}", marks=recording(name, key))
        for name, key, line in _numbered(file, entries)
        if when(line)
    ]


def _numbered(file: str, entries: Iterable[Any] | None) -> Iterator[tuple[str, str, Any]]:
    name, dot, part = file.partition(".")
    for number, line in enumerate(lines(file) if entries is None else entries, 1):
        yield name, f"{part}{dot}{number}", line


def marks_of(items: Iterable[pytest.Item]) -> list[tuple[str, str, bool]]:
    """Return file, key, and whether the test may be left out, of every test that replays something."""
    return [
        (*mark.args, any(item.get_closest_marker(name) for name in ("skip", "skipif", "xfail", "soak")))
        for item in items
        for mark in item.iter_markers("recording")
    ]
