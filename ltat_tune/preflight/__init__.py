"""Checks that refuse or warn before anything trains.

Holds the checks of a space file, the smoke version of it, warm starts, what a resume may change,
and `doctor`. May import `evaluation`, `results`, `planning` and what stands below. The engine, the
API and the commands import it.
"""
