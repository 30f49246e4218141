import pytest

from sim.language import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10.0),
        ("4m", 240.0),
        ("1m30s", 90.0),
        ("0.5h", 1800.0),
        ("250us", 0.00025),
        (" 2s ", 2.0),
    ],
)
def test_duration(text, seconds):
    assert units.parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["10", 10, "fast", "1:30", "", "10 s x", "-1s", None, True, "1e400s"])
def test_a_duration_needs_its_unit(value):
    with pytest.raises(ValueError, match="a duration such as"):
        units.parse_duration_s(value)


@pytest.mark.parametrize(("text", "rate"), [("40/s", 40.0), ("1000/m", 1000 / 60), ("90/h", 0.025), ("2.5 / s", 2.5)])
def test_rate(text, rate):
    assert units.parse_rate_per_s(text) == pytest.approx(rate)


@pytest.mark.parametrize("value", [40, "40", "40/d", "/s", "-1/s", False])
def test_a_rate_says_per_what(value):
    with pytest.raises(ValueError, match="a rate such as"):
        units.parse_rate_per_s(value)


@pytest.mark.parametrize(("text", "share"), [("70%", 0.7), ("0%", 0.0), ("100 %", 1.0), ("12.5%", 0.125)])
def test_share(text, share):
    assert units.parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("value", ["101%", "-1%", 0.7, "70", None])
def test_a_share_is_0_to_100_percent(value):
    with pytest.raises(ValueError, match="a share such as"):
        units.parse_share(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [(64, 64), ("64", 64), ("64B", 64), ("1KB", 1000), ("1KiB", 1024), ("1.5 kb", 1500), ("2MB", 2_000_000)],
)
def test_size(value, size):
    assert units.parse_size_bytes(value) == size


@pytest.mark.parametrize("value", ["1.5", "1XB", "big", True, None, -1, float("nan")])
def test_a_size_is_whole_bytes(value):
    with pytest.raises(ValueError, match="a size such as"):
        units.parse_size_bytes(value)


def test_times():
    assert units.parse_times("x4") == 4.0
    assert units.parse_times("x0") == 0.0


@pytest.mark.parametrize("value", [4, "4", "4x", "x-1"])
def test_a_factor_begins_with_x(value):
    with pytest.raises(ValueError, match="a factor such as"):
        units.parse_times(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500ms"), (17, "17s"), (62, "1m2s"), (240, "4m"), (3600, "1h"), (5405, "1h30m5s"), (3661, "1h1m1s")],
)
def test_format_duration(seconds, text):
    assert units.format_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(64, "64 B"), (1500, "1.5 KB"), (212_300_000, "212 MB"), (3e9, "3 GB")])
def test_format_bytes(size, text):
    assert units.format_bytes(size) == text


@pytest.mark.parametrize(
    ("text", "ends"),
    [("100ms..2s", (0.1, 2.0)), ("500ms", (0.5, 0.5)), ("1.5s .. 2m", (1.5, 120.0)), ("2s..2s", (2.0, 2.0))],
)
def test_a_range_of_durations(text, ends):
    assert units.parse_duration_range_s(text) == pytest.approx(ends)


@pytest.mark.parametrize("value", ["2s..1s", "1s..", "..1s", "1s...2s", "1..2", "", 5, None, "1s..2s..3s"])
def test_a_range_of_durations_goes_up_and_has_units(value):
    with pytest.raises(ValueError, match=r"a duration such as 500ms, or a range of them such as 100ms\.\.2s"):
        units.parse_duration_range_s(value)


@pytest.mark.parametrize(
    ("text", "ends"), [("x1..x4", (1.0, 4.0)), ("x4..x0.5", (4.0, 0.5)), ("x2", (2.0, 2.0)), ("x0 .. x1", (0.0, 1.0))]
)
def test_a_ramp(text, ends):
    assert units.parse_ramp(text) == ends


@pytest.mark.parametrize("value", ["x1..", "..x4", "x1..4", "1..4", "x1..x2..x3", "", 4, None])
def test_a_ramp_has_two_factors(value):
    with pytest.raises(ValueError, match=r"or a ramp such as x1\.\.x4"):
        units.parse_ramp(value)
