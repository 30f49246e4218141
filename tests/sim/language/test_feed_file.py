import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sim.language.feed_file
from sim.language.feed_file import read_feed
from sim.publish.feeder import FeedOrder


def read(tmp_path, text, name="users.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    problems = []
    feed = read_feed(path, "user", FeedOrder.SEQUENTIAL, problems)
    return feed, [str(problem).removeprefix(f"{path}:") for problem in problems]


def test_a_csv_file_has_its_columns_in_the_first_line(tmp_path):
    feed, problems = read(tmp_path, '\ufeffmid, name\n1,Ada\n\n2,"Bo, the ""B"""\r\n3,"two\nlines"\n4,中\n')

    assert problems == []
    assert feed.columns == ("mid", "name")
    assert feed.column("mid") == ("1", "2", "3", "4")
    assert feed.column("name") == ("Ada", 'Bo, the "B"', "two\nlines", "中")
    assert feed.lines == (2, 4, 5, 7)
    assert (feed.name, feed.order, feed.path) == ("user", FeedOrder.SEQUENTIAL, str(tmp_path / "users.csv"))


@pytest.mark.parametrize("name", ["users.jsonl", "users.ndjson", "USERS.JSONL"])
def test_a_json_lines_file_has_its_columns_in_the_first_object(tmp_path, name):
    first = '{"mid": 1, "name": "Ada", "tags": ["a", "b"], "on": true}'
    text = first + '\n\n{"name": null, "mid": 2.5, "on": 0, "tags": "x", "more": 1}'

    feed, problems = read(tmp_path, text, name)

    assert problems == []
    assert feed.columns == ("mid", "name", "tags", "on")
    assert feed.values == (("1", "2.5"), ("Ada", ""), ('["a","b"]', "x"), ("true", "0"))
    assert feed.lines == (1, 3)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "a,b\n1,2\n3\n4,5,6\n",
            ["3:1: the row has 1 fields; expected 2: a, b", "4:1: the row has 3 fields; expected 2: a, b"],
        ),
        ("a,a\n1,2\n", ['1:1: two columns are called "a"; expected each name once']),
        ("a,\n1,2\n", ['1:1: column 2 is called ""; expected a name']),
        ("a}b\n1\n", ['1:1: column 1 is called "a}b"; expected a name']),
        ('a\n1\n"2"x\n3\n', ["3:1: not CSV: "]),
        ('a\n1\n"2\n3\n', ["3:1: not CSV: "]),
        ("a\n", ["1:1: it has no rows; expected at least one below the header"]),
        ("", ["1:1: it has no rows; expected at least one"]),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_told_with_its_line(tmp_path, text, problems):
    feed, found = read(tmp_path, text)

    assert feed is None
    assert len(found) == len(problems)
    assert all(one.startswith(expected) for one, expected in zip(found, problems, strict=True)), found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1}\n{"a": \n', "2:1: not JSON: "),
        ('{"a": 1}\n{"a": NaN}\n', "2:1: not JSON: NaN is no number of JSON"),
        ('{"a": 1}\n\n[1]\n', "3:1: the row is [1]; expected an object"),
        ("{}\n", "1:1: the row is {}; expected an object"),
        ('{"a": 1, "b": 2}\n{"a": 1}\n', "2:1: the row has no b; expected a, b, as the first"),
        ("[" * 100_000, "1:1: not JSON: "),
        ("\n\n", "1:1: it has no rows; expected at least one"),
    ],
    ids=["cut", "NaN", "list", "empty", "missing", "deep", "blank"],
)
def test_what_is_wrong_with_a_json_lines_file_is_told_with_its_line(tmp_path, text, problem):
    feed, found = read(tmp_path, text, "users.jsonl")

    assert feed is None
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_file_of_another_kind_is_not_told_line_by_line(tmp_path):
    feed, found = read(tmp_path, "a,b\n" + "1\n" * 1000)

    assert feed is None
    assert len(found) == 5


def test_a_file_has_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr(sim.language.feed_file, "MAX_ROWS", 3)
    monkeypatch.setattr(sim.language.feed_file, "MAX_BYTES", 20)

    assert read(tmp_path, "a\n1\n2\n3\n")[0].rows == 3
    assert read(tmp_path, "a\n1\n2\n3\n4\n5\n") == (None, ["5:1: it has over 3 rows; expected fewer"])
    with pytest.raises(ValueError, match="has 21 bytes; expected at most 20"):
        read(tmp_path, "a\n" + "1" * 19)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("users.txt", "a\n1\n", "has the suffix .txt; expected one of .csv, .jsonl, .ndjson"),
        ("users.csv", b"a\n\xff\n", "not UTF-8 text: byte 2 is wrong"),
        ("users.csv", None, "cannot be read: no such file or directory"),
    ],
)
def test_what_cannot_be_read_at_all_says_why(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(ValueError) as caught:
        read_feed(path, "user", FeedOrder.ONCE, [])

    assert str(caught.value) == reason


def test_a_folder_is_no_feed(tmp_path):
    (tmp_path / "users.csv").mkdir()

    with pytest.raises(ValueError, match="is no file"):
        read_feed(tmp_path / "users.csv", "user", FeedOrder.ONCE, [])


@given(st.lists(st.dictionaries(st.just("a"), st.text(), min_size=1), min_size=1, max_size=5))
def test_any_text_survives_json_lines(tmp_path_factory, rows):
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)

    feed, problems = read(tmp_path_factory.mktemp("feed"), text.encode("utf-8", "surrogatepass"), "a.jsonl")

    assert problems == []
    assert feed.column("a") == tuple(row["a"] for row in rows)
