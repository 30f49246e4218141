from __future__ import annotations

import json

import pytest

from imctl import __version__
from imctl.cluster.inprocess import LocalCluster
from imctl.doctor.contract import Status
from imctl.doctor.registry import check_records, check_versions, fetch_instances
from imctl.registry.calls import RegistryUnreachableError
from protocol.discovery_api import Instance
from tests.imctl.cli.background import FakeLogic


def comet(hostname: str = "comet-1", addr: str = "grpc://127.0.0.1:3109", **changes) -> Instance:
    values = {"version": "1.0", "metadata": {"imctl.link": "1"}, **changes}
    return Instance("goim.comet", hostname, (addr,), **values)


WANTED = {"comet-1": ("goim.comet", "127.0.0.1:3109")}


def judged(instances: list[Instance], wanted=WANTED) -> list[tuple[str, Status, str]]:
    return [(row.name, row.status, row.found) for row in check_records("http://r", instances, wanted)]


def test_a_record_where_the_node_is_matches():
    assert judged([comet()]) == [
        ("registry", Status.OK, "1 nodes (http://r)"),
        ("registry records", Status.OK, "1 do"),
    ]


def test_a_record_elsewhere_does_not_and_is_shown():
    assert judged([comet(addr="grpc://10.0.0.1:3109")])[1:] == [
        ("comet-1", Status.FAILED, "registered: comet-1 grpc://10.0.0.1:3109"),
    ]


def test_a_record_of_another_app_does_not_match():
    logic = Instance("goim.logic", "logic-1", ("grpc://127.0.0.1:3109",))

    assert judged([logic])[1:] == [("comet-1", Status.FAILED, "registered: none of its kind")]


def test_a_node_that_listens_everywhere_is_registered_at_one_of_its_addresses():
    wanted = {"comet-1": ("goim.comet", "0.0.0.0:3109")}

    assert judged([comet(addr="grpc://10.0.0.1:3109")], wanted)[1][1] is Status.OK


def test_two_records_of_one_address_are_a_warning():
    assert judged([comet(), comet("comet-old")])[1][1:] == (
        Status.WARNING,
        "2 records of one address: comet-1, comet-old",
    )


def test_a_record_that_is_not_up_is_a_warning():
    assert judged([comet(status=2)])[1][1:] == (Status.WARNING, "status 2")


def test_without_nodes_to_compare_the_registry_has_answered():
    assert judged([comet()], {}) == [("registry", Status.OK, "1 nodes (http://r)")]


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([comet()], [(Status.OK, "1 nodes are")]),
        ([comet(), comet("comet-2", version="0.9")], [(Status.WARNING, "comet-2 0.9")]),
        ([comet(version="")], [(Status.WARNING, "comet-1 one that tells none")]),
        ([comet(metadata={}, version="")], []),
    ],
)
def test_nodes_of_another_version_are_a_warning_and_go_nodes_have_none(instances, expected):
    assert [(row.status, row.found) for row in check_versions(instances, "1.0")] == expected


async def test_a_registry_tells_its_nodes_with_their_versions():
    async with LocalCluster() as cluster:
        url = f"http://{cluster.assemblies[0].addresses['registry.http']}"

        where, instances = await fetch_instances(url)

    assert where == url
    ours = {one.hostname: one.version for one in instances if one.appid in ("goim.comet", "goim.logic")}
    assert ours == {"comet-1": __version__, "logic-1": __version__}


async def test_the_next_registry_is_asked_when_one_is_away():
    answers = {"/discovery/fetch/all": (200, json.dumps({"code": 0, "data": {}}))}
    async with FakeLogic(answers) as registry:
        where, instances = await fetch_instances(f"127.0.0.1:1,{registry.address}")

    assert (where, instances) == (f"http://{registry.address}", ())


async def test_no_registry_is_an_error():
    with pytest.raises(RegistryUnreachableError, match=r"127\.0\.0\.1:1"):
        await fetch_instances("127.0.0.1:1")
