"""Exit codes, and which error ends in which."""

from __future__ import annotations

from enum import IntEnum

from imctl.errors import ImctlError

__all__ = ["Exit", "TimedOutError", "exit_code"]


class Exit(IntEnum):
    """What a shell or a CI job gets from any imctl command."""

    OK = 0
    """Done; everything expected came true."""

    FAILED = 1
    """An expectation failed, or what was asked could not be done (a port is taken, a push refused, stdout full)."""

    USAGE = 2
    """The command line itself is wrong: unknown option, bad value, options that exclude each other."""

    INVALID = 3
    """A scenario, config file or setting is not acceptable; nothing was started."""

    UNREACHABLE = 4
    """There is no cluster, or it does not answer."""

    RUN_INVALID = 5
    """The load generator was the bottleneck, or broke, so the run says nothing about the cluster."""

    ABORTED = 6
    """A safety limit, an expectation with `abort: true`, ended the run."""

    SLOWER = 7
    """Slower than the baseline by more than the tolerance."""

    INTERNAL = 8
    """A fault of imctl; IMCTL_DEBUG=1 shows the traceback."""

    NOT_JUDGED = 9
    """Not slower than the baseline as far as can be told, and the runs are too short to tell by the tolerance."""

    TIMED_OUT = 27
    """A wait (`imctl wait`, `imctl listen -n`, `wait` of `imctl connect`) ended before what it waited for came."""

    INTERRUPTED = 130
    """Ctrl-C; 128 + SIGINT, as shells have it. Of a run also SIGTERM and a closed terminal."""

    OUTPUT_CLOSED = 141
    """Who read stdout closed it (`| head`), and that is all; 128 + SIGPIPE, as shells have it."""


class TimedOutError(ImctlError):
    """What was waited for did not come in the time given."""


# By class name and not by class: a command that fails on its arguments must not pay for
# importing the simulator or the link only to know their errors. Any base class counts.
_BY_NAME = {
    "TimedOutError": Exit.TIMED_OUT,
    "OutputClosedError": Exit.OUTPUT_CLOSED,
    "OptionsError": Exit.USAGE,
    "ScriptError": Exit.USAGE,
    "ConfigError": Exit.INVALID,
    "ScenarioError": Exit.INVALID,
    "ClusterError": Exit.UNREACHABLE,
    "TargetError": Exit.UNREACHABLE,
    "PeerUnavailableError": Exit.UNREACHABLE,
    "ImctlError": Exit.FAILED,
    "RunInterruptedError": Exit.INTERRUPTED,
    "SimError": Exit.FAILED,
    "WireError": Exit.FAILED,
}


def exit_code(exc: BaseException) -> Exit:
    """Return the code of the nearest known base class of an error, INTERNAL when there is none."""
    if isinstance(exc, KeyboardInterrupt):
        return Exit.INTERRUPTED
    for cls in type(exc).__mro__:
        code = _BY_NAME.get(cls.__name__)
        if code is not None:
            return code
    return Exit.INTERNAL
