"""Run the benchmarks: `python -m benchmarks [NAME ...] [--json]`; `make bench` runs them all."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import logging
import os
import platform
import sys
import time

import uvloop

from benchmarks.measure import Line, open_files

__all__ = ["NAMES", "main"]

NAMES = ("fanout", "memory", "connect", "push", "hooks", "latency", "messages", "simulator", "network")
"""Modules of this package, each with `run() -> list[Line]`."""


def main() -> int:
    """Run what was asked for; return 1 when a goal is missed, so that a person notices."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (all)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    logging.disable(logging.WARNING)
    open_files()
    lines: list[Line] = []
    for name in options.names or NAMES:
        begin = time.monotonic()
        found = uvloop.run(importlib.import_module(f"benchmarks.{name}").run())
        lines += found
        if not options.json:
            for line in found:
                _show(line)
        print(f"{name} took {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if options.json:
        machine = {
            "system": f"{platform.system()} {platform.release()}",
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load_1m": round(os.getloadavg()[0], 2),
        }
        document = {"machine": machine, "lines": [dataclasses.asdict(line) for line in lines]}
        print(json.dumps(document, indent=2))
    return int(any(line.met is False for line in lines))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _show(line: Line) -> None:
    mark = {True: "ok  ", False: "MISS", None: "    "}[line.met]
    text = f"{mark} {line.name:<38} {_number(line.value):>12} {line.unit}"
    if line.raw is not None and line.ratio is not None:
        text += f", raw {_number(line.raw)}, ratio {line.ratio:.2f}"
    if line.detail:
        text += "  (" + ", ".join(f"{name} {value:g}" for name, value in line.detail.items()) + ")"
    print(text + (f"  [{line.goal}]" if line.goal else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
