from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from imctl.cluster.node_config import make_config
from imctl.cluster.settings import load_settings
from imctl.cluster.spec import ClusterOptions
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


EXAMPLES = {
    # Every key of goim's example files, and those its config structs have beside them.
    "comet": """
debug = true
[discovery]
    nodes = ["127.0.0.1:7171", "127.0.0.2:7171"]
    zone = "sh001"
[rpcServer]
    network = "tcp"
    addr = ":3109"
    timeout = "1s"
    idleTimeout = "60s"
    maxLifeTime = "2h"
    forceCloseWait = "20s"
    keepAliveInterval = "60s"
    keepAliveTimeout = "20s"
[rpcClient]
    dial = "1s"
    timeout = "1s"
[tcp]
    bind = [":3101", ":3105"]
    sndbuf = 4096
    rcvbuf = 4096
    keepalive = false
    reader = 32
    readBuf = 1024
    readBufSize = 8192
    writer = 32
    writeBuf = 1024
    writeBufSize = 8192
[websocket]
    bind = [":3102"]
    tlsOpen = false
    tlsBind = [":3103"]
    certFile = "cert.pem"
    privateFile = "private.pem"
[protocol]
    timer = 32
    timerSize = 2048
    svrProto = 10
    cliProto = 5
    handshakeTimeout = "8s"
[whitelist]
    Whitelist = [123]
    WhiteLog = "/tmp/white_list.log"
[bucket]
    size = 32
    channel = 1024
    room = 1024
    routineAmount = 32
    routineSize = 1024
""",
    "logic": """
[discovery]
    nodes = ["127.0.0.1:7171"]
[regions]
    "bj" = ["x"]
[node]
    defaultDomain = "conn.example.org"
    hostDomain = ".example.org"
    heartbeat = "4m"
    heartbeatMax = 2
    tcpPort = 3101
    wsPort = 3102
    wssPort = 3103
    regionWeight = 1.6
[backoff]
    maxDelay = 300
    baseDelay = 3
    factor = 1.8
    jitter = 0.3
[rpcServer]
    network = "tcp"
    addr = ":3119"
    timeout = "1s"
[rpcClient]
    dial = "1s"
    timeout = "1s"
[httpServer]
    network = "tcp"
    addr = ":3111"
    readTimeout = "1s"
    writeTimeout = "1s"
[kafka]
    topic = "t"
    brokers = ["127.0.0.1:9092"]
[redis]
    network = "tcp"
    addr = "127.0.0.1:6379"
    active = 60000
    idle = 1024
    dialTimeout = "200ms"
    readTimeout = "500ms"
    writeTimeout = "500ms"
    idleTimeout = "120s"
    expire = "10m"
""",
    "job": """
[discovery]
    nodes = ["127.0.0.1:7171"]
[kafka]
    topic = "t"
    group = "g"
    brokers = ["127.0.0.1:9092"]
[comet]
    routineChan = 1024
    routineSize = 32
[room]
    batch = 20
    signal = "1s"
    idle = "15m"
""",
}
USED = {
    "comet": {
        *("discovery.nodes", "rpcServer.addr", "tcp.bind", "websocket.bind", "protocol.handshakeTimeout"),
        *("websocket.tlsOpen", "websocket.tlsBind", "websocket.certFile", "websocket.privateFile"),
    },
    "logic": {
        *("discovery.nodes", "rpcServer.addr", "httpServer.addr", "kafka.topic", "kafka.brokers"),
        *("redis.network", "redis.addr", "redis.expire"),
        *(f"node.{key}" for key in ("defaultDomain", "hostDomain", "heartbeat", "heartbeatMax", "regionWeight")),
        *(f"node.{key}" for key in ("tcpPort", "wsPort", "wssPort")),
        *(f"backoff.{key}" for key in ("maxDelay", "baseDelay", "factor", "jitter")),
    },
    "job": {"discovery.nodes", "kafka.topic", "kafka.group", "kafka.brokers", "room.batch", "room.signal"},
}


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
    for part in (
        "cluster.comet is 'two'; expected a whole number",
        "cluster.ports",
        "did you mean tcp_port?",
        "'broker'",
    ):
        assert part in text


