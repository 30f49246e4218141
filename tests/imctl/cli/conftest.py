"""Commands run in process: what they print, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from imctl.cli.app import build_app

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run `imctl ...` with clusters kept under tmp_path."""
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("IMCTL_CLUSTER", raising=False)
    monkeypatch.delenv("IMCTL_DEBUG", raising=False)
    app = build_app()
    return lambda *args: CliRunner().invoke(app, list(args))
