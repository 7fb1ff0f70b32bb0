"""Epochs to a good configuration: our search against random search, Ray Tune and Optuna.

    python scripts/bench_search.py                       # about ten minutes on one core
    python scripts/bench_search.py --seeds 5 --only ours/copy random

Every search runs on the same real learning curves (tests/data/digits_curves.json, made by
scripts/record_curves.py): 288 configurations of SRAT on digits. Nothing is trained here; the
searchers, schedulers and ledgers are the real ones, with one slot. The value of a search after so
many epochs is what it maximises, the validation score of the best complete trial so far; what that
choice is worth, PGD-20 on the test images and the mean of two seeds, stands beside it.

The figure is the number of epochs until the mean value over the search seeds reaches what random
search has after its last trial; 95 % intervals by bootstrap over the search seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import unittest.mock
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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

CURVES = Path(__file__).parent.parent / "tests" / "data" / "digits_curves.json"
TRIALS = 40
METRIC = "val/pgd10_balanced_acc"
TUNED = {
    "loss.name": ["cross_entropy", "balanced_softmax", "ldam"],
    "optim.lr": [0.02, 0.05, 0.1, 0.3],
    "optim.weight_decay": [5e-4, 5e-3],
    "method.separation_weight": [0.0, 0.3, 2.0],
    "reweight.name": ["none", "class_balanced", "under_represented"],
    "reweight.beta": [0.9, 0.999],
}


class Table:
    """The recorded curves by configuration."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text())
        self.epochs: int = content["epochs"]
        self.probe_epochs: int = content["probe_epochs"]
        self.fixed: dict[str, Any] = content["fixed"]
        self._rows = {self._key({**r["early"], **r["late"]}): r for r in content["rows"]}
        truths = sorted(self.truth(row) for row in self._rows.values())
        self.best, self.middle = truths[-1], float(np.median(truths))

    def __len__(self) -> int:
        return len(self._rows)

    @staticmethod
    def _key(params: dict[str, Any]) -> tuple[Any, ...]:
        weights = params.get("reweight.name")
        late = (weights, params.get("reweight.beta") if weights == "class_balanced" else None)
        return (*(params[path] for path in list(TUNED)[:4]), *late)

    def row(self, params: dict[str, Any]) -> dict[str, Any]:
        """The recording of a configuration."""
        return self._rows[self._key(params)]

    @staticmethod
    def truth(row: dict[str, Any]) -> float:
        """Test PGD-20, mean of two seeds; a run that diverged is worth nothing."""
        return float(np.mean([score or 0.0 for score in row["truth"]]))

    @staticmethod
    def final(row: dict[str, Any]) -> float | None:
        """The score that a whole trial ends with: its best epoch's."""
        return max(row["curve"], default=None)


@dataclass
class Trace:
    """What a search would have chosen, after how many epochs."""

    epochs: float = 0.0
    best: float = -1.0
    points: list[tuple[float, float, float]] = field(default_factory=list)  # epochs, score, truth

    def complete(self, row: dict[str, Any]) -> None:
        """A trial ended at full length."""
        score = Table.final(row)
        if score is not None and score > self.best:
            self.best = score
            self.points.append((self.epochs, score, Table.truth(row)))

    def at(self, epochs: np.ndarray, *, truth: bool = False) -> np.ndarray:
        """The score, or the truth, of the choice after so many epochs; 0 before there is one."""
        found = np.zeros(len(epochs))
        for since, score, worth in self.points:
            found[epochs >= since] = worth if truth else score
        return found


# -- the rivals -----------------------------------------------------------------------------------

_DISTRIBUTIONS = {
    path: optuna.distributions.CategoricalDistribution(choices) for path, choices in TUNED.items()
}


def random_search(table: Table, seed: int) -> Trace:
    """Independent draws, each trained to its end."""
    rng, trace = np.random.default_rng(seed), Trace()
    for _ in range(TRIALS):
        row = table.row({p: c[rng.integers(len(c))] for p, c in TUNED.items()})
        trace.epochs += table.epochs
        trace.complete(row)
    return trace


