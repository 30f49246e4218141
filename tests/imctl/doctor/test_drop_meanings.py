from __future__ import annotations

from imctl.doctor.drop_meanings import MEANINGS, NORMAL, meaning_of
from tests.pages import ROOT, named, page, rows, section


def documented_drops() -> set[str]:
    lines = section(page("stats.md"), "## Drops").splitlines()
    return {name for line in lines if line.startswith("| `") for name in named(rows(line)[0][0])}


def test_every_documented_drop_has_a_meaning():
    assert len(documented_drops()) > 30
    assert documented_drops() - set(MEANINGS) == set()


def test_no_meaning_is_of_a_drop_that_no_source_has():
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "imctl").rglob("*.py") if path.parent.name != "doctor"
    )

    names = [name for name in MEANINGS if not name.startswith("hooks.")]
    assert [name for name in names if f'"{name}"' not in sources] == []


def test_what_is_normal_is_known():
    assert set(MEANINGS) >= NORMAL


def test_drops_of_hooks_have_the_meaning_of_any_hook():
    assert meaning_of("hooks.jwt.expired") == MEANINGS["hooks.NAME.REASON"]
    assert meaning_of("hooks.jwt.notices_full") == MEANINGS["hooks.NAME.notices_full"]
    assert meaning_of("hooks.offline.over_age") == MEANINGS["hooks.offline.over_age"]


def test_a_drop_of_another_version_names_the_command_that_tells_more():
    assert "imctl stats" in meaning_of("comet.something_new")
