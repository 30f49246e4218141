from __future__ import annotations

import pytest
import typer

from imctl.cli.tables import address_text, bytes_text, duration_text
from imctl.cli.values import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("4m", 240), ("1m30s", 90), ("1.5s", 1.5), ("2h", 7200), (3.0, 3)],
)
def test_duration(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "10s!", "-1s", "ten"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="500ms"):
        parse_duration(text)


def test_texts_for_people() -> None:
    assert [bytes_text(n) for n in (0, 999, 1500, 40_100_000, 2e9)] == ["0 B", "999 B", "1.5 kB", "40.1 MB", "2.0 GB"]
    assert [duration_text(s) for s in (4.21, 185, 7800)] == ["4.2s", "3m05s", "2h10m"]
    assert address_text({"tcp": "127.0.0.1:1", "wss": None}) == "tcp           127.0.0.1:1"
