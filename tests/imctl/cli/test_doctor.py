from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imctl.cli import doctor_machine
from imctl.cli.doctor_report import DoctorReport
from imctl.cluster.inprocess import LocalCluster
from imctl.cluster.state import ClusterFolder
from imctl.doctor.contract import Condition, Section, Status
from tests.imctl.cli.background import Background
from tests.imctl.cli.conftest import Invoke

STATUSES = {status.value for status in Status}
REFUSED = Condition("open files", Status.FAILED, "1,064 a process", "soft 256, hard 256", "ulimit -Hn 1064")
FINE = Condition("Python", Status.OK, ">=3.11", "CPython 3.11.7")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with Background(LocalCluster) as found:
        yield found


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what depends on the machine that the tests run on."""
    monkeypatch.setattr(doctor_machine, "machine_sections", lambda load, info: ())


def target_of(cluster: LocalCluster, *parts: str) -> str:
    core, comet = (assembly.addresses for assembly in cluster.assemblies[:2])
    addresses = {
        "tcp": comet["tcp"],
        "ws": comet["ws"],
        "comet-grpc": comet["grpc"],
        "http": core["logic.http"],
        "grpc": core["logic.grpc"],
        "discovery": core["registry.http"],
    }
    return "goim://127.0.0.1?" + "&".join(f"{part}={addresses[part]}" for part in parts or addresses)


def conditions(text: str) -> dict[str, dict[str, Any]]:
    document = json.loads(text)
    assert {row["status"] for row in document["conditions"]} <= STATUSES
    return {row["condition"]: row for row in document["conditions"]}


def test_this_machine_is_examined_without_a_cluster(invoke: Invoke) -> None:
    result = invoke("doctor", "--json")

    document, rows = json.loads(result.stdout), conditions(result.stdout)
    assert result.exit_code == (1 if document["counts"]["failed"] else 0)
    assert document["clients"] == 1_000
    assert rows["event loop"]["status"] == "ok"
    assert rows["loopback 127.0.0.1"]["status"] == "ok"
    assert {"Python", "open files", "memory", "state folder", "monotonic clock", "extra mqtt"} <= set(rows)
    assert (rows["cluster"]["status"], rows["cluster"]["fix"]) == ("info", "imctl up")


def test_the_number_of_clients_decides(invoke: Invoke) -> None:
    few = conditions(invoke("doctor", "--for", "500", "--json").stdout)
    many = conditions(invoke("doctor", "--for", "100000", "--json").stdout)

    assert few["source addresses"]["required"] == "1 is enough"
    assert many["source addresses"]["required"] == "10 of 127.0.0.0/8"
    assert many["clients a process"]["facts"]["comets"] == 9
    assert many["memory"]["facts"]["needed_bytes"] > few["memory"]["facts"]["needed_bytes"]


@pytest.mark.usefixtures("bare")
def test_nothing_in_the_way_is_exit_0(invoke: Invoke) -> None:
    result = invoke("doctor")

    assert result.exit_code == 0
    assert "good for 1,000 clients" in result.stdout


@pytest.mark.usefixtures("bare")
def test_a_failed_condition_is_exit_1_and_the_document_is_whole(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_machine, "machine_sections", lambda load, info: (Section("machine", "m", (REFUSED,)),))

    result = invoke("doctor", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["counts"]["failed"] == 1
    assert conditions(result.stdout)["open files"]["fix"] == "ulimit -Hn 1064"


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("clients", ["0", "-1", "many", "10000001"])
def test_a_number_of_clients_that_is_none_is_a_usage_error(invoke: Invoke, clients: str) -> None:
    assert invoke("doctor", "--for", clients).exit_code == 2


@pytest.mark.parametrize("target", ["10.0.0.5:3101", "goim://10.0.0.5", "goim://10.0.0.5?tcp=no"])
def test_a_target_that_is_none_is_a_usage_error(invoke: Invoke, target: str) -> None:
    assert invoke("doctor", "--target", target).exit_code == 2


# --- clusters ---------------------------------------------------------------


@pytest.mark.usefixtures("bare")
def test_a_cluster_that_is_named_has_to_be_there(invoke: Invoke) -> None:
    result = invoke("doctor", "--cluster", "b", "--json")

    assert result.exit_code == 1
    assert conditions(result.stdout)["cluster"]["fix"] == "imctl up --cluster b --any-port"


def test_a_name_that_no_cluster_can_have_is_invalid(invoke: Invoke) -> None:
    assert invoke("doctor", "--cluster", "a/b").exit_code == 3


@pytest.mark.usefixtures("bare")
def test_what_a_killed_supervisor_left_is_a_warning(invoke: Invoke) -> None:
    folder = ClusterFolder("default")
    folder.make()
    folder.write({"supervisor": {"pid": 1, "start": "never"}})

    row = conditions(invoke("doctor", "--json").stdout)["cluster"]

    assert row["status"] == "warning"
    assert "ended without a word" in row["found"]


@pytest.mark.usefixtures("bare")
def test_a_damaged_state_file_fails(invoke: Invoke) -> None:
    folder = ClusterFolder("default")
    folder.make()
    folder.state.write_text("{")

    result = invoke("doctor", "--json")

    assert result.exit_code == 1
    assert "cannot be used" in conditions(result.stdout)["cluster"]["found"]


def test_a_state_folder_that_is_none_is_told_and_no_traceback(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "file"))

    rows = conditions(invoke("doctor", "--json").stdout)

    assert rows["state folder"]["status"] == "failed"
    assert rows["cluster"]["status"] == "unknown"


@pytest.mark.usefixtures("bare")
def test_a_probe_needs_a_cluster(invoke: Invoke) -> None:
    result = invoke("doctor", "--probe", "--json")

    assert result.exit_code == 1
    assert conditions(result.stdout)["push to a client"]["fix"] == "imctl up --detach"


# --- targets ----------------------------------------------------------------


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("comet", ["tcp", "ws"])
def test_a_target_is_tried_part_by_part_and_a_message_pushed(invoke: Invoke, cluster: LocalCluster, comet: str) -> None:
    parts = (comet, "http", "grpc", "comet-grpc", "discovery")

    result = invoke("doctor", "--target", target_of(cluster, *parts), "--probe", "--json")

    assert result.exit_code == 0, result.stdout
    rows = {name: row["status"] for name, row in conditions(result.stdout).items() if row["section"] == "target"}
    assert rows.pop("push to a client") in ("ok", "warning")  # slow on a machine that is busy
    assert rows == dict.fromkeys(
        [
            f"comet {comet}",
            "logic http",
            "logic grpc",
            "comet grpc",
            "registry",
            "registry records",
            "node versions",
        ],
        "ok",
    )


@pytest.mark.usefixtures("bare")
def test_a_target_that_is_away_fails_part_by_part(invoke: Invoke) -> None:
    target = "goim://127.0.0.1?tcp=1&http=1&discovery=1"

    result = invoke("doctor", "--target", target, "--probe", "--json")

    rows = {name: row["status"] for name, row in conditions(result.stdout).items() if row["section"] == "target"}
    assert result.exit_code == 1
    assert rows == dict.fromkeys(["comet tcp", "logic http", "registry", "push to a client"], "failed")


@pytest.mark.usefixtures("bare")
def test_nodes_of_another_version_are_named(
    invoke: Invoke, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imctl.__version__", "99.0")

    row = conditions(invoke("doctor", "--target", target_of(cluster, "discovery"), "--json").stdout)["node versions"]

    assert (row["status"], row["required"]) == ("warning", "99.0")
    assert "comet-1 " in row["found"]


@pytest.mark.usefixtures("bare")
def test_a_probe_of_a_target_without_logic_is_unknown(invoke: Invoke, cluster: LocalCluster) -> None:
    result = invoke("doctor", "--target", target_of(cluster, "tcp"), "--probe", "--json")

    assert result.exit_code == 0
    assert conditions(result.stdout)["push to a client"]["status"] == "unknown"


# --- what people see --------------------------------------------------------


def shown(width: int) -> list[str]:
    report = DoctorReport(
        1_000, "", (Section("imctl", "imctl", (FINE,)), Section("clients", "1,000 clients", (REFUSED,)))
    )
    file = io.StringIO()
    report.render(Console(file=file, width=width, force_terminal=True, color_system=None))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_narrow_terminal_has_what_to_do_under_what_was_found():
    lines = shown(80)

    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["Condition", "Required", "Found"]
    [at] = [number for number, line in enumerate(lines) if line.startswith("failed")]
    assert lines[at + 1].strip() == "fix: ulimit -Hn 1064"


def test_a_wide_terminal_has_a_column_for_it():
    lines = shown(120)

    assert lines[0].split() == ["Condition", "Required", "Found", "Fix"]
    assert any(line.startswith("failed") and line.endswith("ulimit -Hn 1064") for line in lines)
    assert lines[-1] == "something stands in the way: 1 failed, 1 ok"


def test_a_system_without_proc_has_unknown_conditions_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(doctor_machine, "_ROOT", tmp_path)
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.delattr("os.sched_getaffinity")

    sections = doctor_machine.machine_sections(doctor_machine.load_of(100_000), None)

    rows = {row.name: row for section in sections for row in section.conditions}
    unknown = {name for name, row in rows.items() if row.status is Status.UNKNOWN}
    assert unknown == {"ephemeral ports", "somaxconn", "backlog overflows"}
    assert rows["source addresses"].status is Status.WARNING
    assert "bound by memory" in rows["clients in all"].found
