from pathlib import Path

import pytest

from sim.language.format_page import main, with_tables
from sim.language.load import load_scenario
from sim.language.shipped import shipped_scenarios
from sim.language.units import format_duration

README = Path(__file__).parents[3] / "scenarios" / "README.md"

PAGE = """\
before
<!-- table: phases -->
old
<!-- end -->
after
"""


def test_the_page_of_the_format_has_the_tables_of_the_format():
    text = README.read_text(encoding="utf-8")

    assert text == with_tables(text), "run: python -m sim.language.format_page scenarios/README.md"
    for name in ("scenario", "clients", "feeds", "publish", "phases", "events", "event-kinds"):
        assert f"<!-- table: {name} -->" in text


def test_a_table_has_a_row_for_each_key_and_the_rest_of_the_page_stays():
    lines = with_tables(PAGE).splitlines()

    assert lines[:4] == ["before", "<!-- table: phases -->", "", "| key | default | |"]
    assert lines[-3:] == ["", "<!-- end -->", "after"]
    assert "| `duration` | needed | How long it lasts. |" in lines
    assert any(line.startswith("| `publish` | `x1` | ") for line in lines)


def test_keys_inside_others_have_their_path():
    text = with_tables("<!-- table: clients -->\n<!-- end -->").replace("`", "")

    for start in (
        "transport | tcp |",
        "transport.ws | the rest, beside tcp alone |",
        "connect.rate | 1000/s |",
        "churn | all stay |",
    ):
        assert f"\n| {start}" in text
    assert "\n| connect |" not in text


def test_a_table_that_there_is_not():
    with pytest.raises(KeyError):
        with_tables("<!-- table: nothing -->\n<!-- end -->")


def test_files_are_rewritten(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")

    main([str(path)])

    assert path.read_text(encoding="utf-8") == with_tables(PAGE) != PAGE


def test_the_page_says_of_each_shipped_scenario_how_large_it_is():
    text = README.read_text(encoding="utf-8")

    for name, path in shipped_scenarios().items():
        scenario = load_scenario(path, env={})
        row = next(line for line in text.splitlines() if line.startswith(f"| [`{name}`]({name}.yaml) |"))
        clients, length = (cell.strip() for cell in row.split("|")[2:4])
        assert clients == f"{scenario.client_count:,}"
        assert length.replace(" ", "") == format_duration(scenario.duration_s)
