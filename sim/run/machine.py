"""What the load generator runs on."""

from __future__ import annotations

import os
import platform

__all__ = ["machine_facts"]


def machine_facts() -> dict[str, str | int | float | None]:
    """Return system, cores, Python and load, as a report has them."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
