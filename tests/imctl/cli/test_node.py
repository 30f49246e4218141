"""How `imctl node` puts flags and files together; that nodes run is shown in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from imctl.cli.commands.node import Kind, _spec
from imctl.cluster.spec import OptionsError

COMET = '[discovery]\nnodes = ["127.0.0.1:7171"]\n[tcp]\nbind = ["10.0.0.2:3101"]\nsndbuf = 4096\n'
JOB = '[discovery]\nnodes = ["127.0.0.1:7171"]\n[kafka]\nbrokers = ["127.0.0.1:9092"]\ngroup = "g"\n'
NOWHERE = {"registry": None, "bus": None, "store": None, "messages": None}


def write(folder: Path, text: str) -> Path:
    path = folder / "goim.toml"
    path.write_text(text)
    return path


def test_a_goim_file_wins_over_flags_and_our_own_options_over_the_file(tmp_path: Path) -> None:
    text = COMET + '[env]\nzone = "file"\n'
    flags = {"zone": "flag", "region": "flag"}

    spec, _ = _spec(Kind.COMET, flags, NOWHERE | {"registry": "http://h:1"}, write(tmp_path, text), ["tcp_port=7"])

    assert spec.parts["comet"] == {"host": "10.0.0.2", "zone": "file", "region": "flag", "tcp_port": 7}
    assert spec.registry == "http://h:1"


def test_bind_wins_over_the_addresses_of_a_goim_file(tmp_path: Path) -> None:
    spec, warning = _spec(Kind.COMET, {"host": "0.0.0.0"}, NOWHERE, write(tmp_path, COMET), [])

    assert spec.parts["comet"]["host"] == "0.0.0.0"
    assert "tcp.sndbuf" in warning
    assert "--bind" not in warning


def test_a_file_is_read_as_that_of_the_node_that_is_started(tmp_path: Path) -> None:
    spec, warning = _spec(Kind.JOB, {}, NOWHERE, write(tmp_path, JOB), [])

    assert spec.parts["job"] == {"group": "g"}
    assert (spec.bus, spec.registry, warning) == (
        "kafka://127.0.0.1:9092/goim-push-topic",
        "http://127.0.0.1:7171",
        "",
    )


@pytest.mark.parametrize("kind", [Kind.REGISTRY, Kind.CORE])
def test_a_goim_file_that_is_for_another_kind_of_node_is_refused(tmp_path: Path, kind: Kind) -> None:
    with pytest.raises(OptionsError, match="is goim's file for comet"):
        _spec(kind, {}, NOWHERE, write(tmp_path, COMET), [])


@pytest.mark.parametrize("where", ["file", "option"])
def test_a_message_store_is_a_hook_of_logic_after_the_others(tmp_path: Path, where: str) -> None:
    path = tmp_path / "imctl.toml"
    path.write_text('[cluster]\nmessages = "redis://a"\n[logic]\nhooks = ["my:Hook"]\n')
    outside = NOWHERE | ({"messages": "redis://b"} if where == "option" else {})

    spec, _ = _spec(Kind.CORE, {}, outside, path, [])

    wanted = "b" if where == "option" else "a"
    assert spec.parts["logic"]["hooks"] == ("my:Hook", f"offline?url=redis%3A%2F%2F{wanted}")


def test_hooks_come_after_those_of_the_file(tmp_path):
    path = write(tmp_path, '[logic]\nhooks = ["rooms?allow=*"]\n')

    spec, _ = _spec(Kind.CORE, {}, NOWHERE | {"messages": "memory://"}, path, [], ["logins"])

    hooks = spec.parts["logic"]["hooks"]
    assert hooks[:2] == ("rooms?allow=*", "logins")
    assert hooks[2].startswith("offline?url=memory")
