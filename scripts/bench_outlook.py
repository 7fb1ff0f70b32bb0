"""Is the expected gain of more trials what they bring? A replay over recorded tables.

    python scripts/bench_outlook.py      # 20 searches of each table; 4 minutes on one core

Searches by predict without copies forecast, after some trials, the rise of the best score by so
many more. Then they go on. The number is calibrated if the mean of the forecasts is the mean of
what came, also among the forecasts that were small.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ltat_tune.provenance import machine
from ltat_tune.search.predict.chooser import Chooser
from ltat_tune.search.predict.observed import Observed
from ltat_tune.search.predict.outlook import look_ahead
from ltat_tune.space.domains import read_domain

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from scripts.curve_tables import Table, final

DATA = Path(__file__).parent.parent / "tests" / "data"
AFTER, MORE = (8, 12, 16, 24, 32), (4, 8, 16)
SMALL = 0.005


def replay(table: Table, seed: int) -> list[tuple[int, int, float, float]]:
    """Return (after, more, expected gain, gain) of one search."""
    domains = {p: d for p, raw in table.tuned.items() if (d := read_domain(p, raw)[0])}
    space: Any = SimpleNamespace(
        tuned=domains, objective=SimpleNamespace(at_least=(), values=("m",)),
        searcher=SimpleNamespace(seed=seed, trials=1000, startup_trials=None, startup="random"),
    )  # fmt: skip
    chooser, seen, best, forecasts = Chooser(space), list[Observed](), [0.0], []
    for number in range(max(AFTER) + max(MORE)):
        if number in AFTER:
            for outlook in look_ahead(domains, seen, MORE, seed=seed):
                forecasts.append((number, outlook.trials, outlook.gain))
        action = chooser.next(seen, lambda params: False)
        if action is None:
            break
        score = final(table.row(action.params))
        seen.append(
            Observed(action.params, number, values=None if score is None else (score,),
                     diverged=score is None)
        )  # fmt: skip
        best.append(max(best[-1], score or 0.0))
    end = len(best) - 1
    return [(a, n, gain, best[a + n] - best[a]) for a, n, gain in forecasts if a + n <= end]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--curves", type=Path, nargs="+", default=sorted(DATA.glob("*_curves.json"))
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    print(f"{len(seeds)} seeds; points of the objective; {machine()}")
    print(
        "| problem | trials so far | more | expected | came | expected where < 0.5 | came there |"
    )
    print("|---|---|---|---|---|---|---|")
    for path in arguments.curves:
        table = Table(path)
        pairs: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
        for seed in seeds:
            for after, more, expected, came in replay(table, seed):
                pairs[after, more].append((expected, came))
        for (after, more), some in [*pairs.items(), ((0, 0), sum(pairs.values(), []))]:
            both = 100 * np.array(some)
            small = both[both[:, 0] < 100 * SMALL]
            means = [*both.mean(0), *(small.mean(0) if len(small) else (np.nan, np.nan))]
            numbers = " | ".join("-" if np.isnan(x) else f"{x:.2f}" for x in means)
            print(f"| {table.name} | {after or 'all'} | {more or 'all'} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
