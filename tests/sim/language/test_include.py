import pytest

from sim.errors import ScenarioError
from sim.language.load import load_scenario

UNDER = """\
name: under
seed: 3
clients:
  - {name: viewers, count: 10, room: live://1}
phases:
  - {name: a, duration: 1s}
  - {name: b, duration: 2s}
"""


def load(folder, text, **options):
    (folder / "over.yaml").write_text(text, encoding="utf-8")
    return load_scenario(folder / "over.yaml", env=options.pop("env", {}), **options)


def problems_of(folder, text, **options):
    with pytest.raises(ScenarioError) as caught:
        load(folder, text, **options)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "under.yaml").write_text(UNDER, encoding="utf-8")
    return tmp_path


def test_a_file_says_what_is_different(folder):
    scenario = load(folder, "include: under.yaml\nname: over\nphases:\n  - {name: c, duration: 5s}\n")

    assert (scenario.name, scenario.seed, scenario.client_count) == ("over", 3, 10)
    assert [phase.name for phase in scenario.phases] == ["c"]
    assert scenario.path == str(folder / "over.yaml")


def test_options_change_what_was_included(folder):
    scenario = load(folder, "include: under.yaml\n", sets=["clients.viewers.count=3"], duration_s=6.0)

    assert scenario.client_count == 3
    assert [phase.duration_s for phase in scenario.phases] == [2.0, 4.0]


def test_included_files_include_others_from_their_own_folder(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "middle.yaml").write_text("include: ../under.yaml\nseed: 4\n", encoding="utf-8")

    scenario = load(folder, "include: ${DIR:-sub}/middle.yaml\nname: over\n")

    assert (scenario.name, scenario.seed) == ("over", 4)


def test_a_problem_names_the_file_it_is_in(folder):
    (folder / "under.yaml").write_text(UNDER.replace("count: 10", "count: many").replace("seed:", "sed:"))

    assert problems_of(folder, "include: under.yaml\nphases: []\n") == [
        "over.yaml:2:9: phases is an empty list; expected at least 1",
        "under.yaml:2:6: sed is not known; expected one of include, name, seed, clients, feeds, publish, phases, "
        "events, trace, expect",
        'under.yaml:4:28: clients[0].count is "many"; expected a whole number from 1 to 1000000',
    ]


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("none.yaml", "none.yaml cannot be read: no such file or directory"),
        ("over.yaml", "which includes this file; expected no circle"),
        (".", "which is no file; expected a scenario file"),
        ('"a\\0b"', "null byte"),
    ],
)
def test_a_file_that_cannot_be_included(folder, include, message):
    problems = problems_of(folder, f"include: {include}\n" + UNDER)

    assert len(problems) == 1
    assert problems[0].startswith("over.yaml:1:10: include is ")
    assert message in problems[0]


def test_a_circle_of_files(folder):
    (folder / "under.yaml").write_text("include: over.yaml\n" + UNDER)

    assert problems_of(folder, "include: under.yaml\n") == [
        'under.yaml:1:10: include is "over.yaml", which includes this file; expected no circle'
    ]


def test_a_long_chain_of_files_ends(folder):
    for number in range(20):
        (folder / f"{number}.yaml").write_text(f"include: {number + 1}.yaml\n")

    assert "files deep; expected fewer" in problems_of(folder, "include: 0.yaml\n" + UNDER)[0]


@pytest.mark.parametrize("include", ["[a.yaml]", "{a: b}", "", "3"])
def test_include_is_the_name_of_a_file(folder, include):
    assert "expected the path of a scenario file" in problems_of(folder, f"include: {include}\n" + UNDER)[0]


def test_an_empty_included_file_is_nothing(folder):
    (folder / "under.yaml").write_text("# nothing\n")

    assert load(folder, "include: under.yaml\n" + UNDER).name == "under"


def test_an_option_cannot_include(folder):
    assert problems_of(folder, UNDER, sets=["include=under.yaml"]) == [
        "--set include=under.yaml: include is given by an option; expected it in the file"
    ]
