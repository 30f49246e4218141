"""Commands run in process: what they print, and how they end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer.main
from typer import Typer
from typer.testing import CliRunner, Result

from imctl.cli.app import build_app
from imctl.testing import start_cluster

Invoke = Callable[..., Result]


@pytest.fixture(scope="package")
def app() -> Iterator[Typer]:
    """The command line. A runner makes its commands anew for each call, which takes longer than most of the calls."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command))
        yield build_app()


@pytest.fixture
def invoke(app: Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run `imctl ...` with clusters kept under tmp_path."""
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("IMCTL_CLUSTER", raising=False)
    monkeypatch.delenv("IMCTL_DEBUG", raising=False)
    return lambda *args: CliRunner().invoke(app, list(args))


@pytest.fixture(scope="package")
def target() -> Iterator[str]:
    """The `--target` of a cluster that stays as it is, for runs that are not about a cluster of their own."""
    with start_cluster() as cluster:
        info = cluster.info
        ports = [address.rpartition(":")[2] for address in (info.comet_tcp[0], info.comet_ws[0], info.logic_http)]
        yield "goim://127.0.0.1?tcp={}&ws={}&http={}".format(*ports)