def optuna_search(pruner: Callable[[], optuna.pruners.BasePruner]) -> Callable[..., Trace]:
    """Optuna as its documentation shows it: TPE at its defaults, `should_prune` each epoch."""

    def search(table: Table, seed: int, budget: float) -> Trace:
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=pruner(),
        )
        trace = Trace()
        while trace.epochs < budget:
            trial = study.ask(_DISTRIBUTIONS)
            row = table.row(trial.params)
            state = optuna.trial.TrialState.COMPLETE
            for epoch, score in enumerate(row["curve"], 1):
                trace.epochs += 1
                trial.report(score, epoch)
                if epoch < table.epochs and trial.should_prune():
                    state = optuna.trial.TrialState.PRUNED
                    break
            else:
                trace.complete(row)
            done = state == optuna.trial.TrialState.COMPLETE and row["curve"]
            failed = optuna.trial.TrialState.FAIL if not row["curve"] else state
            study.tell(trial, Table.final(row) if done else None, state=failed)
        return trace

    return search


def ray_tune(table: Table, seed: int, budget: float, factor: float = 4) -> Trace:
    """Ray Tune's OptunaSearch with its ASHAScheduler at grace 1, as its documentation shows it.

    Their own classes, called in the order in which Tune's loop calls them.
    """
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler
    from ray.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(space=_DISTRIBUTIONS, metric="score", mode="max", seed=seed)
    scheduler = ASHAScheduler(
        time_attr="training_iteration", metric="score", mode="max",
        max_t=table.epochs, grace_period=1, reduction_factor=factor,
    )  # fmt: skip
    trace, number = Trace(), 0
    while trace.epochs < budget:
        name = f"t{number:05d}"
        number += 1
        params = searcher.suggest(name)
        row = table.row(params)
        trial = SimpleNamespace(trial_id=name, config=params)
        scheduler.on_trial_add(None, trial)
        result: dict[str, Any] = {"score": 0.0, "training_iteration": 0}
        for epoch, score in enumerate(row["curve"], 1):
            trace.epochs += 1
            result = {"score": score, "training_iteration": epoch}
            verdict = scheduler.on_trial_result(None, trial, result)
            if epoch == table.epochs:
                trace.complete(row)
            if verdict != TrialScheduler.CONTINUE:
                break
            searcher.on_trial_result(name, result)
        scheduler.on_trial_complete(None, trial, result)
        searcher.on_trial_complete(name, result)
    return trace


# -- ours -----------------------------------------------------------------------------------------


def _space(folder: Path, table: Table, seed: int, **parts: dict[str, Any]) -> Space:
    tuned = {p: {"type": "categorical", "choices": c} for p, c in TUNED.items()}
    tuned["reweight.beta"]["when"] = {"reweight.name": "class_balanced"}
    document = {
        "name": "bench",
        "objective": {"metric": METRIC},
        "fixed": {**table.fixed, "reweight.under_weight": 20},
        "tuned": tuned,
        **parts,
        "scheduler": {"fidelity": {}, **parts.get("scheduler", {})},
        "searcher": {"trials": 10000, "startup_trials": 10, **parts.get("searcher", {}),
                     "seed": seed},
    }  # fmt: skip
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_space(path, check_machine=False, allow_inert=True)


def ours(**parts: dict[str, Any]) -> Callable[..., Trace]:
    """Our search with these parts of a space file: our Search, ledger and rules."""

    def search(table: Table, seed: int, budget: float) -> Trace:
        with tempfile.TemporaryDirectory() as folder:
            space = _space(Path(folder), table, seed, **parts)
            return _Simulation(table, space, Path(folder), budget).run()

    return search


