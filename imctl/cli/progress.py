"""What a run shows on stderr while it goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imctl.cli.printer import Printer
    from sim.run.runner import RunProgress
    from sim.scenario.scenario import Scenario

__all__ = ["show_progress"]

_LIVE_S = 0.25  # drawing takes milliseconds, and this process also merges results
_LINE_S = 5.0


@contextmanager
def show_progress(printer: Printer, scenario: Scenario) -> Iterator[Callable[[RunProgress], None]]:
    """Yield a callback that shows progress: one live line on a terminal, else a line now and then.

    --quiet and --json show none.
    """
    if printer.quiet or printer.json:
        yield lambda progress: None
        return
    live = printer.stderr.isatty() and os.environ.get("TERM") != "dumb"
    every_s = _LIVE_S if live else _LINE_S
    shown_at, shown = 0.0, ("", False)

    def show(progress: RunProgress) -> None:
        nonlocal shown_at, shown
        now, what = time.monotonic(), (progress.stage, bool(progress.trouble))
        if now - shown_at < every_s and (live or what == shown):
            return
        shown_at, shown = now, what
        text = _line(progress)
        if live:
            # A line that wraps could not be taken back.
            _draw(printer, text[: shutil.get_terminal_size().columns - 1])
        else:
            printer.note(text)

    try:
        yield show
    finally:
        if live:
            _draw(printer, "")


def _draw(printer: Printer, text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal was closed: the run goes on to its end
        printer.stderr.write(f"\r\x1b[K{text}")
        printer.stderr.flush()


def _line(progress: RunProgress) -> str:
    clients = f"{progress.connected:,}/{progress.wanted:,} clients"
    if progress.failed:
        clients += f", {progress.failed:,} failed"
    if progress.trouble:
        return f"{progress.stage}: {progress.trouble}"
    if progress.stage == "connecting":
        return f"connecting: {clients}"
    text = f"{progress.stage}: {progress.messages:,} pushed, {progress.delivered:,} delivered"
    if progress.errors:
        text += f", {progress.errors:,} push errors"
    if progress.of_s and progress.at_s < progress.of_s:
        done = progress.at_s / progress.of_s
        text = f"[{'=' * int(done * 20):<20}] {progress.at_s:.0f}/{progress.of_s:.0f} s  {text}"
    return text
