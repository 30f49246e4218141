"""`python -m imctl` is `imctl`."""

from imctl.cli.app import main

main()
