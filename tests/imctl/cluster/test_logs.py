from __future__ import annotations

import asyncio
from pathlib import Path

from imctl.cluster.logs import LogFile, LogLine, follow_logs, log_nodes, read_logs

T1, T2, T3 = (f"2026-01-01T00:00:0{n}.000" for n in (1, 2, 3))


def test_a_full_file_is_moved_away_and_disk_use_is_bounded(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=100)

    for number in range(50):
        log.write(b"line %02d\n" % number)
    log.close()

    kept = [line.text for line in read_logs(tmp_path, ["a"])]
    assert kept[-1] == "line 49"
    assert kept == [f"line {number:02d}" for number in range(50 - len(kept), 50)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 200
    assert log_nodes(tmp_path) == ["a"]


def test_lines_of_several_nodes_come_in_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"{T1} INFO a1\n{T3} ERROR a3\nTraceback of a3\n")
    (tmp_path / "b.log").write_text(f"{T2} INFO b2\n")

    lines = read_logs(tmp_path, ["a", "b"])

    assert lines == [LogLine(T1, "a", "INFO a1"), LogLine(T2, "b", ""), LogLine(T3, "a", ""), LogLine(T3, "a", "")]
    assert [line.text for line in lines] == ["INFO a1", "INFO b2", "ERROR a3", "Traceback of a3"]
    assert [line.text for line in read_logs(tmp_path, ["a", "b"], tail=1)] == ["Traceback of a3"]


def test_a_node_without_a_log_has_no_lines(tmp_path: Path) -> None:
    assert read_logs(tmp_path, ["missing"]) == []


async def test_follow_gives_new_lines_across_a_rotation_and_of_a_file_that_comes_later(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=60)
    log.write(f"{T1} INFO old\n".encode())
    lines = follow_logs(tmp_path, ["a", "late"])
    seen: list[str] = []

    async with asyncio.timeout(10):
        first = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)  # the generator has opened its files
        log.write(f"{T2} INFO new\n".encode())
        seen.append((await first).text)
        log.write(f"{T3} INFO rotated\n".encode())
        seen.append((await anext(lines)).text)
        (tmp_path / "late.log").write_text(f"{T3} INFO late\n")
        seen.append((await anext(lines)).text)
    await lines.aclose()
    log.close()

    assert seen == ["INFO new", "INFO rotated", "INFO late"]
