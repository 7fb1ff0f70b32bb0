"""Searchers: that each models what it is said to, with real Optuna and no training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState, create_trial

from ltat_tune.results.selection import front, infeasible, ranking
from ltat_tune.search.searchers import build_sampler, extended
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from tests.spaces import space_of

torch.set_num_threads(1)
METRIC, CLEAN = "val/pgd20_balanced_acc", "val/clean_acc"
CONDITIONAL = """\
fixed: {optim.epochs: 12, optim.lr_schedule: cosine}
tuned:
  method.name: {type: categorical, choices: [pgd_at, srat]}
  optim.lr: {type: float, low: 0.01, high: 0.3, log: true}
  attack.steps: {type: int, low: 2, high: 10}
  method.temperature: {type: float, low: 0.05, high: 1, when: {method.name: srat}}
"""
NUMBERS = """\
fixed: {optim.epochs: 12, optim.lr_schedule: cosine}
tuned:
  optim.lr: {type: float, low: 0.01, high: 0.3, log: true}
  optim.momentum: {type: float, low: 0.5, high: 0.95}
"""
BOTH = f"objective: {{metric: {METRIC}, also: [{CLEAN}]}}\n"
BOUND = f"objective: {{metric: {METRIC}, at_least: {{{CLEAN}: 0.7}}}}\n"
BOTH_BOUND = f"objective: {{metric: {METRIC}, also: [{CLEAN}], at_least: {{{CLEAN}: 0.7}}}}\n"


def _metrics(params: dict[str, Any]) -> dict[str, float]:
    """Robust accuracy is best at lr 0.1, 7 steps, srat with temperature 0.3; clean falls with
    steps."""
    steps = params.get("attack.steps", 7)
    robust = 0.7 - 0.2 * abs(math.log10(params["optim.lr"] / 0.1)) - 0.01 * abs(steps - 7)
    robust -= abs(params.get("optim.momentum", 0.9) - 0.9)
    if params.get("method.name") == "srat":
        robust += 0.1 - 0.2 * abs(params["method.temperature"] - 0.3)
    return {METRIC: robust, CLEAN: 1 - steps / 20}


def _search(
    space: Space, path: Path, *, trials: int | None = None, stopped: bool = True
) -> list[dict[str, Any]]:
    """Two trials at a time; with `stopped` each third is stopped early. What was proposed."""
    ledger, (scenario,) = Ledger(path, space), space.scenarios
    running: list[tuple[int, dict[str, Any]]] = []
    proposed = []
    trials = trials or space.searcher.trials
    while ledger.begun(scenario.name) < trials or running:
        if ledger.begun(scenario.name) < trials:
            running.append(ledger.propose(scenario.name))
            proposed.append(running[-1][1])
        if len(running) == 2 or ledger.begun(scenario.name) == trials:
            number, params = running.pop(0)
            metrics = _metrics(params)
            ledger.record(scenario.name, number, 4, metrics[METRIC] - 0.3)
            if stopped and number % 3 == 1:
                ledger.finish(scenario.name, number, Outcome("pruned", 4), None)
            else:
                ledger.record(scenario.name, number, 12, metrics[METRIC])
                outcome = Outcome("complete", 12, metrics=metrics)
                ledger.finish(scenario.name, number, outcome, metrics[METRIC])
    return proposed


def _late_best(proposed: list[dict[str, Any]], late: int) -> float:
    """The mean of the last proposals' scores, each between 0 and 0.8."""
    return float(np.mean([_metrics(params)[METRIC] for params in proposed[-late:]]))


# -- what each learns ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("searcher", "trials", "text"),
    [("tpe", 30, CONDITIONAL), ("cmaes", 50, NUMBERS), ("gp", 10, NUMBERS)],
)
def test_a_searcher_proposes_better_than_its_start(
    searcher: str, trials: int, text: str, tmp_path: Path
) -> None:
    """Also where every third trial is stopped early: the random start scores 0.3 on average."""
    line = f"searcher: {{name: {searcher}, trials: {trials}, startup_trials: 6}}\n"
    proposed = _search(space_of(tmp_path, text + line), tmp_path / "ledger.journal")
    start = float(np.mean([_metrics(params)[METRIC] for params in proposed[:6]]))
    assert _late_best(proposed, 4) > start + 0.05


@pytest.mark.parametrize("searcher", ["tpe", "nsga2", "nsga3", "gp"])
@pytest.mark.parametrize("objective", [BOTH, BOTH_BOUND], ids=["both", "bound"])
def test_two_objectives_are_searched_with_conditions_bounds_and_stopped_trials(
    searcher: str, objective: str, tmp_path: Path
) -> None:
    trials = 5 if searcher == "gp" else 9  # gp models one of them, for seconds
    line = f"searcher: {{name: {searcher}, trials: {trials}, startup_trials: 2}}\n"
    space = space_of(tmp_path, objective + CONDITIONAL + line)
    assert len(_search(space, tmp_path / "ledger.journal")) == trials
    ledger = Ledger(tmp_path / "ledger.journal", space)
    rows = ledger.finished("default")
    assert {len(row.values) for row in rows if row.state == TrialState.COMPLETE} == {2}
    assert [row.intermediate_values[4] for row in rows] == [
        pytest.approx(_metrics(row.params)[METRIC] - 0.3) for row in rows
    ]


