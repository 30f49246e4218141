from __future__ import annotations

from pathlib import Path

import pytest

from imctl.cluster.settings import load_settings
from imctl.cluster.spec import ClusterOptions, make_config
from imctl.errors import ConfigError

COMET = """
# as goim's cmd/comet/comet-example.toml
[discovery]
    nodes = ["127.0.0.1:7172"]
[rpcServer]
    addr = ":4109"
    timeout = "1s"
[tcp]
    bind = [":4101"]
    sndbuf = 4096
[websocket]
    bind = [":4102"]
    tlsOpen = true
    tlsBind = [":4103"]
    certFile = "../cert.pem"
    privateFile = "../private.pem"
[protocol]
    timer = 32
    handshakeTimeout = "8s"
[env]
    region = "bj"
    weight = 7
    addrs = "1.2.3.4,5.6.7.8"
[bucket]
    size = 32
"""

LOGIC = """
[discovery]
    nodes = ["127.0.0.1:7171"]
[node]
    defaultDomain = "conn.example.org"
    heartbeat = "4m"
    heartbeatMax = 3
    tcpPort = 4101
    regionWeight = 1.5
[backoff]
    maxDelay = 200
    jitter = 0.5
[rpcServer]
    addr = ":4119"
[httpServer]
    addr = ":4111"
[kafka]
    topic = "t"
    brokers = ["127.0.0.1:9092"]
[redis]
    addr = "127.0.0.1:6380"
    auth = "secret"
"""

JOB = """
[discovery]
    nodes = ["127.0.0.1:7171"]
[kafka]
    topic = "t"
    group = "g"
    brokers = ["127.0.0.1:9092"]
[room]
    batch = 10
    signal = "500ms"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "x.toml"
    path.write_text(text)
    return path


def test_our_own_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[cluster]\ncomet = 2\nstore = "redis://h"\ncompat = "goim"\nany_port = true\n'
        "[comet]\nhandshake_timeout_s = 2\n",
    )

    found = load_settings(path)

    assert found.cluster == {"comets": 2, "store": "redis://h", "compat_goim": True, "any_port": True}
    assert found.nodes == {"comet": {"handshake_timeout_s": 2}}
    assert ClusterOptions(**found.cluster).comets == 2


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, '[cluster]\ncomet = "two"\nports = 1\n[comet]\ntcpport = 1\n[broker]\n')

    with pytest.raises(ConfigError) as caught:
        load_settings(path)

    text = str(caught.value)
    assert len(text.splitlines()) == 4
    for part in ("cluster.comet is 'two'; expected int", "cluster.ports", "comet.tcpport is unknown", "'broker'"):
        assert part in text


@pytest.mark.parametrize("text", ["[cluster", None])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, text: str | None) -> None:
    path = write(tmp_path, text) if text is not None else tmp_path / "missing.toml"

    with pytest.raises(ConfigError, match=path.name):
        load_settings(path)


def test_goims_comet_file(tmp_path: Path) -> None:
    found = load_settings(write(tmp_path, COMET))

    config = make_config("comet", found.nodes["comet"])
    assert (config.tcp_port, config.ws_port, config.wss_port, config.grpc_port) == (4101, 4102, 4103, 4109)
    assert (config.region, config.weight, config.public_addrs) == ("bj", 7, ("1.2.3.4", "5.6.7.8"))
    assert config.handshake_timeout_s == 8
    assert config.tls_cert == str((tmp_path / "../cert.pem").resolve())
    assert found.cluster == {"registry": "http://127.0.0.1:7172"}


def test_goims_logic_file(tmp_path: Path) -> None:
    found = load_settings(write(tmp_path, LOGIC))

    config = make_config("logic", found.nodes["logic"])
    assert (config.http_port, config.grpc_port, config.tcp_port) == (4111, 4119, 4101)
    assert (config.heartbeat_s, config.heartbeat_max, config.default_domain) == (240, 3, "conn.example.org")
    assert (config.backoff.max_delay_s, config.backoff.base_delay_s, config.backoff.jitter) == (200, 3, 0.5)
    assert found.cluster["store"] == "redis://:secret@127.0.0.1:6380"
    assert found.cluster["bus"] == "kafka://127.0.0.1:9092/t"


def test_goims_job_file(tmp_path: Path) -> None:
    found = load_settings(write(tmp_path, JOB))

    config = make_config("job", found.nodes["job"])
    assert (config.group, config.room_batch, config.room_signal_s) == ("g", 10, 0.5)


def test_a_bad_value_in_goims_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"room\.signal is 'soon'"):
        load_settings(write(tmp_path, JOB.replace("500ms", "soon")))