def forgetting(search: Callable[..., Trace]) -> Callable[..., Trace]:
    """The search whose sampler never sees a trial that was stopped: FAIL in place of PRUNED."""

    def run(*given: Any) -> Trace:
        with unittest.mock.patch.dict(ledger._STATES, {"pruned": optuna.trial.TrialState.FAIL}):
            return search(*given)

    return run


class _Simulation:
    """A study with one slot whose trainings are read from the table."""

    def __init__(self, table: Table, space: Space, folder: Path, budget: float) -> None:
        self._table, self._space, self._budget = table, space, budget
        rungs = place_rungs(space)
        if rungs.probes:
            rungs = Rungs(rungs.epochs, (), probes=rungs.probes, probe_epochs=table.probe_epochs)
        self._rungs = rungs
        self._rule = new_rule(space.scheduler, rungs.judged)
        self._search = ScenarioSearch(
            space, StudyFolder(folder), Ledger(folder / "ledger.journal", space),
            space.scenarios[0].name, rungs, device="cpu",
        )  # fmt: skip
        self._stems: set[str] = set()
        self._trace = Trace()

    def run(self) -> Trace:
        """Until the budget is spent or everything is tried."""
        while self._trace.epochs < self._budget:
            task = self._search.next_task()
            if task is None:
                losers = self._search.losers()
                if not losers:
                    break
                for loser, outcome in losers:
                    self._search.finish(loser, outcome)
                continue
            self._train(task)
        return self._trace

    def _train(self, task: Task) -> None:
        row = self._table.row(task.config)
        first = 0
        if task.stem in self._stems and task.stem:
            first = task.stem_epochs
        elif task.stem:
            self._stems.add(task.stem)
        if task.kind == "copy":
            steps = task.fidelity.get("attack.steps")
            score = row["copies"][f"{task.epochs}s{steps}" if steps else str(task.epochs)]
            # a training step costs a forward-backward pair for each attack step, and its own
            own = self._table.fixed["attack.steps"]
            cost = 1.0 if steps is None else (steps + 1) / (own + 1)
            self._trace.epochs += cost * (task.epochs - first)
            self._search.absorb(task, task.stem_epochs, {})
            self._end(task, score, task.epochs)
            return
        for epoch, own in enumerate(row["curve"], 1):
            metrics = {METRIC: own}
            self._trace.epochs += epoch > first
            if epoch in task.probe_at:
                self._trace.epochs += self._rungs.probe_epochs
                probed = row["probes"].get(str(epoch))
                metrics |= {} if probed is None else {METRIC.replace("val/", "probe/"): probed}
            self._search.absorb(task, epoch, metrics)
            score = self._rungs.score(epoch, metrics, METRIC)
            if score is not None and epoch < task.epochs:
                if (stop := self._rule.record(task.key, epoch, score)) is not None:
                    self._search.finish(task, Outcome("pruned", epoch, stop.sentence))
                    return
        self._end(task, Table.final(row), task.epochs)
        self._trace.complete(row)

    def _end(self, task: Task, score: float | None, epochs: int) -> None:
        state = "diverged" if score is None else "complete"
        metrics = None if score is None else {METRIC: score}
        self._search.finish(task, Outcome(state, epochs, "", metrics))  # type: ignore[arg-type]


