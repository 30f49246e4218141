"""Cluster folders of a test's own, and the smallest cluster there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from imctl.cluster.spec import ClusterSpec, ProcessSpec


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep clusters under tmp_path."""
    path = tmp_path / "state"
    monkeypatch.setenv("IMCTL_STATE_DIR", str(path))
    return path


def registry_process(name: str = "registry", **settings: object) -> ProcessSpec:
    """Return a process that starts quickly: a registry alone."""
    return ProcessSpec(name=name, kind="registry", parts={"registry": {"port": 0, **settings}})


def registry_cluster(cluster: str = "default") -> ClusterSpec:
    """Return a cluster of one registry process."""
    return ClusterSpec(cluster, (registry_process(),), "memory://", "memory://", None)
