from __future__ import annotations

import pytest

from imctl.cli.goim_flags import translate


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (["-conf=a.toml"], ["--conf", "a.toml"]),
        (["-conf", "a.toml"], ["--conf", "a.toml"]),
        (["--conf=a.toml"], ["--conf", "a.toml"]),
        (["-deploy.env=dev", "-weight=10"], ["--deploy.env", "dev", "--weight", "10"]),
        (["-addrs=127.0.0.1,::1"], ["--addrs", "127.0.0.1,::1"]),
        (["-debug"], ["--debug"]),
        (["-debug=true", "-offline=false"], ["--debug"]),
        (["-logtostderr", "-alsologtostderr=true"], []),
        (["comet", "--set", "tcp_port=0", "-host=h"], ["comet", "--set", "tcp_port=0", "--host", "h"]),
        (["--", "-conf=x"], ["--", "-conf=x"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_flags_of_go_become_ours(given, ours):
    assert translate(given) == (ours, [])


def test_an_unknown_switch_value_is_left_to_the_parser():
    assert translate(["-debug=maybe"]) == (["-debug=maybe"], [])


def test_flags_of_glog_without_an_effect_are_named():
    args, ignored = translate(["-log_dir=/var/log", "-v", "3", "-stderrthreshold=INFO", "-zone=z"])

    assert args == ["--zone", "z"]
    assert ignored == ["-log_dir", "-v", "-stderrthreshold"]
