"""Epochs to a good configuration: our search against random search, Ray Tune and Optuna.

    python scripts/bench_search.py                       # every problem under tests/data
    python scripts/bench_search.py --curves FILE --slots 4 --seeds 5 --only ours/predict random

Every search runs on real learning curves that scripts/record_curves.py recorded. Nothing is
trained here; the searchers, schedulers and ledgers are the real ones. The value of a search after
so many epochs is what it maximises, the validation score of the best complete trial so far; what
that choice is worth, PGD-20 on the test images and the mean of two seeds, stands beside it.

The figure is the number of epochs until the mean value over the search seeds reaches what random
search has after its last trial; 95 % intervals by bootstrap over the search seeds. Beside it is
the same for the test score of what is chosen, which counts no lucky validation score. With several
slots, epochs are those of all slots together. The mean over problems counts a search that never
gets there as one that needs random's whole budget.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import sys
import tempfile
import unittest.mock
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import yaml

from ltat_tune.engine.scenario_search import ScenarioSearch
from ltat_tune.preflight.load import load_space
from ltat_tune.provenance import machine, versions
from ltat_tune.search.rungs import Rungs, place_rungs
from ltat_tune.search.stopping_rules import new_rule
from ltat_tune.space.space import Space
from ltat_tune.storage import ledger
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome, Task

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from scripts.curve_tables import Row, Table, final, truth

DATA = Path(__file__).parent.parent / "tests" / "data"
TRIALS = 40

Training = Iterator[float]  # yields the cost of each epoch before its score is known


@dataclass
class Trace:
    """What a search would have chosen, after how many epochs."""

    epochs: float = 0.0
    best: float = -1.0
    points: list[tuple[float, float, float]] = field(default_factory=list)  # epochs, score, truth

    def complete(self, row: Row) -> None:
        """Count a trial that ended at full length."""
        score = final(row)
        if score is not None and score > self.best:
            self.best = score
            self.points.append((self.epochs, score, truth(row)))

    def at(self, epochs: np.ndarray, *, worth: bool = False) -> np.ndarray:
        """Return the score, or the truth, of the choice after so many epochs; 0 before one."""
        values = np.zeros(len(epochs))
        for since, score, true in self.points:
            values[epochs >= since] = true if worth else score
        return values


@dataclass(frozen=True)
class Case:
    """One run of a search: the table, the seed, the budget in epochs and the slots."""

    table: Table
    seed: int
    budget: float
    slots: int


def drive(case: Case, trace: Trace, begin: Callable[[], Training | None]) -> Trace:
    """Run trainings in the slots until the budget is spent or nothing more begins."""
    order, now = itertools.count(), 0.0
    running: list[tuple[float, int, float, Training]] = []
    while True:
        while len(running) < case.slots and trace.epochs < case.budget:
            training = begin()
            if training is None:
                break
            cost = next(training, None)
            if cost is not None:
                heapq.heappush(running, (now + cost, next(order), cost, training))
        if not running:
            return trace
        now, _, cost, training = heapq.heappop(running)
        trace.epochs += cost
        more = next(training, None)
        if more is not None:
            heapq.heappush(running, (now + more, next(order), more, training))


# -- the rivals -----------------------------------------------------------------------------------


def random_search(case: Case) -> Trace:
    """Independent draws, each trained to its end."""
    rng, trace = np.random.default_rng(case.seed), Trace()
    for _ in range(TRIALS):
        trace.epochs += case.table.epochs
        trace.complete(case.table.draw(rng))
    return trace


def _distributions(table: Table) -> dict[str, Any]:
    categorical = optuna.distributions.CategoricalDistribution
    return {path: categorical(choices) for path, choices in table.choices.items()}


def optuna_search(
    sampler: Callable[..., optuna.samplers.BaseSampler],
    pruner: Callable[[], optuna.pruners.BasePruner] = optuna.pruners.NopPruner,
) -> Callable[[Case], Trace]:
    """Optuna as its documentation shows it: `should_prune` after each epoch."""

    def search(case: Case) -> Trace:
        study = optuna.create_study(
            direction="maximize", sampler=sampler(seed=case.seed), pruner=pruner()
        )
        trace, space = Trace(), _distributions(case.table)

        def train() -> Training:
            trial = study.ask(space)
            row = case.table.row(trial.params)
            state = optuna.trial.TrialState.COMPLETE
            for epoch, score in enumerate(row["curve"], 1):
                yield 1.0
                trial.report(score, epoch)
                if epoch < case.table.epochs and trial.should_prune():
                    state = optuna.trial.TrialState.PRUNED
                    break
            else:
                trace.complete(row)
            done = state == optuna.trial.TrialState.COMPLETE and row["curve"]
            failed = optuna.trial.TrialState.FAIL if not row["curve"] else state
            study.tell(trial, final(row) if done else None, state=failed)

        return drive(case, trace, train)

    return search


def ray_tune(case: Case, factor: float = 4) -> Trace:
    """Ray Tune's OptunaSearch with its ASHAScheduler at grace 1, as its documentation shows it.

    Their own classes, called in the order in which Tune's loop calls them.
    """
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler
    from ray.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(
        space=_distributions(case.table), metric="score", mode="max", seed=case.seed
    )
    scheduler = ASHAScheduler(
        time_attr="training_iteration", metric="score", mode="max",
        max_t=case.table.epochs, grace_period=1, reduction_factor=factor,
    )  # fmt: skip
    trace, numbers = Trace(), itertools.count()

    def train() -> Training:
        name = f"t{next(numbers):05d}"
        params = searcher.suggest(name)
        row = case.table.row(params)
        trial = SimpleNamespace(trial_id=name, config=params)
        scheduler.on_trial_add(None, trial)
        result: dict[str, Any] = {"score": 0.0, "training_iteration": 0}
        for epoch, score in enumerate(row["curve"], 1):
            yield 1.0
            result = {"score": score, "training_iteration": epoch}
            verdict = scheduler.on_trial_result(None, trial, result)
            if epoch == case.table.epochs:
                trace.complete(row)
            if verdict != TrialScheduler.CONTINUE:
                break
            searcher.on_trial_result(name, result)
        scheduler.on_trial_complete(None, trial, result)
        searcher.on_trial_complete(name, result)

    return drive(case, trace, train)


# -- ours -----------------------------------------------------------------------------------------


def space_of(folder: Path, case: Case, **parts: dict[str, Any]) -> Space:
    """Return the space of a table, with these parts of a space file."""
    document = {
        "name": "bench",
        "objective": {"metric": case.table.metric},
        "fixed": case.table.fixed,
        "tuned": case.table.tuned,
        **parts,
        "scheduler": {"fidelity": {}, **parts.get("scheduler", {})},
        "searcher": {"trials": 10000, "startup_trials": 10, "at_least": {},
                     **parts.get("searcher", {}), "seed": case.seed},
    }  # fmt: skip
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_space(path, check_machine=False, allow_inert=True)


def ours(**parts: dict[str, Any]) -> Callable[[Case], Trace]:
    """Our search with these parts of a space file: our ScenarioSearch, ledger and rules."""

    def search(case: Case) -> Trace:
        with tempfile.TemporaryDirectory() as folder:
            space = space_of(Path(folder), case, **parts)
            return _Simulation(case, space, Path(folder)).run()

    return search


def forgetting(search: Callable[[Case], Trace]) -> Callable[[Case], Trace]:
    """The search whose sampler never sees a trial that was stopped: FAIL in place of PRUNED."""

    def run(case: Case) -> Trace:
        with unittest.mock.patch.dict(ledger._STATES, {"pruned": optuna.trial.TrialState.FAIL}):
            return search(case)

    return run


class _Simulation:
    """A study whose trainings are read from the table."""

    def __init__(self, case: Case, space: Space, folder: Path) -> None:
        self._case, self._table, self._metric = case, case.table, space.objective.metric
        rungs = place_rungs(space)
        if rungs.probes:
            rungs = Rungs(
                rungs.epochs, (), probes=rungs.probes, probe_epochs=case.table.probe_epochs
            )
        recorded = sorted({case.table.nearest(epochs) for epochs in rungs.copies})
        rungs = replace(rungs, copies=tuple(recorded))
        self._rungs = rungs
        self._rule = new_rule(space.scheduler, rungs.judged)
        self._search = ScenarioSearch(
            space, StudyFolder(folder), Ledger(folder / "ledger.journal", space),
            space.scenarios[0].name, rungs, device="cpu",
        )  # fmt: skip
        self._stems: set[str] = set()
        self._trace = Trace()

    def run(self) -> Trace:
        """Return the trace at the end of the budget, or once everything is tried."""
        return drive(self._case, self._trace, self._begin)

    def _begin(self) -> Training | None:
        while True:
            task = self._search.next_task()
            if task is not None:
                return self._copy(task) if task.kind == "copy" else self._whole(task)
            losers = self._search.losers()
            if not losers:
                return None
            for loser, outcome in losers:
                self._search.finish(loser, outcome)

    def _first(self, task: Task) -> int:
        """Return how many epochs a stem saves; it exists once the first training has passed it."""
        return task.stem_epochs if task.stem in self._stems and task.stem else 0

    def _copy(self, task: Task) -> Training:
        row = self._table.row(task.config)
        steps = task.fidelity.get("attack.steps")
        score, cost = self._table.copy(row, task.epochs, steps)
        yield cost * (task.epochs - self._first(task))
        self._stems.add(task.stem)
        self._search.absorb(task, task.stem_epochs, {})
        self._end(task, score, task.epochs)

    def _whole(self, task: Task) -> Training:
        row, first = self._table.row(task.config), self._first(task)
        for epoch, own in enumerate(row["curve"], 1):
            metrics = {self._metric: own}
            probing = self._rungs.probe_epochs if epoch in task.probe_at else 0
            yield float((epoch > first) + probing)
            if epoch == task.stem_epochs:
                self._stems.add(task.stem)
            if epoch in task.probe_at:
                probed = row["probes"].get(str(epoch))
                key = self._metric.replace("val/", "probe/")
                metrics |= {} if probed is None else {key: probed}
            self._search.absorb(task, epoch, metrics)
            score = self._rungs.score(epoch, metrics, self._metric)
            if score is not None and epoch < task.epochs:
                stop = self._rule.record(task.key, epoch, score)
                if stop is not None and not self._search.is_owed(task.number):
                    self._search.finish(task, Outcome("pruned", epoch, stop.sentence))
                    return
        self._end(task, final(row), task.epochs)
        self._trace.complete(row)

    def _end(self, task: Task, score: float | None, epochs: int) -> None:
        state = "diverged" if score is None else "complete"
        metrics = None if score is None else {self._metric: score}
        self._search.finish(task, Outcome(state, epochs, "", metrics))  # type: ignore[arg-type]


def tpe(**parts: dict[str, Any]) -> Callable[[Case], Trace]:
    """Our search with TPE and these parts of a space file."""
    return ours(**{**parts, "searcher": {"name": "tpe", **parts.get("searcher", {})}})


def predict(**parts: dict[str, Any]) -> Callable[[Case], Trace]:
    """Our search with the surrogate and these parts of a space file; its start is its own.

    As by default, each choice of what decides which parameters exist is owed two whole trainings.
    """
    start = {"name": "predict", "startup_trials": None, "at_least": None}
    return ours(**{**parts, "searcher": {**start, **parts.get("searcher", {})}})


def shuffling(search: Callable[[Case], Trace]) -> Callable[[Case], Trace]:
    """The search on a table whose copies' scores are shuffled over configurations: pure noise."""

    def run(case: Case) -> Trace:
        return search(replace(case, table=case.table.shuffled(case.seed)))

    return run


