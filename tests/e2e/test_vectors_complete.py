"""No recording without a test that replays it, and no difference that the documentation does not name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import test_vectors, test_vectors_direct, test_vectors_grpc, test_vectors_redis
from tests.imctl.logic import test_recorded_http
from tests.imctl.registry import test_recordings
from tests.vectors.lines import FILES, keys_of, marks_of

ROOT = Path(__file__).parents[2]

# Collecting twice in one process would import test modules twice.
COLLECT = """
import json, sys
import pytest

class Collected:
    def pytest_collection_modifyitems(self, items):
        from tests.vectors.lines import marks_of

        print("COLLECTED", json.dumps(marks_of(items)))

sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", "-n", "0", *sys.argv[1:]], [Collected()]))
"""


@pytest.fixture(scope="module")
def collected(request: pytest.FixtureRequest) -> list[tuple[str, str, bool]]:
    modules = [
        path
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "from tests.vectors.lines import" in path.read_text(encoding="utf-8") and path != Path(__file__)
    ]
    if not request.config.option.keyword and set(modules) <= {item.path for item in request.session.items}:
        return marks_of(request.session.items)
    # Only some of the tests are run: look at all of them.
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *map(str, modules)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("COLLECTED ")]
    return [tuple(each) for each in json.loads(line.removeprefix("COLLECTED "))]


@pytest.mark.parametrize("file", [*FILES, "redis"])
def test_every_recorded_line_is_replayed(collected, file):
    replayed = {key for name, key, left_out in collected if name == file and not left_out}
    there = keys_of(file)

    assert there
    assert sorted(set(there) - replayed) == []
    assert sorted(replayed - set(there)) == []


def test_every_file_of_recordings_is_known():
    files = {path.name for path in (ROOT / "tests" / "vectors").glob("*.json*")}

    assert files == {f"{name}.jsonl" for name in FILES} | {"redis.json"}


ANSWERED_IN_ANOTHER_WAY = {
    *test_vectors.ANSWERED_IN_FULL,
    *test_vectors.CLOSED_HERE,
    *test_vectors.PONGS,
    *test_vectors.DELIVERED_HERE,
    *test_vectors.IN_THE_ORDER_SENT,
    test_vectors.STAYS_A_MEMBER,
    test_vectors.COUNTED_AT_ONCE,
    test_vectors.COUNTS_GO_ON,
    *test_vectors_grpc.REFUSED_AT_ONCE,
    *(f"grpc {number}" for number in (*test_vectors_grpc.IDLE, test_vectors_grpc.NO_LOGIC, test_vectors_grpc.NOT_UTF8)),
    f"grpc {test_vectors_direct.FULL_CLIENT}",
    test_vectors_direct.OF_ANOTHER_SERVER,
    *test_vectors_redis.REMOVALS,
    test_vectors_redis.REPORT,
    test_vectors_redis.LOAD,
    test_vectors_redis.LOAD_NOTHING,
    "online_after_all_left",
    test_recorded_http.PUSH_TO_NOBODY,
    test_recordings.STEAL,
    *test_recordings.OF_THE_FRAMEWORK,
}
"""What the tests of the recordings compare with something else than the recording."""


def test_every_recording_that_is_answered_in_another_way_is_in_the_documentation():
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    table = page.partition("## Recordings that are answered in another way")[2].partition("\n## ")[0]
    named = [
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall("`([^`]+)`", row.split(" | ")[0])
    ]

    assert sorted(named) == sorted(ANSWERED_IN_ANOTHER_WAY)
