"""Milliseconds that the searcher predict takes for a decision, by the trials that it knows.

    OMP_NUM_THREADS=1 python scripts/bench_decisions.py     # a minute on one core

The space is that of a shipped file; the scores are made up, and two of three trials have a copy.
CPU time of one thread, median and largest of so many decisions, all with new scores to fit to.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ltat_tune.preflight.load import load_space
from ltat_tune.provenance import machine
from ltat_tune.search.predict.chooser import Chooser
from ltat_tune.search.predict.observed import Observed
from ltat_tune.search.stems import StemSharing
from ltat_tune.space.space import Space

SPACE = Path(__file__).parent.parent / "search_spaces" / "srat.yaml"


def made_up(space: Space, count: int, rng: np.random.Generator) -> list[Observed]:
    """Return trials with scores: half of them complete, two thirds of them with a copy."""
    chooser = Chooser(space)
    trials = []
    for number in range(count):
        params = chooser.draw(rng)
        numbers = [v for v in params.values() if isinstance(v, float)]
        score = 0.5 - 0.1 * float(np.mean(numbers)) + rng.normal(0, 0.02)
        copied, whole = number % 3 > 0, number % 2 == 0
        trials.append(
            Observed(
                params, number, copy=score - 0.2 + rng.normal(0, 0.05) if copied else None,
                values=(score,) if whole else None, waits=copied and not whole,
            )
        )  # fmt: skip
    return trials


def decision_ms(space: Space, rows: int, repeats: int) -> list[float]:
    """Return the milliseconds of CPU of decisions with so many rows."""
    seen, taken = made_up(space, rows, np.random.default_rng(rows)), []
    sharing = StemSharing(space, space.scenarios[0])
    chooser = Chooser(space, copy_cost=0.07, sharing=sharing)
    for repeat in range(repeats + 1):
        first = replace(seen[0], values=(0.4 + repeat / 1000,))  # so that everything is fitted
        began = time.process_time()
        chooser.next([first, *seen[1:]], lambda params: False)
        taken.append(1e3 * (time.process_time() - began))
    return taken[1:]  # the first one also imports and fills caches


def main(given: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 50, 200, 1000])
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args(given)
    space = load_space(SPACE, check_machine=False)
    space = replace(space, searcher=space.searcher.model_copy(update={"trials": 10**5}))
    print(f"{SPACE.name}; {machine()}")
    found = []
    for rows in arguments.rows:
        taken = decision_ms(space, rows, arguments.repeats)
        found.append({"rows": rows, "median_ms": statistics.median(taken), "most_ms": max(taken)})
        print(f"{rows:5d} trials: {statistics.median(taken):4.0f} ms, at most {max(taken):.0f} ms")
    return found


if __name__ == "__main__":
    main()
