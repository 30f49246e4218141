from imctl.registry.config import LeaseRules
from imctl.registry.memory import Change, MemoryRegistry
from protocol.discovery_api import Code, Instance
from protocol.discovery_forms import Cancel, Register, Renew, Set

S = 1_000_000_000
START = 1_700_000_000 * S


def instance(hostname="h1", appid="app", zone="z1", **more):
    return Instance(appid=appid, hostname=hostname, zone=zone, env="dev", addrs=("grpc://127.0.0.1:1",), **more)


def filled(count, rules=None, **more):
    registry = MemoryRegistry(rules, shuffle=lambda items: None, **more)
    for at in range(count):
        assert registry.register(Register(instance(f"h{at}")), START) == Code.OK
    return registry


def renew(registry, hostname, now_ns, **more):
    return registry.renew(Renew("z1", "dev", "app", hostname, **more), now_ns)


def hostnames(registry):
    info = registry.info("dev", "app")
    return [each.hostname for each in info.flat()] if info is not None else []


def change_meta(registry, now_ns, text, *hostnames, **more):
    return registry.set(Set("z1", "dev", "app", hostnames, metadata=(text,) * len(hostnames), **more), now_ns)


def test_register_sets_every_timestamp_and_a_second_one_keeps_only_the_first_up():
    registry = filled(1)

    registry.register(Register(instance("h0", metadata={"a": "1"})), START + 5)

    (found,) = registry.info("dev", "app").flat()
    assert (found.up_timestamp, found.reg_timestamp, found.renew_timestamp) == (START, START + 5, START + 5)
    assert found.metadata == {"a": "1"}
    assert registry.size == 1


def test_app_timestamp_strictly_increases_though_the_clock_stands():
    registry = filled(1)
    seen = [registry.latest_of("dev", "app")]

    registry.register(Register(instance("h1")), START)
    seen.append(registry.latest_of("dev", "app"))
    registry.cancel(Cancel("z1", "dev", "app", "h1"))
    seen.append(registry.latest_of("dev", "app"))
    registry.cancel(Cancel("z1", "dev", "app", "h0"))
    seen.append(registry.latest_of("dev", "app"))
    registry.register(Register(instance("h1")), START)
    seen.append(registry.latest_of("dev", "app"))

    assert seen == sorted(set(seen))


def test_set_changes_the_instance_timestamp_and_not_that_of_the_app():
    registry = filled(1)
    before = registry.latest_of("dev", "app"), registry.change_of("dev", "app")

    assert change_meta(registry, START, '{"conn_count":"5"}', "h0") == Code.OK

    (found,) = registry.info("dev", "app").flat()
    assert found.latest_timestamp == START + 1
    assert found.metadata == {"conn_count": "5"}
    assert registry.latest_of("dev", "app") == before[0]
    assert registry.change_of("dev", "app") > before[1]


def test_set_with_a_number_is_refused_but_stored_and_wakes_nobody():
    registry, changes = filled(1), []
    registry.listen("dev", "app", changes.append)

    assert change_meta(registry, START + 1, '{"x":1}', "h0") == Code.BAD_REQUEST

    assert registry.info("dev", "app").flat()[0].metadata == {"x": ""}
    assert changes == []


def test_set_stops_at_the_first_host_it_does_not_know():
    registry = filled(2)

    assert change_meta(registry, START + 1, '{"a":"1"}', "h0", "nobody", "h1") == Code.BAD_REQUEST

    assert [each.metadata for each in registry.info("dev", "app").flat()] == [{"a": "1"}, {}]


def test_renew_extends_the_lease_and_tells_a_peer_whose_copy_is_older_or_newer():
    registry = filled(1)

    assert renew(registry, "h0", START + 7).instance.renew_timestamp == START + 7
    assert renew(registry, "h0", START, replication=True, dirty_timestamp=1).code == Code.CONFLICT
    assert renew(registry, "h0", START, replication=True, dirty_timestamp=START + 1).code == Code.NOT_FOUND
    assert renew(registry, "h0", START, replication=True, dirty_timestamp=START).code == Code.OK
    assert renew(registry, "other", START).zone_known
    assert not registry.renew(Renew("z9", "dev", "app", "h0"), START).zone_known


