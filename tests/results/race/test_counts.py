"""What each choice was given, counted from the rows of a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.special import ndtr

from ltat_tune.preflight.load import load_space
from ltat_tune.results.race.choice import ChoiceCounts
from ltat_tune.results.race.counts import choice_counts
from ltat_tune.results.wording import race_rows
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Outcome
from tests.drive import MINI, write_space

NAME = "imbalance_ratio_2"
METRIC = MINI["objective"]["metric"]
TUNED: dict[str, Any] = {
    "method.name": {"type": "categorical", "choices": ["pgd_at", "trades", "srat"]},
    "method.beta": {"type": "float", "low": 1.0, "high": 9.0, "when": {"method.name": "trades"}},
    "optim.lr": {"type": "float", "low": 0.01, "high": 0.3},
}  # fmt: skip


def _ended(folder: Path, *ends: tuple[str, str, float | None]) -> tuple[Space, Ledger]:
    """A ledger whose trials have this method, state and score; each trained 6 epochs or 2."""
    searcher = {"trials": 12, "at_least": {"method.name": 2}}
    path = write_space(folder, tuned=TUNED, start_from=[], searcher=searcher)
    space = load_space(path, check_machine=False, allow_inert=True)
    ledger = Ledger(folder / "ledger.journal", space)
    for place, (method, state, score) in enumerate(ends):
        number, _ = ledger.propose(NAME, {"method.name": method, "optim.lr": 0.02 + place / 100})
        metrics = None if score is None else {METRIC: score}
        epochs = 6 if state == "complete" else 2
        ledger.finish(NAME, number, Outcome(state, epochs, "", metrics), score)  # type: ignore[arg-type]
    return space, ledger


def test_it_counts_trials_whole_ones_epochs_and_the_best(tmp_path: Path) -> None:
    space, ledger = _ended(
        tmp_path, ("pgd_at", "complete", 0.5), ("pgd_at", "complete", 0.6),
        ("pgd_at", "pruned", None), ("trades", "complete", 0.6), ("trades", "failed", None),
        ("trades", "complete", 0.4),
    )  # fmt: skip
    scenario = space.scenario(NAME)
    pgd_at, trades, srat = choice_counts(space, scenario, ledger.finished(NAME), [])
    assert (pgd_at.trials, pgd_at.complete, pgd_at.owed, pgd_at.epochs) == (3, 2, 0, 14)
    assert (trades.trials, trades.complete, trades.epochs, trades.best) == (3, 2, 14, 0.6)
    assert (srat.trials, srat.owed, srat.best, srat.chance) == (0, 2, None, None)
    assert pgd_at.chance is not None and pgd_at.chance > 0.5  # its other trial is better
    assert pgd_at.chance + (trades.chance or 0.0) == pytest.approx(1, abs=1e-3)


def test_the_noise_is_that_of_the_validation_images(tmp_path: Path) -> None:
    """Two trials at 60 and 52 % of 100 images: each has a variance of 0.56 * 0.44 / 100."""
    space, ledger = _ended(tmp_path, ("pgd_at", "complete", 0.6), ("trades", "complete", 0.52))
    pgd_at, _, _ = choice_counts(space, space.scenario(NAME), ledger.finished(NAME), [])
    expected = ndtr(0.08 / (2 * 0.56 * 0.44 / 100) ** 0.5)
    assert pgd_at.chance == pytest.approx(expected, abs=1e-3)


def test_a_diverged_trial_is_not_owed_again(tmp_path: Path) -> None:
    space, ledger = _ended(tmp_path, ("srat", "diverged", None), ("srat", "complete", 0.3))
    srat = choice_counts(space, space.scenario(NAME), ledger.finished(NAME), [])[-1]
    assert (srat.complete, srat.owed, srat.chance) == (1, 0, None)


def test_the_table_says_what_is_missing() -> None:
    one = ChoiceCounts(path="method.name", choice="srat", trials=3, complete=1, owed=1, epochs=20,
                       best=0.612, chance=0.07)  # fmt: skip
    old = ChoiceCounts(path="loss.name", choice="ldam", trials=1, complete=0)
    assert race_rows([one, old]) == [
        ["method.name srat", "3", "1 (1 owed)", "20", "61.2", "7"],
        ["loss.name ldam", "1", "0", "0", "-", "-"],
    ]
