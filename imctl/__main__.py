"""Where the `imctl` command begins, and `python -m imctl`."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line and exit with its code; Ctrl-C ends it quietly also while modules are being imported."""
    try:
        from imctl.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
