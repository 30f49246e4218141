import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.discovery_api import (
    AppInfo,
    Code,
    DiscoveryFormatError,
    Instance,
    app_info_to_json,
    bad_request,
    dump_json,
    instance_from_json,
    instance_to_json,
    parse_apps,
    polls_reply,
    reply,
    unknown_app_reply,
    with_place,
)

TEXTS = st.text(max_size=8)
STAMPS = st.integers(0, 2**63 - 1)
INSTANCES = st.builds(
    Instance,
    appid=st.text(min_size=1, max_size=8),
    hostname=st.text(min_size=1, max_size=8),
    addrs=st.lists(TEXTS, max_size=3).map(tuple),
    region=TEXTS,
    zone=TEXTS,
    metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    status=st.integers(0, 3),
    latest_timestamp=STAMPS,
    up_timestamp=STAMPS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "instances", "appid", "latest_timestamp", "addrs"]) | TEXTS, inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(INSTANCES)
def test_instance_survives_json(instance):
    assert instance_from_json(json.loads(dump_json(instance_to_json(instance)))) == instance


def test_instance_is_written_in_the_recorded_order():
    instance = Instance("app.one", "h1", ("grpc://a:1",), "sh", "sh001", "dev", metadata={"b": "2", "a": "<1>"})

    assert dump_json(instance_to_json(instance)) == (
        b'{"region":"sh","zone":"sh001","env":"dev","appid":"app.one","hostname":"h1","addrs":["grpc://a:1"],'
        b'"version":"","metadata":{"a":"\\u003c1\\u003e","b":"2"},"status":1,"reg_timestamp":0,"up_timestamp":0,'
        b'"renew_timestamp":0,"dirty_timestamp":0,"latest_timestamp":0}'
    )


def test_no_metadata_is_null_only_where_asked():
    assert instance_to_json(Instance("a", "h"))["metadata"] == {}
    assert instance_to_json(Instance("a", "h"), null_metadata=True)["metadata"] is None
    assert instance_to_json(None)["addrs"] is None


@given(JSON)
def test_any_json_gives_apps_or_a_format_error(data):
    try:
        infos = parse_apps(data)
    except DiscoveryFormatError:
        return
    assert all(isinstance(info, AppInfo) for info in infos.values())


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"a": None},
        {"a": {"instances": {}}},
        {"a": {"instances": {}, "latest_timestamp": 0}},
        {"a": {"instances": [], "latest_timestamp": 1}},
        {"a": {"instances": {"z": {}}, "latest_timestamp": 1}},
        {"a": {"instances": {"z": [{"appid": "a", "hostname": 1}]}, "latest_timestamp": 1}},
        {"a": {"instances": {"z": [{"appid": "a", "hostname": "h", "metadata": {"x": 1}}]}, "latest_timestamp": 1}},
        {"a": {"instances": {"z": [{"appid": "a", "hostname": "h", "addrs": "x"}]}, "latest_timestamp": 1}},
    ],
)
def test_answer_that_is_not_discoverys_is_an_error(data):
    with pytest.raises(DiscoveryFormatError):
        parse_apps(data)


def test_apps_survive_json():
    info = AppInfo({"z2": (Instance("a", "h1", zone="z2"),), "z1": ()}, 5)

    assert parse_apps({"a": json.loads(dump_json(app_info_to_json(info)))}) == {"a": info}
    assert parse_apps({"a": {"instances": None, "latest_timestamp": 5}}) == {"a": AppInfo({}, 5)}


def test_flat_orders_by_zone_and_hostname():
    info = AppInfo(
        {
            "z2": (Instance("a", "h1", zone="z2"),),
            "z1": (Instance("a", "h3", zone="z1"), Instance("a", "h2", zone="z1")),
        },
        1,
    )

    assert [each.hostname for each in info.flat()] == ["h2", "h3", "h1"]


def test_envelopes():
    assert reply(Code.OK).body == b'{"code":0,"message":"0","ttl":1}'
    assert reply(Code.NOT_FOUND, None).body == b'{"code":-404,"message":"-404","ttl":1,"data":null}'
    assert reply(Code.NOT_MODIFIED).code == -304
    assert bad_request("x").code is None
    assert polls_reply({}, ["a"]).body == b'{"code":0,"data":{},"error":{"-404":["a"]},"message":"0"}'
    assert polls_reply({}, []).body == b'{"code":0,"data":{},"error":{"-404":null},"message":"0"}'
    assert unknown_app_reply("app.none").body == b'{"code":-404,"message":"app.none not found"}'


def test_place_is_filled_in_only_where_there_is_none():
    placed = with_place(Instance("a", "h", zone="z9"), region="sh", zone="sh001", env="dev")

    assert (placed.region, placed.zone, placed.env) == ("sh", "z9", "dev")
