"""The configurations that a study would begin with, found out without leaving anything behind."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ltat_tune.search.tried import SearchExhausted
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger


def first_trials(space: Space, count: int) -> dict[str, list[dict[str, Any]]]:
    """The first proposals of every scenario, as many as there are up to `count`.

    They are the study's own, `start_from` before all, as long as none of them has ended: from
    then on a searcher that learns proposes by what it has heard.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="ltat-plan-") as folder:
        ledger = Ledger(Path(folder) / "ledger.journal", space)
        for scenario in space.scenarios:
            proposed = found[scenario.name] = []
            while len(proposed) < count and not ledger.is_searched(scenario.name):
                try:
                    proposed.append(ledger.propose(scenario.name)[1])
                except SearchExhausted:
                    break
    return found