TPE = optuna.samplers.TPESampler
SEARCHES: dict[str, Callable[[Case], Trace]] = {
    "Optuna, TPE": optuna_search(TPE),
    "Optuna, GP": optuna_search(optuna.samplers.GPSampler),
    "Optuna, TPE + median": optuna_search(TPE, optuna.pruners.MedianPruner),
    "Optuna, TPE + Hyperband": optuna_search(TPE, optuna.pruners.HyperbandPruner),
    "Ray Tune, OptunaSearch + ASHA": ray_tune,
    "ours/predict": predict(scheduler={"fidelity": None}),
    "ours/predict, nothing owed": predict(scheduler={"fidelity": None}, searcher={"at_least": {}}),
    "ours/predict, no copies": predict(scheduler={"name": "none"}),
    "ours/predict, copies shuffled": shuffling(predict(scheduler={"fidelity": None})),
    "ours/no rungs": tpe(scheduler={"name": "none"}),
    "ours/prefix": tpe(scheduler={"rungs": "prefix"}),
    "ours/prefix, grace 1": tpe(scheduler={"rungs": "prefix", "grace_epochs": 1}),
    "ours/prefix, stopped forgotten": forgetting(tpe(scheduler={"rungs": "prefix"})),
    "ours/probe": tpe(scheduler={"rungs": "probe", "grace_epochs": 3}),
    "ours/copy": tpe(scheduler={"rungs": "copy"}),
    "ours/copy, eta 4": tpe(scheduler={"rungs": "copy", "reduction_factor": 4}),
    "ours/copy from 3": tpe(scheduler={"rungs": "copy", "grace_epochs": 3}),
    "ours/no rungs, branches 4": tpe(scheduler={"name": "none"}, searcher={"branches": 4}),
    "ours/copy, branches 2": tpe(scheduler={"rungs": "copy"}, searcher={"branches": 2}),
    "ours/copy, branches 4": tpe(scheduler={"rungs": "copy"}, searcher={"branches": 4}),
    "ours, the default of 0.4.0": tpe(scheduler={"fidelity": None}),  # the first copies are cheap
    "ours/copy, random": ours(scheduler={"rungs": "copy"}, searcher={"name": "random"}),
    "ours/copy, hyperband": tpe(scheduler={"rungs": "copy", "name": "hyperband"}),
}

