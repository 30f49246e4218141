from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from imctl.conform import CASES, PARTS, select_cases
from tests.protocol.recordings import dialogues
from tests.vectors.lines import FOLDER

# Where a source names a dialogue by its name; the other recordings have titles in words.
NAMED = ("tcp-sessions", "ws-sessions", "tcp-pushes", "ws-pushes")


def test_there_are_many_and_each_has_its_own_id():
    counts = Counter(case.id for case in CASES)

    assert len(CASES) >= 400
    assert [name for name, count in counts.items() if count > 1] == []
    assert [case.id for case in CASES if not case.id.startswith(f"{case.area}.")] == []
    assert [case.id for case in CASES if not re.fullmatch(r"[a-z-]+\.[a-z0-9._=+-]+", case.id)] == []


def test_every_part_has_cases():
    assert {case.needs[0] for case in CASES} == set(PARTS)
    assert {part for case in CASES for part in case.needs} == set(PARTS)


@pytest.mark.parametrize("file", NAMED)
def test_recordings_that_are_named_exist(file):
    names = {dialogue["name"] for dialogue in dialogues(file)}

    cited = {
        name.strip()
        for case in CASES
        for found in re.findall(rf"\b{file}(?: and \S+)?\.jsonl: ([^;]+)", case.source)
        for name in found.split(",")
    }

    assert cited - names == set()
    assert cited


def test_http_calls_that_are_cited_exist():
    lines = (FOLDER / "logic-http.jsonl").read_text(encoding="utf-8").splitlines()
    titles = {json.loads(line)["what"] for line in lines}

    cited = {case.source.removeprefix("logic-http.jsonl: ") for case in CASES if case.area == "logic-http"}

    assert cited - titles == set()


def test_accepted_differences_say_what_they_are():
    for case in CASES:
        assert case.expected not in case.accepted, case.id
        assert all(case.accepted.values()), case.id


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], len(CASES)),
        (["tcp-frames.pack-len-0"], 1),
        (["pack-len-0"], 2),
        (["??-frames.pack-len-0", "ws-frames.*-0"], 1),
        (["no such case"], 0),
    ],
)
def test_cases_are_chosen_by_pattern(patterns, found):
    assert len(select_cases(patterns)) == found
