"""Runs the command line as `python -m ltat_tune.cli`."""

from ltat_tune.cli import main

main()