@pytest.mark.parametrize("searcher", ["nsga2", "nsga3", "cmaes"])
def test_what_only_some_trials_have_is_modelled_and_not_dropped(
    searcher: str, tmp_path: Path
) -> None:
    """Optuna's own searcher would leave method.temperature out of the space it models."""
    objective = "" if searcher == "cmaes" else BOTH
    line = f"searcher: {{name: {searcher}, trials: 12, startup_trials: 4}}\n"
    space = space_of(tmp_path, objective + CONDITIONAL + line)
    path = tmp_path / "ledger.journal"
    _search(space, path, stopped=False)
    study = Ledger(path, space).study("default")
    row = study.get_trials(deepcopy=False)[-1]
    modelled = study.sampler.infer_relative_search_space(study, row)
    assert "method.temperature" in modelled


def test_stopped_trials_rise_as_the_complete_ones_did_and_diverged_ones_are_the_worst() -> None:
    """Rises from epoch 4: 0.2, 0.3 and 0.4, so 0.3; the worst end is then 0.1 + 0.3."""
    distribution = optuna.distributions.FloatDistribution(0, 1)

    def row(
        number: int, state: TrialState, scores: dict[int, float], how: str = "complete"
    ) -> FrozenTrial:
        value = scores[12] if state == TrialState.COMPLETE else None
        trial = create_trial(
            state=state, value=value, params={"x": 0.5}, distributions={"x": distribution},
            intermediate_values=scores, user_attrs={"state": how},
        )  # fmt: skip
        trial.number = number
        return trial

    rows = [
        row(0, TrialState.COMPLETE, {4: 0.3, 12: 0.5}),
        row(1, TrialState.COMPLETE, {4: 0.3, 12: 0.6}),
        row(2, TrialState.COMPLETE, {4: 0.3, 12: 0.7}),
        row(3, TrialState.PRUNED, {4: 0.1}, "pruned"),
        row(4, TrialState.PRUNED, {4: 0.3}, "diverged"),
        row(5, TrialState.FAIL, {4: 0.3}, "failed"),
    ]
    seen = extended(rows)
    assert [r.state.name for r in seen] == ["COMPLETE"] * 5 + ["FAIL"]
    assert [r.values[0] for r in seen[:5]] == pytest.approx([0.5, 0.6, 0.7, 0.4, 0.4])
    assert rows[3].state == TrialState.PRUNED  # the ledger's own rows are as they were


def test_cmaes_goes_on_after_a_restart_and_leaves_no_pickle(tmp_path: Path) -> None:
    """Killed after 30 of 50 trials, it must not begin its generations anew."""
    line = "searcher: {name: cmaes, trials: 50, startup_trials: 6}\n"
    space, path = space_of(tmp_path, NUMBERS + line), tmp_path / "ledger.journal"
    _search(space, path, trials=30, stopped=False)
    rest = _search(space, path, stopped=False)
    assert "optimizer" not in path.read_text()
    rows = Ledger(path, space).finished("default")
    generations = [row.system_attrs.get("cma:generation", -1) for row in rows]
    assert generations == sorted(generations)
    assert generations[-1] >= 5
    assert _late_best(rest, 10) > 0.62


# -- how it starts ------------------------------------------------------------------------------


def _spread(proposed: list[dict[str, Any]]) -> list[int]:
    """In how many eighths of each range the first eight proposals lie."""
    places = [
        [math.log(p["optim.lr"] / 0.01) / math.log(30) for p in proposed],
        [(p["optim.momentum"] - 0.5) / 0.45 for p in proposed],
    ]
    return [len({int(8 * min(place, 0.999999)) for place in axis}) for axis in places]


@pytest.mark.parametrize("searcher", ["tpe", "random", "gp", "cmaes"])
def test_a_qmc_start_puts_one_of_eight_trials_into_each_eighth_of_every_range(
    searcher: str, tmp_path: Path
) -> None:
    """What a scrambled Sobol sequence is; eight random ones leave about a third empty."""
    line = f"searcher: {{name: {searcher}, trials: 8, startup: qmc, startup_trials: 8}}\n"
    space = space_of(tmp_path, NUMBERS + line)
    assert _spread(_search(space, tmp_path / "ledger.journal")) == [8, 8]


def test_a_qmc_start_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    line = "searcher: {name: random, trials: 8, startup: qmc}\n"
    space = space_of(tmp_path, NUMBERS + line)
    whole = _search(space, tmp_path / "whole.journal")
    first = _search(space, tmp_path / "killed.journal", trials=3)
    assert first + _search(space, tmp_path / "killed.journal") == whole


