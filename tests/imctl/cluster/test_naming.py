from __future__ import annotations

import pytest

from imctl.cluster.naming import check_cluster_name, command_for, start_hint
from imctl.errors import ConfigError


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "x" * 65])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cluster name"):
        check_cluster_name(name)


@pytest.mark.parametrize(
    ("cluster", "command", "start"),
    [
        ("default", "imctl down", "imctl up"),
        ("c", "imctl down --cluster c", "imctl up --cluster c --any-port"),
    ],
)
def test_a_hint_names_the_cluster_that_is_meant(cluster: str, command: str, start: str) -> None:
    assert command_for(cluster, "imctl down") == command
    assert start_hint(cluster) == start
