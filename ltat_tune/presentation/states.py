"""How a trial ended, in the words of every page. Files and MLflow's tags hold the states."""

from __future__ import annotations


def state_in_words(state: str) -> str:
    """Return a trial's state as pages write it: `stopped early` for `pruned`, else unchanged."""
    return "stopped early" if state == "pruned" else state
