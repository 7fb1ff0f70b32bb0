"""Rungs against epochs worked by hand: behind what makes a score noise, then spaced by eta."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.study.rungs import Rungs, place_rungs
from tests.study.spaces import space_of

LR = "optim.lr: {type: float, low: 0.01, high: 0.3}"
DRW = "reweight.name: {type: categorical, choices: [none, class_balanced]}"


def _rungs(folder: Path, fixed: str, scheduler: str, tuned: str = LR) -> Rungs:
    text = f"fixed: {{{fixed}}}\ntuned:\n  {tuned}\nscheduler: {{{scheduler}}}\n"
    return place_rungs(space_of(folder, text))


def test_without_a_scheduler_there_is_no_rung(tmp_path: Path) -> None:
    assert _rungs(tmp_path, "optim.epochs: 80", "name: none") == Rungs((), ())


@pytest.mark.parametrize(
    ("epochs", "eta", "rungs"),
    [(81, 3, (27,)), (80, 3, (27,)), (12, 3, (4,)), (100, 2, (50,)), (3, 3, (1,)), (2, 2.5, (1,))],
)
def test_without_drops_the_first_rung_is_a_share_of_1_by_eta(
    epochs: int, eta: float, rungs: tuple[int, ...], tmp_path: Path
) -> None:
    fixed = f"optim.lr_schedule: cosine, optim.epochs: {epochs}"
    assert _rungs(tmp_path, fixed, f"reduction_factor: {eta}") == Rungs(rungs, ())


def test_rungs_are_spaced_by_eta_from_the_grace_epochs_on(tmp_path: Path) -> None:
    fixed = "optim.lr_schedule: constant, optim.epochs: 27"
    assert _rungs(tmp_path, fixed, "grace_epochs: 1, reduction_factor: 3").epochs == (1, 3, 9)


@pytest.mark.parametrize("eta", ["1.5", "1.000001"])
def test_rungs_rise_strictly_however_small_eta_is(eta: str, tmp_path: Path) -> None:
    fixed = "optim.lr_schedule: constant, optim.epochs: 6"
    rungs = _rungs(tmp_path, fixed, f"grace_epochs: 1, reduction_factor: {eta}").epochs
    assert rungs == ((1, 2, 3, 4) if eta == "1.5" else (1, 2, 3, 4, 5))


def test_the_first_rung_lies_a_tenth_of_the_run_behind_the_first_drop(tmp_path: Path) -> None:
    # REAT: drops at 60 and 75 of 80; 60 + 80 // 10 = 68.
    note = (
        "no trial is stopped before epoch 68: the first learning-rate drop acts from epoch 61, "
        "and its effect must show"
    )
    found = _rungs(tmp_path, "optim.epochs: 80", "reduction_factor: 3")
    assert found == Rungs((68,), (note,))


def test_the_first_rung_lies_behind_the_deferral_of_tuned_weights(tmp_path: Path) -> None:
    # SRAT: weights from 160 of 200; 160 + 20 = 180.
    fixed = "optim.lr_schedule: cosine, optim.epochs: 200"
    note = (
        "no trial is stopped before epoch 180: reweight.name acts from epoch 161, and its effect "
        "must show"
    )
    assert _rungs(tmp_path, fixed, "reduction_factor: 3", DRW) == Rungs((180,), (note,))


def test_a_tuned_start_of_the_weights_counts_with_its_latest_value(tmp_path: Path) -> None:
    fixed = "optim.lr_schedule: cosine, optim.epochs: 100, reweight.name: inverse"
    tuned = "reweight.start_fraction: {type: float, low: 0.3, high: 0.8}"
    assert _rungs(tmp_path, fixed, "reduction_factor: 3", tuned).epochs == (90,)


def test_weights_that_all_trials_share_move_no_rung(tmp_path: Path) -> None:
    fixed = "optim.lr_schedule: cosine, optim.epochs: 200, reweight.name: class_balanced"
    assert _rungs(tmp_path, fixed, "reduction_factor: 4") == Rungs((50,), ())


def test_grace_epochs_before_the_drop_are_kept_and_marked(tmp_path: Path) -> None:
    assert _rungs(tmp_path, "optim.epochs: 80", "grace_epochs: 10") == Rungs(
        (10, 30),
        (
            "the first rung stays at epoch 10, as asked, but the first learning-rate drop acts "
            "from epoch 61: what it stops there is stopped by luck",
        ),
    )


def test_grace_epochs_behind_the_drop_need_no_word(tmp_path: Path) -> None:
    assert _rungs(tmp_path, "optim.epochs: 80", "grace_epochs: 61") == Rungs((61,), ())


def test_where_no_rung_fits_no_trial_is_stopped_and_that_is_told(tmp_path: Path) -> None:
    fixed = "optim.lr_schedule: cosine, optim.epochs: 20, reweight.start_fraction: 0.95"
    assert _rungs(tmp_path, fixed, "reduction_factor: 3", DRW) == Rungs(
        (),
        ("no trial is stopped early: no rung fits before the last of 20 epochs",),
    )
