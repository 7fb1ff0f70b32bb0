"""Checks before a study starts whether its budget is large enough."""

from __future__ import annotations

from ltat_tune.search.quota import trials_needed
from ltat_tune.search.rungs import Rungs
from ltat_tune.space.space import Space


def check_budget(space: Space, rungs: Rungs) -> str:
    """Return the problem with `space.budget`, or an empty text if there is none."""
    from ltat_tune.planning.estimate import least_epochs

    budget = space.budget
    if budget is None:
        return ""
    if budget.unit == "gpuh" and space.resources.gpus_per_trial == 0:
        return (
            f"budget {budget} counts GPU hours, but resources.gpus_per_trial is 0; write hours "
            "(6h) or epochs (500epochs)"
        )
    least = least_epochs(space, rungs)
    if budget.unit == "epochs" and budget.amount < least:
        return (
            f"budget must be at least {least}epochs, enough for one trial and its confirmations "
            f"in {len(space.scenarios)} scenario(s), got {budget}; raise it, or lower "
            "optim.epochs, confirm.top or confirm.seeds"
        )
    return ""


def race_note(space: Space, rungs: Rungs) -> str:
    """Return a note if a budget in epochs ends before `searcher.at_least` is paid, or nothing."""
    from ltat_tune.planning.estimate import least_epochs

    budget = space.budget
    if budget is None or budget.unit != "epochs" or not space.searcher.at_least:
        return ""
    more = max(0, trials_needed(space) - 1) * space.max_epochs * space.searcher.seeds_per_trial
    needed = least_epochs(space, rungs) + more * len(space.scenarios)
    if budget.amount >= needed:
        return ""
    return (
        f"budget {budget} ends the search before each choice of "
        f"{', '.join(space.searcher.at_least)} has what searcher.at_least owes it: that takes "
        f"{needed}epochs; raise the budget, or lower searcher.at_least"
    )
