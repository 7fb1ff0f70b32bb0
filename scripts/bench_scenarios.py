"""Epochs until every scenario has a good configuration: scenarios that learn from each other.

    python scripts/bench_scenarios.py                 # UR 10, 50 and 100 of one grid; 20 seeds

The tables hold the same configurations at several imbalance ratios (scripts/problems/ratios.yaml).
One study searches all of them in turn, as a study does; or a study of its own searches each. The
figure is the epochs of all scenarios together until the mean value over the search seeds of the
last scenario reaches what random search has after 40 whole trainings, as a share of random's
epochs. `--unlike` shuffles the scores of all but the first table over the configurations: problems
that have nothing to do with each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna

from ltat_tune.engine.scenario_search import ScenarioSearch
from ltat_tune.provenance import machine
from ltat_tune.search.rungs import place_rungs
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from scripts.bench_search import TRIALS, Case, Trace, reached, space_of, target_of
from scripts.curve_tables import Table, final

DATA = Path(__file__).parent.parent / "tests" / "data" / "ratios"
RATIO = "data.imbalance_ratio"


def search_together(tables: Sequence[Table], seed: int, budget: float) -> list[Trace]:
    """Return the traces of one study over all tables, which take turns; nothing is stopped."""
    first = tables[0]
    ratios = [table.fixed[RATIO] for table in tables]
    fixed = {path: value for path, value in first.fixed.items() if path != RATIO}
    with tempfile.TemporaryDirectory() as folder:
        space = space_of(
            Path(folder), Case(first, seed, budget, 1), fixed=fixed, scenarios={RATIO: ratios},
            searcher={"name": "predict", "startup_trials": None}, scheduler={"name": "none"},
        )  # fmt: skip
        ledger = Ledger(Path(folder) / "ledger.journal", space)
        searches = [
            ScenarioSearch(
                space, StudyFolder(Path(folder)), ledger, s.name, place_rungs(space), device="cpu"
            )
            for s in space.scenarios
        ]
        traces = [Trace() for _ in tables]
        for _ in range(int(budget / first.epochs)):
            for search, table, trace in zip(searches, tables, traces, strict=True):
                if (task := search.next_task()) is None:
                    continue
                row = table.row(task.config)
                trace.epochs += len(row["curve"])
                score = final(row)
                metrics = None if score is None else {table.metric: score}
                state = "diverged" if score is None else "complete"
                search.finish(task, Outcome(state, task.epochs, "", metrics))
                trace.complete(row)
    return traces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--curves", type=Path, nargs="+",
        default=sorted(DATA.glob("*_curves.json"), key=lambda p: int(p.stem.split("_")[0])),
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--unlike", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tables = [Table(path) for path in arguments.curves]
    if arguments.unlike:
        tables = [tables[0], *(t.shuffled(i, "curve") for i, t in enumerate(tables[1:], 1))]
    targets = [target_of(table).value for table in tables]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    budget = float(TRIALS * tables[0].epochs)
    grid = np.arange(0, budget + 1)
    together = [search_together(tables, seed, budget) for seed in seeds]
    apart = [[search_together([t], seed, budget)[0] for t in tables] for seed in seeds]
    print(f"{len(seeds)} seeds; {machine()}")
    print("| search | " + " | ".join(f"UR {t.fixed[RATIO]}" for t in tables) + " | the last |")
    print("|---" * (len(tables) + 2) + "|")
    for name, traces in (("together", together), ("apart", apart)):
        ratios = []
        for place, target in enumerate(targets):
            mean = np.mean([run[place].at(grid) for run in traces], axis=0)
            ratios.append(reached(mean, target, grid) / budget)
        print(f"| {name} | " + " | ".join(f"{r:.2f}" for r in [*ratios, max(ratios)]) + " |")


if __name__ == "__main__":
    main()
