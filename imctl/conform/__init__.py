"""goim's behaviour as cases that run against any comet, logic or discovery, Go or ours.

A case does something to a node as goim's own clients and nodes would, and
compares what comes back with what goim's source and recordings of a real goim
say. Where goim itself is known to be wrong, both ways are accepted, and the
report says which was seen. Every case makes its own keys, users, rooms and
operations, so a run does not disturb a cluster in use.
"""

from imctl.conform.case import Case, Result, Verdict
from imctl.conform.catalogue import CASES, select_cases
from imctl.conform.report import Report
from imctl.conform.run import run_cases
from imctl.conform.target import PARTS, Target, parse_target, probe

__all__ = [
    # case
    "Case",
    "Result",
    "Verdict",
    # catalogue
    "CASES",
    "select_cases",
    # report
    "Report",
    # run
    "run_cases",
    # target
    "PARTS",
    "Target",
    "parse_target",
    "probe",
]