SEARCHES: dict[str, Callable[..., Trace]] = {
    "Optuna, TPE": optuna_search(optuna.pruners.NopPruner),
    "Optuna, TPE + median": optuna_search(optuna.pruners.MedianPruner),
    "Optuna, TPE + Hyperband": optuna_search(optuna.pruners.HyperbandPruner),
    "Ray Tune, OptunaSearch + ASHA": ray_tune,
    "ours/no rungs": ours(scheduler={"name": "none"}),
    "ours/prefix": ours(scheduler={"rungs": "prefix"}),
    "ours/prefix, grace 1": ours(scheduler={"rungs": "prefix", "grace_epochs": 1}),
    "ours/prefix, stopped early forgotten": forgetting(ours(scheduler={"rungs": "prefix"})),
    "ours/probe": ours(scheduler={"rungs": "probe", "grace_epochs": 3}),
    "ours/copy": ours(scheduler={"rungs": "copy"}),
    "ours/copy, eta 4": ours(scheduler={"rungs": "copy", "reduction_factor": 4}),
    "ours/copy from 3": ours(scheduler={"rungs": "copy", "grace_epochs": 3}),
    "ours/no rungs, branches 4": ours(scheduler={"name": "none"}, searcher={"branches": 4}),
    "ours/copy, branches 2": ours(scheduler={"rungs": "copy"}, searcher={"branches": 2}),
    "ours/copy, branches 4": ours(scheduler={"rungs": "copy"}, searcher={"branches": 4}),
    "ours, the default": ours(scheduler={"fidelity": None}),  # copies, the first of them cheap
    "ours/copy, random": ours(scheduler={"rungs": "copy"}, searcher={"name": "random"}),
    "ours/copy, hyperband": ours(scheduler={"rungs": "copy", "name": "hyperband"}),
}


# -- the report -----------------------------------------------------------------------------------


def _reach(mean: np.ndarray, target: float, grid: np.ndarray) -> float:
    """Epochs after which a mean value reaches the target; inf if it never does."""
    there = np.nonzero(mean >= target)[0]
    return float(grid[there[0]]) if len(there) else float("inf")


def _bootstrap(curves: np.ndarray, target: float, grid: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        mean = curves[rng.integers(len(curves), size=len(curves))].mean(axis=0)
        found.append(_reach(mean, target, grid))
    low, high = np.quantile(found, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def rows(table: Table, names: list[str], seeds: int, first: int = 0) -> Iterator[dict[str, Any]]:
    """The figures of one search after another, random search first."""
    budget = TRIALS * table.epochs
    grid = np.arange(0, budget + 1, dtype=float)
    chance = [random_search(table, seed) for seed in range(max(seeds, 200))]
    end = grid[-1:]
    target = float(np.mean([trace.at(end) for trace in chance]))
    worth = float(np.mean([trace.at(end, truth=True) for trace in chance]))
    yield {
        "search": "random",
        "epochs": float(budget),
        "interval": None,
        "ratio": 1.0,
        "final": target,
        "truth": worth,
    }
    for name in names:
        traces = [SEARCHES[name](table, first + seed, budget) for seed in range(seeds)]
        curves = np.stack([trace.at(grid) for trace in traces])
        epochs = _reach(curves.mean(axis=0), target, grid)
        yield {
            "search": name,
            "epochs": epochs,
            "interval": _bootstrap(curves, target, grid),
            "ratio": epochs / budget,
            "final": float(curves[:, -1].mean()),
            "truth": float(np.mean([trace.at(end, truth=True) for trace in traces])),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0, help="choose by others than you show")
    parser.add_argument("--only", nargs="*", default=None, help=", ".join(SEARCHES))
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table(arguments.curves)
    names = [n for n in arguments.only if n != "random"] if arguments.only else list(SEARCHES)
    print(f"{len(table)} configurations, {table.epochs} epochs; test PGD-20 of the best "
          f"{table.best:.3f}, of the middle one {table.middle:.3f}")  # fmt: skip
    print(f"{arguments.seeds} seeds; budget {TRIALS} whole trainings; {machine()}")
    print("| search | epochs to random's final value [95 %] | of random's | value at the budget "
          "| its test PGD-20 |")  # fmt: skip
    print("|---|---|---|---|---|")
    found = []
    for row in rows(table, names, arguments.seeds, arguments.first_seed):
        found.append(row)
        low, high = row["interval"] or (None, None)
        interval = "" if low is None else f" [{low:.0f}-{high:.0f}]"
        print(f"| {row['search']} | {row['epochs']:.0f}{interval} | {row['ratio']:.2f} "
              f"| {row['final']:.4f} | {row['truth']:.4f} |", flush=True)  # fmt: skip
    if arguments.json:
        result = {"machine": machine(), "versions": versions(), "rows": found}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