def test_a_qmc_start_knows_conditions_and_scenarios_get_points_of_their_own(
    tmp_path: Path,
) -> None:
    text = CONDITIONAL + "scenarios: {data.imbalance_ratio: [2, 5]}\n"
    space = space_of(tmp_path, text + "searcher: {name: tpe, trials: 8, startup: qmc}\n")
    ledger = Ledger(tmp_path / "ledger.journal", space)
    points = {s.name: [ledger.propose(s.name)[1] for _ in range(8)] for s in space.scenarios}
    one, other = points.values()
    assert one != other
    assert [p["method.name"] for p in one].count("srat") == 4
    assert all(("method.temperature" in p) is (p["method.name"] == "srat") for p in one)


@pytest.mark.parametrize("searcher", ["tpe", "random", "cmaes"])
def test_one_seed_proposes_the_same_and_another_something_else(
    searcher: str, tmp_path: Path
) -> None:
    def searched(seed: int, name: str) -> list[dict[str, Any]]:
        line = f"searcher: {{name: {searcher}, trials: 9, seed: {seed}}}\n"
        return _search(space_of(tmp_path, NUMBERS + line), tmp_path / name)

    assert searched(0, "a") == searched(0, "b") != searched(1, "c")


def test_entries_of_start_from_are_parents_of_the_first_generation(tmp_path: Path) -> None:
    text = BOTH + NUMBERS + "start_from: [{optim.lr: 0.1, optim.momentum: 0.9}]\n"
    space = space_of(tmp_path, text + "searcher: {name: nsga2, trials: 3}\n")
    _search(space, tmp_path / "ledger.journal", stopped=False)
    row = Ledger(tmp_path / "ledger.journal", space).finished("default")[0]
    assert row.system_attrs["NSGAIISampler:generation"] == 0


def test_a_grid_is_never_asked_of_optuna(tmp_path: Path) -> None:
    text = "tuned: {optim.lr: {type: categorical, choices: [0.1, 0.2]}}\nsearcher: {name: grid}\n"
    sampler = build_sampler(space_of(tmp_path, text), place=0, rows=0)
    assert type(sampler) is optuna.samplers.RandomSampler


# -- several objectives and bounds --------------------------------------------------------------


def _ended(space: Space, path: Path, results: list[tuple[float, float]]) -> Ledger:
    """A ledger with complete trials of these (robust, clean) accuracies."""
    ledger = Ledger(path, space)
    for robust, clean in results:
        number, _ = ledger.propose("default")
        outcome = Outcome("complete", 12, metrics={METRIC: robust, CLEAN: clean})
        ledger.finish("default", number, outcome, robust)
    return ledger


def test_an_infeasible_trial_never_wins_whatever_it_scores(tmp_path: Path) -> None:
    space = space_of(tmp_path, BOUND + NUMBERS)
    results = [(0.6, 0.65), (0.4, 0.8), (0.5, 0.7)]
    ledger = _ended(space, tmp_path / "ledger.journal", results)
    assert [row.number for row in ranking(ledger, "default")] == [2, 1]
    assert infeasible(space, ledger, "default") == ""


def test_where_nothing_is_feasible_the_nearest_is_named(tmp_path: Path) -> None:
    space = space_of(tmp_path, BOUND + NUMBERS)
    ledger = _ended(space, tmp_path / "ledger.journal", [(0.6, 0.65), (0.4, 0.68)])
    assert ranking(ledger, "default") == []
    assert infeasible(space, ledger, "default") == (
        "no trial wins: none of the 2 complete trials reaches objective.at_least "
        "(val/clean_acc 0.7); t0001 comes nearest, with val/clean_acc 0.680"
    )


def test_the_first_objective_ranks_and_the_front_is_what_nothing_beats(tmp_path: Path) -> None:
    """The third is beaten by the first, the fifth is as good as the second and later."""
    space = space_of(tmp_path, BOTH + NUMBERS)
    results = [(0.6, 0.7), (0.5, 0.8), (0.55, 0.7), (0.3, 0.9), (0.5, 0.8)]
    ledger = _ended(space, tmp_path / "ledger.journal", results)
    assert [row.number for row in ranking(ledger, "default")] == [0, 2, 1, 4, 3]
    assert [row.number for row in front(ledger, "default")] == [0, 1, 3]


def test_a_complete_trial_without_a_bounded_metric_has_failed(tmp_path: Path) -> None:
    space = space_of(tmp_path, BOUND + NUMBERS)
    ledger = Ledger(tmp_path / "ledger.journal", space)
    number, _ = ledger.propose("default")
    ledger.finish("default", number, Outcome("complete", 12, metrics={METRIC: 0.5}), 0.5)
    assert [row.state for row in ledger.finished("default")] == [TrialState.FAIL]
    assert ranking(ledger, "default") == []
