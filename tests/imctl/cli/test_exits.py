from __future__ import annotations

import pytest

from imctl.bus.contract import BusError
from imctl.cli.exits import Exit, TimedOutError, exit_code
from imctl.cli.output import OutputClosedError, OutputError
from imctl.cluster.spec import OptionsError
from imctl.errors import ClusterError, ConfigError, ImctlError, PortInUseError, StartError
from imctl.link.contract import PeerUnavailableError
from protocol.errors import WireError
from sim.errors import SimError


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (ImctlError("x"), Exit.FAILED),
        (StartError("x"), Exit.FAILED),
        (PortInUseError("127.0.0.1:1", "comet tcp"), Exit.FAILED),
        (BusError("x"), Exit.FAILED),
        (ConfigError("x"), Exit.INVALID),
        (OptionsError("x"), Exit.USAGE),
        (ClusterError("x"), Exit.UNREACHABLE),
        (PeerUnavailableError("x"), Exit.UNREACHABLE),
        (TimedOutError("x"), Exit.TIMED_OUT),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (OutputError("x"), Exit.FAILED),
        (OutputClosedError("x"), Exit.OUTPUT_CLOSED),
        (ValueError("x"), Exit.INTERNAL),
    ],
)
def test_error_ends_with_the_code_of_its_nearest_known_class(exc: BaseException, code: Exit) -> None:
    assert exit_code(exc) is code


def test_errors_of_wire_and_simulator_are_failures_not_faults() -> None:
    for base in (WireError, SimError):
        exc = base.__new__(base)

        assert exit_code(exc) is not Exit.INTERNAL


def test_codes_are_those_of_the_contract() -> None:
    assert {code.name: code.value for code in Exit} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "INVALID": 3,
        "UNREACHABLE": 4,
        "RUN_INVALID": 5,
        "ABORTED": 6,
        "SLOWER": 7,
        "INTERNAL": 8,
        "NOT_JUDGED": 9,
        "TIMED_OUT": 27,
        "INTERRUPTED": 130,
        "OUTPUT_CLOSED": 141,
    }
