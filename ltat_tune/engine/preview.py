"""The configurations that a study would begin with, proposed in a temporary folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ltat_tune.engine.choice import mark_owed, next_action, propose
from ltat_tune.search.predict.chooser import build_chooser
from ltat_tune.search.quota import Quota
from ltat_tune.search.rungs import place_rungs
from ltat_tune.search.tried import SearchExhausted
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger


def first_trials(space: Space, count: int) -> dict[str, list[dict[str, Any]]]:
    """Return the first proposals of every scenario, at most `count` each, by its name.

    The study proposes the same configurations, those of `start_from` first, until its first trial
    ends. From then on a searcher that learns uses the trials' scores.
    """
    proposals: dict[str, list[dict[str, Any]]] = {}
    rungs = place_rungs(space)
    with tempfile.TemporaryDirectory(prefix="ltat-plan-") as folder:
        ledger = Ledger(Path(folder) / "ledger.journal", space)
        for scenario in space.scenarios:
            proposed = proposals[scenario.name] = []
            quota = Quota(space, scenario)
            chooser = build_chooser(space, scenario.name, rungs)
            while len(proposed) < count and not ledger.is_searched(scenario.name):
                action = None
                if chooser is not None and not ledger.has_queued(scenario.name):
                    action = next_action(chooser, ledger, scenario.name, rungs, quota)
                try:
                    number, params = propose(ledger, scenario.name, quota, action)
                except SearchExhausted:
                    break
                if not (action and action.copy):
                    mark_owed(quota, ledger, scenario.name, number, params)
                proposed.append(params)
    return proposals