def test_older_replica_does_not_replace_what_is_held():
    registry = filled(1)

    registry.register(Register(instance("h0", version="old"), dirty_timestamp=START - 1), START + 1)

    assert registry.info("dev", "app").flat()[0].version == ""


def test_feed_reports_register_set_and_cancel_in_order_and_not_renew():
    registry, changes = MemoryRegistry(), []
    registry.listen("dev", "app", changes.append)

    registry.register(Register(instance("h0")), START)
    renew(registry, "h0", START)
    change_meta(registry, START, "{}", "h0")
    registry.cancel(Cancel("z1", "dev", "app", "h0"))
    registry.unlisten("dev", "app", changes.append)
    registry.register(Register(instance("h0")), START)

    assert changes == [
        Change("dev", "app", "z1", 1, False),
        Change("dev", "app", "z1", 2, False),
        Change("dev", "app", "z1", 3, True),
    ]


def test_silent_instance_is_evicted_after_90_seconds_and_not_before():
    registry = filled(10)
    for at in range(1, 10):
        renew(registry, f"h{at}", START + 60 * S)
        renew(registry, f"h{at}", START + 61 * S)

    assert registry.evict(START + 90 * S) == []
    for at in range(1, 10):
        renew(registry, f"h{at}", START + 90 * S)
        renew(registry, f"h{at}", START + 91 * S)
    gone = registry.evict(START + 90 * S + 1)

    assert [each.hostname for each in gone] == ["h0"]
    assert "h0" not in hostnames(registry)
    assert not registry.preserving


def test_without_most_renewals_nobody_is_evicted_before_the_ceiling():
    registry = filled(10)

    assert registry.evict(START + 100 * S) == []
    assert registry.preserving
    assert registry.evict(START + 3600 * S) == []
    assert len(registry.evict(START + 3600 * S + 1)) == 2  # the cap: 10 - int(8.5)


def test_one_pass_evicts_at_most_15_percent_and_at_least_one():
    registry = filled(20, LeaseRules(self_preservation=False))
    sizes = []

    for _ in range(4):
        registry.evict(START + 100 * S)
        sizes.append(registry.size)

    assert sizes == [17, 14, 11, 9]
    one = filled(1, LeaseRules(self_preservation=False))
    assert len(one.evict(START + 100 * S)) == 1
    assert one.info("dev", "app") is None


def test_eviction_wakes_watchers():
    registry, changes = filled(1, LeaseRules(self_preservation=False)), []
    registry.listen("dev", "app", changes.append)

    registry.evict(START + 91 * S)

    assert [change.left for change in changes] == [True]


def test_registration_and_metadata_over_the_limits_are_refused_and_counted():
    registry = filled(2, max_instances=2)

    assert registry.register(Register(instance("h2")), START) == Code.SERVER_ERROR
    assert registry.register(Register(instance("h1")), START) == Code.OK
    assert change_meta(registry, START, '{"a":"' + "x" * 65536 + '"}', "h1") == Code.BAD_REQUEST

    assert registry.drops.values == {"registry.instances_over_limit": 1, "registry.metadata_over_limit": 1}


def test_status_filters_what_a_fetch_gives():
    registry = filled(1)
    registry.register(Register(instance("h9", status=2)), START)

    def found(status):
        return [each.hostname for each in registry.info("dev", "app", status=status).flat()]

    assert (found(1), found(2), found(3), found(4)) == (["h0"], ["h9"], ["h0", "h9"], [])
    assert registry.info("dev", "app", "z9").instances == {}
    assert registry.info("prod", "app") is None
