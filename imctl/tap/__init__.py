"""A proxy between clients and a comet that passes every byte on and tells what it saw."""

from imctl.tap.backlog import Backlog
from imctl.tap.proxy import Tap
from imctl.tap.record import FileThread, Recorder
from imctl.tap.seen import Accepted, Finished, Gone, Left, Passed, Refused, TapEvent
from imctl.tap.understand import Understanding

__all__ = [
    # backlog
    "Backlog",
    # proxy
    "Tap",
    # record
    "FileThread",
    "Recorder",
    # seen
    "Accepted",
    "Finished",
    "Gone",
    "Left",
    "Passed",
    "Refused",
    "TapEvent",
    # understand
    "Understanding",
]