# -- the report -----------------------------------------------------------------------------------


def reached(mean: np.ndarray, target: float, grid: np.ndarray) -> float:
    """Return the epochs after which a mean value reaches the target; inf if it never does."""
    there = np.nonzero(mean >= target)[0]
    return float(grid[there[0]]) if len(there) else float("inf")


def _bootstrap(curves: np.ndarray, target: float, grid: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    epochs = []
    for _ in range(1000):
        mean = curves[rng.integers(len(curves), size=len(curves))].mean(axis=0)
        epochs.append(reached(mean, target, grid))
    low, high = np.quantile(epochs, [0.025, 0.975], method="nearest")
    return float(low), float(high)


@dataclass(frozen=True)
class Target:
    """What random search has after its last trial: value and truth, means of 200 seeds."""

    value: float
    truth: float


def target_of(table: Table) -> Target:
    """Return what random search reaches on a table."""
    budget = float(TRIALS * table.epochs)
    chance = [random_search(Case(table, seed, budget, 1)) for seed in range(200)]
    end = np.array([budget])
    value, worth = (
        float(np.mean([trace.at(end, worth=w) for trace in chance])) for w in (False, True)
    )
    return Target(value, worth)


def measured(
    name: str, table: Table, target: Target, *, seeds: range, slots: int
) -> dict[str, Any]:
    """Return the figures of one search on one problem."""
    budget = TRIALS * table.epochs
    grid = np.arange(0, budget + 1, dtype=float)
    traces = [SEARCHES[name](Case(table, seed, budget, slots)) for seed in seeds]
    curves = np.stack([trace.at(grid) for trace in traces])
    worths = np.stack([trace.at(grid, worth=True) for trace in traces])
    epochs = reached(curves.mean(axis=0), target.value, grid)
    worth = reached(worths.mean(axis=0), target.truth, grid)
    return {
        "search": name,
        "problem": table.name,
        "slots": slots,
        "epochs": epochs,
        "interval": _bootstrap(curves, target.value, grid),
        "ratio": epochs / budget,
        "truth_ratio": worth / budget,  # until the test score of the choice is that of random's
        "final": float(curves[:, -1].mean()),
        "truth": float(worths[:, -1].mean()),
        "random": {"final": target.value, "truth": target.truth},
    }


def shown_row(row: dict[str, Any]) -> str:
    """Return the line of a search on a problem."""
    low, high = (f"{e:.0f}" if np.isfinite(e) else "never" for e in row["interval"])
    reached = f"{row['epochs']:.0f} [{low}-{high}]" if np.isfinite(row["epochs"]) else "never"
    return (
        f"| {row['search']} | {row['problem']} | {reached} | {_ratio(row['ratio'])} "
        f"| {_ratio(row['truth_ratio'])} | {row['final']:.4f} | {row['truth']:.4f} |"
    )


def shown_summary(name: str, rows: list[dict[str, Any]]) -> str:
    """Return the line with mean and worst case over problems; never counts as 1 in the mean."""
    by_value, by_truth = (
        f"{np.mean(np.minimum(ratios, 1.0)):.2f}, {_ratio(max(ratios))}"
        for ratios in ([row[key] for row in rows] for key in ("ratio", "truth_ratio"))
    )
    return f"| {name} | mean, worst | | {by_value} | {by_truth} | | |"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if np.isfinite(ratio) else "never"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--curves", type=Path, nargs="+", default=sorted(DATA.glob("*_curves.json"))
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0, help="choose by others than you show")
    parser.add_argument("--slots", type=int, default=1, help="trainings at once")
    parser.add_argument("--only", nargs="*", default=None, help=", ".join(SEARCHES))
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tables = [Table(path) for path in arguments.curves]
    targets = [target_of(table) for table in tables]
    names = [n for n in arguments.only if n != "random"] if arguments.only else list(SEARCHES)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    print(f"{arguments.seeds} seeds, slots {arguments.slots}; budget {TRIALS} whole trainings; "
          f"{machine()}")  # fmt: skip
    for table, target in zip(tables, targets, strict=True):
        print(f"{table.name}: {len(table)} configurations, {table.epochs} epochs; test PGD-20 of "
              f"the best {table.best:.3f}, of the middle one {table.middle:.3f}; random search "
              f"{target.value:.4f}, its test PGD-20 {target.truth:.4f}")  # fmt: skip
    print("| search | problem | epochs to random's final value [95 %] | of random's "
          "| of random's, by truth | value at the budget | its test PGD-20 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    found = []
    for name in names:
        rows = []
        for table, target in zip(tables, targets, strict=True):
            rows.append(measured(name, table, target, seeds=seeds, slots=arguments.slots))
            print(shown_row(rows[-1]), flush=True)
        print(shown_summary(name, rows), flush=True)
        found += rows
    if arguments.json:
        result = {"machine": machine(), "versions": versions(), "rows": found}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
