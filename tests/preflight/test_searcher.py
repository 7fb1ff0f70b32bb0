"""What a searcher cannot do is refused before the start; what it does oddly is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.errors import SpaceError
from ltat_tune.preflight.load import load_space
from ltat_tune.space.space import Space
from tests.spaces import space_of

NUMBERS = "tuned:\n  optim.lr: {type: float, low: 0.01, high: 0.3, log: true}\n"
CHOICE = "  loss.name: {type: categorical, choices: [cross_entropy, focal]}\n"
STOPS_NONE = "scheduler: {name: none}\n"


def _problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        space_of(folder, text)
    return [problem.replace(f"{folder / 'space.yaml'}:", "") for problem in caught.value.problems]


def _notes(folder: Path, text: str) -> list[str]:
    space: Space = space_of(folder, text)
    return [note for note in space.notes if note.startswith("searcher.")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"{NUMBERS}confirm: {{seeds: [0, 4]}}\n",
            "3: confirm.seeds must not hold 0, with which the search trains: it picks "
            "configurations for their luck with it; write [4, 5], got [0, 4]",
        ),
        (
            f"{NUMBERS}confirm: {{seeds: [1, 2, 3]}}\nsearcher: {{seeds_per_trial: 3}}\n",
            "3: confirm.seeds must not hold 1, 2, with which the search trains: it picks "
            "configurations for their luck with it; write [3, 4, 5], got [1, 2, 3]",
        ),
        (
            f"{NUMBERS}scheduler: {{rungs: prefix, fidelity: {{attack.steps: [3]}}}}\n",
            "3: scheduler.fidelity applies to the copies of scheduler.rungs copy, but this study "
            "has none; write rungs: copy, or leave fidelity out",
        ),
        (
            f"fixed: {{attack.steps: 10, optim.epochs: 80}}\n{NUMBERS}"
            "scheduler: {rungs: copy, fidelity: {attack.steps: [3, 20]}}\n"
            "searcher: {name: tpe}\n",
            "4: scheduler.fidelity: attack.steps must have at most 2 values (for copies of 20 "
            "and 40 epochs), none above 10, got [3, 20]",
        ),
        (
            f"{NUMBERS}scheduler: {{rungs: copy, fidelity: {{attack.steps: [5, 3]}}}}\n",
            "3: scheduler.fidelity must give attack.steps whole numbers from 1 on that do not "
            "fall, got [5, 3]",
        ),
        (
            f"{NUMBERS}searcher: {{name: nsga2}}\n",
            "3: searcher.name nsga2 trades off several objectives, but there is only "
            "val/pgd20_balanced_acc; name others under objective.also, or use tpe",
        ),
        (
            f"objective: {{also: [val/clean_acc]}}\n{NUMBERS}searcher: {{name: cmaes}}\n",
            "4: searcher.name cmaes takes one objective, but objective.also names val/clean_acc; "
            "use tpe, gp, nsga2 or nsga3",
        ),
        (
            f"objective: {{at_least: {{val/clean_acc: 0.7}}}}\n{NUMBERS}"
            "searcher: {name: cmaes}\n",
            "4: searcher.name cmaes cannot keep bounds, but objective.at_least has val/clean_acc; "
            "use tpe or gp",
        ),
        (
            f"tuned:\n{CHOICE}searcher: {{name: cmaes}}\n",
            "3: searcher.name cmaes searches ranges, but every tuned parameter is categorical: "
            "loss.name; use tpe, or grid to try all choices",
        ),
        (
            f"tuned:\n{CHOICE}searcher: {{name: grid, startup: qmc}}\n",
            "3: searcher.startup must be random with searcher.name grid, which samples nothing, "
            "got qmc; leave it out",
        ),
        (
            f"objective: {{also: [val/cw20_acc]}}\n{NUMBERS}",
            "1: objective.also names val/cw20_acc, but evaluation.val_attack pgd20 is the only "
            "attack on validation images; name a metric of clean or pgd20",
        ),
        (
            f"objective: {{at_least: {{val/pgd10_acc: 0.4}}}}\n{NUMBERS}",
            "1: objective.at_least names val/pgd10_acc, but evaluation.val_attack pgd20 is the "
            "only attack on validation images; name a metric of clean or pgd20",
        ),
        (
            f"objective: {{also: [val/pgd20_balanced_acc]}}\n{NUMBERS}",
            "1: objective.also must be different metrics, and none of them objective.metric "
            "itself, got val/pgd20_balanced_acc",
        ),
        (
            f"objective: {{also: [test/clean_acc]}}\n{NUMBERS}",
            "1: objective.also must be a validation metric, because the test images are looked at "
            "once, at the end; got test/clean_acc, write val/clean_acc",
        ),
        (
            f"objective: {{at_least: {{val/clean_acc: 75}}}}\n{NUMBERS}",
            "1: objective.at_least must hold accuracies above 0 and at most 1, got "
            "val/clean_acc: 75; did you mean 0.75?",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_rule_value_and_remedy(
    text: str, problem: str, tmp_path: Path
) -> None:
    assert _problems(tmp_path, text) == [problem]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            f"{NUMBERS}{CHOICE}{STOPS_NONE}searcher: {{name: cmaes}}\n",
            "searcher.name cmaes models only ranges and draws loss.name at random to the end; "
            "tpe and gp also learn choices",
        ),
        (
            f"{NUMBERS}searcher: {{name: gp}}\n",
            "searcher.name gp extrapolates trials that were stopped early: it assumes that they "
            "would have risen like the complete ones",
        ),
        (
            f"objective: {{also: [val/clean_acc]}}\n{NUMBERS}searcher: {{name: nsga3}}\n",
            "searcher.name nsga3 learns only from complete trials here, but scheduler.name asha "
            "stops most trials early; use tpe, which learns from those too, or set scheduler.name "
            "none",
        ),
        (
            f"{NUMBERS}searcher: {{trials: 10, startup_trials: 10}}\n",
            "searcher.startup_trials is 10 and searcher.trials 10: the search ends before "
            "searcher.name predict models anything",
        ),
        (
            f"{NUMBERS}searcher: {{name: predict, branches: 4}}\n",
            "searcher.branches 4 has no effect with searcher.name predict, which counts what a "
            "stem saves in the cost of each training",
        ),
    ],
)
def test_what_a_searcher_does_oddly_is_said(text: str, note: str, tmp_path: Path) -> None:
    assert _notes(tmp_path, text) == [note]


@pytest.mark.parametrize("searcher", ["predict", "tpe", "random", "gp", "nsga2", "nsga3"])
def test_what_works_is_said_nothing_of(searcher: str, tmp_path: Path) -> None:
    objective = "objective: {also: [val/clean_acc], at_least: {val/clean_tail_acc: 0.1}}\n"
    text = f"{objective}{NUMBERS}{CHOICE}{STOPS_NONE}searcher: {{name: {searcher}}}\n"
    assert _notes(tmp_path, text) == []
    assert space_of(tmp_path, text).objective.metrics == (
        "val/pgd20_balanced_acc", "val/clean_acc", "val/clean_tail_acc",
    )  # fmt: skip


def test_a_smoke_run_measures_every_objective_with_its_few_steps(tmp_path: Path) -> None:
    """And keeps no bound: after two epochs nothing would be left to win."""
    objective = "objective: {also: [val/pgd20_tail_acc], at_least: {val/pgd20_acc: 0.4}}\n"
    path = tmp_path / "space.yaml"
    path.write_text(f"{objective}{NUMBERS}searcher: {{name: nsga2}}\n")
    space = load_space(path, check_machine=False, smoke=True)
    assert space.objective.metrics == ("val/pgd2_balanced_acc", "val/pgd2_tail_acc")


def test_without_seeds_the_confirmations_take_those_after_the_search_s(tmp_path: Path) -> None:
    assert space_of(tmp_path, NUMBERS).confirm_seeds == (1, 2, 3)
    several = "searcher: {seeds_per_trial: 2}\nfixed: {seeds.seed: 4}\n"
    assert space_of(tmp_path, NUMBERS + several).confirm_seeds == (6, 7, 8)


def test_where_every_configuration_is_confirmed_the_search_s_seed_may_be_one(
    tmp_path: Path,
) -> None:
    grid = "tuned:\n" + CHOICE + "searcher: {name: grid}\nconfirm: {seeds: [0, 1], top: 2}\n"
    assert space_of(tmp_path, grid + STOPS_NONE).fresh_seeds == (0, 1)
    stops_some = grid + "fixed: {optim.epochs: 30}\n"
    (problem,) = _problems(tmp_path, stops_some)
    assert "confirm.seeds must not hold 0" in problem
    (problem,) = _problems(tmp_path, (grid + STOPS_NONE).replace("top: 2", "top: 1"))
    assert "confirm.seeds must not hold 0" in problem
