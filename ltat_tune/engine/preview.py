"""The configurations that a study would begin with, proposed in a temporary folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ltat_tune.search.tried import SearchExhausted
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger


def first_trials(space: Space, count: int) -> dict[str, list[dict[str, Any]]]:
    """Return the first proposals of every scenario, at most `count` each, by its name.

    The study proposes the same configurations, those of `start_from` first, until its first trial
    ends. From then on a searcher that learns uses the trials' scores.
    """
    proposals: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="ltat-plan-") as folder:
        ledger = Ledger(Path(folder) / "ledger.journal", space)
        for scenario in space.scenarios:
            proposed = proposals[scenario.name] = []
            while len(proposed) < count and not ledger.is_searched(scenario.name):
                try:
                    proposed.append(ledger.propose(scenario.name)[1])
                except SearchExhausted:
                    break
    return proposals
