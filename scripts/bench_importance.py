"""Measures how often a parameter is called important where none is, and where one is.

    python scripts/bench_importance.py            # the table of scripts/README.md
    python scripts/bench_importance.py --smoke    # only whether it runs

No training: Optuna proposes the parameters of a study, and a formula with noise gives the scores.
The decision is the shipped one (`ltat_tune.results.importance.corrected_p`). In the null studies
the scores are noise alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna

from ltat_tune.results.importance import CLEAR_P, corrected_p, judged

RATE, KIND = "optim.lr", "method.name"
SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
}


@dataclass(frozen=True)
class Truth:
    """What acts on the scores beside noise of standard deviation 1.

    Attributes:
        acting: the parameter that acts; empty if none does.
        effect: parameters -> its part of the score, with a standard deviation of 1 over random
            proposals, so that it explains half of the variance.
    """

    acting: str
    effect: Callable[[Mapping[str, Any]], float]


TRUTHS = {
    "nothing acts": Truth("", lambda params: 0.0),
    # log10 of the rate is uniform over [-3, 0], with a standard deviation of 3 / sqrt(12)
    "learning rate": Truth(RATE, lambda params: np.log10(params[RATE]) / (3 / np.sqrt(12))),
    # one choice of three gives 0, the others 1: a variance of 2/9
    "method": Truth(KIND, lambda params: (params[KIND] != "trades") / np.sqrt(2 / 9)),
}


def clear_in(sampler: str, truth: str, trials: int, seed: int) -> set[str]:
    """Simulates a study and returns what the test finds.

    It has three ranges, a choice, and a range that one value of the choice alone has.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    noise = np.random.default_rng([20261129, seed])
    simulated = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed))

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float(RATE, 1e-3, 1.0, log=True)
        trial.suggest_float("optim.weight_decay", 0.0, 1.0)
        trial.suggest_float("loss.tau", 0.5, 2.0)
        if trial.suggest_categorical(KIND, ["trades", "srat", "pgd_at"]) == "trades":
            trial.suggest_float("method.beta", 1.0, 10.0)
        return float(TRUTHS[truth].effect(trial.params) + noise.normal())

    simulated.optimize(objective, n_trials=trials)
    _, scored = judged(simulated.get_trials(deepcopy=False))
    paths = list(dict.fromkeys(path for row, _ in scored for path in row.params))
    return {path for path, p in corrected_p(scored, paths, seed=seed).items() if p <= CLEAR_P}


def line(sampler: str, truth: str, found: list[set[str]]) -> str:
    """One line of the table."""
    acting = TRUTHS[truth].acting
    hits, others = (sum(map(bool, sets)) / len(found) for sets in (
        [clear & {acting} for clear in found], [clear - {acting} for clear in found]
    ))  # fmt: skip
    error = np.sqrt(others * (1 - others) / len(found))
    hit = f"{100 * hits:.1f} %" if acting else "–"
    return (f"{sampler:9} {truth:15} {len(found):7} {hit:>15} "
            f"{100 * others:15.1f} % ± {100 * error:.1f}")  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Prints a row for each searcher and truth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help="for each line")
    parser.add_argument("--trials", type=int, default=30, help="of a study")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--smoke", action="store_true", help="20 studies of 12 trials each")
    given = parser.parse_args(arguments)
    studies, trials = (20, 12) if given.smoke else (given.studies, given.trials)
    print(f"{studies} studies of {trials} trials, five parameters, one test at {CLEAR_P:.0%} each")
    print("searcher  what acts       studies  that is clear  another is clear (std. err.)")
    with ProcessPoolExecutor(given.jobs) as pool:
        for truth in TRUTHS:
            for sampler in SAMPLERS:
                simulate = partial(clear_in, sampler, truth, trials)
                found = list(pool.map(simulate, range(studies), chunksize=20))
                print(line(sampler, truth, found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