def test_a_value_of_a_node_is_checked_with_the_file_it_came_from(tmp_path: Path) -> None:
    path = write(tmp_path, '[cluster]\ncompat = "go"\n[comet]\ntcp_port = "abc"\n')

    with pytest.raises(ConfigError) as caught:
        load_settings(path)

    assert str(caught.value).splitlines() == [
        f"{path}: cluster.compat is 'go'; expected 'goim'",
        f'{path}: comet.tcp_port is "abc"; expected a port from 0 to 65535',
    ]


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


def keys_of(text: str) -> set[str]:
    document = tomllib.loads(text)
    return {
        f"{table}.{key}" if isinstance(content, dict) else table
        for table, content in document.items()
        for key in (content if isinstance(content, dict) else [""])
    }


def named_in(warning: str) -> set[str]:
    """Return the keys of the warning's lists."""
    lists = [line.partition(": ")[2] for line in warning.splitlines()[1:] if "=" not in line]
    return {word for line in lists for word in line.split(", ")}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_key_of_goims_files_is_used_or_named_in_one_warning(tmp_path: Path, kind: str) -> None:
    text = EXAMPLES[kind]

    found = load_settings(write(tmp_path, text), kind)

    make_config(kind, found.nodes[kind])
    assert (found.goim, set(found.nodes)) == (kind, {kind})
    assert keys_of(text) - USED[kind] <= named_in(found.warning)
    assert not named_in(found.warning) & USED[kind]
    assert found.warning.count("not everything in it is used") == 1


def test_the_warning_says_why_a_key_is_not_used(tmp_path: Path) -> None:
    text = EXAMPLES["comet"] + "[bukket]\n    size = 1\n"

    reasons = dict(
        line.strip().split(": ", 1) for line in load_settings(write(tmp_path, text), "comet").warning.splitlines()[1:]
    )

    assert "bucket.size" in reasons["not used here"]
    assert reasons["without an effect in goim too"] == (
        "rpcServer.network, rpcServer.timeout, rpcClient.dial, rpcClient.timeout"
    )
    assert reasons["not a key of goim's comet"] == "bukket.size"
    assert reasons["one address is listened on, the first of tcp.bind"] == "not :3105"
    assert "--bind 0.0.0.0" in load_settings(write(tmp_path, text), "comet").warning
    assert "--bind" not in load_settings(write(tmp_path, text), "comet", is_bound=True).warning


def test_a_file_that_is_used_whole_has_no_warning(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, JOB)).warning == ""


def test_addresses_of_goims_file_are_listened_on_when_they_agree(tmp_path: Path) -> None:
    text = COMET.replace('":4', '"10.0.0.2:4')

    agreed = load_settings(write(tmp_path, text))
    mixed = load_settings(write(tmp_path, text.replace("10.0.0.2:4102", "10.0.0.3:4102")))

    assert agreed.cluster["host"] == mixed.cluster["host"] == "10.0.0.2"
    assert "--bind" not in agreed.warning
    assert "all listeners are at 10.0.0.2 (--bind changes it), not websocket.bind at 10.0.0.3" in mixed.warning


def test_what_goims_file_says_of_others_becomes_urls(tmp_path: Path) -> None:
    comet = load_settings(write(tmp_path, EXAMPLES["comet"]), "comet")
    logic = load_settings(write(tmp_path, EXAMPLES["logic"]), "logic")
    socket = load_settings(write(tmp_path, LOGIC.replace('addr = "127.0.0.1:6380"', 'network = "unix"\naddr = "/r"')))

    assert comet.cluster["registry"] == "http://127.0.0.1:7171,http://127.0.0.2:7171"
    assert logic.cluster["store"] == "redis://127.0.0.1:6379?expire_s=600"
    assert logic.cluster["bus"] == "kafka://127.0.0.1:9092/t"
    assert socket.cluster["store"] == "unix://:secret@/r"


def test_the_kind_of_node_decides_whose_file_it_is(tmp_path: Path) -> None:
    # A comet's file may have [comet] only in job's; [discovery] and [kafka] alone fit job and logic.
    text = '[discovery]\nnodes = ["127.0.0.1:7171"]\n[kafka]\nbrokers = ["127.0.0.1:9092"]\n'

    assert load_settings(write(tmp_path, text), "logic").goim == "logic"
    assert load_settings(write(tmp_path, text)).goim == "job"
