"""Rungs against epochs worked by hand: behind what makes a score noise, then spaced by eta."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.search.rungs import Rungs, copy_cost, place_rungs
from tests.spaces import space_of

TPE = "searcher: {name: tpe}\n"
LR = "optim.lr: {type: float, low: 0.01, high: 0.3}"
DRW = "reweight.name: {type: categorical, choices: [none, class_balanced]}"


def _rungs(folder: Path, fixed: str, scheduler: str, tuned: str = LR) -> Rungs:
    kind = "" if "rungs:" in scheduler else ", rungs: prefix"
    text = f"fixed: {{{fixed}}}\ntuned:\n  {tuned}\nscheduler: {{{scheduler}{kind}}}\n{TPE}"
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
        "no trial is stopped early before epoch 68: the first learning-rate drop acts only from "
        "epoch 61, and its effect must show first"
    )
    found = _rungs(tmp_path, "optim.epochs: 80", "reduction_factor: 3")
    assert found == Rungs((68,), (note,))


def test_the_first_rung_lies_behind_the_deferral_of_tuned_weights(tmp_path: Path) -> None:
    # SRAT: weights from 160 of 200; 160 + 20 = 180.
    fixed = "optim.lr_schedule: cosine, optim.epochs: 200"
    note = (
        "no trial is stopped early before epoch 180: reweight.name acts only from epoch 161, and "
        "its effect must show first"
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
            "the first rung stays at epoch 10, as you asked, but the first learning-rate drop "
            "acts only from epoch 61: a trial that stops there stops by chance",
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


# -- copies, probes, and which of them ----------------------------------------------------------


def test_copies_are_a_quarter_and_half_of_the_run(tmp_path: Path) -> None:
    found = _rungs(tmp_path, "optim.epochs: 80", "rungs: copy")
    assert (found.copies, found.epochs, found.probes) == ((20, 40), (), ())
    assert _rungs(tmp_path, "optim.epochs: 30", "rungs: copy").copies == (8, 16)  # 7.5, 15
    found = _rungs(tmp_path, "optim.epochs: 80", "rungs: copy, grace_epochs: 10")
    assert found.copies == (10, 20, 40)


def test_probes_lie_before_what_acts_late_and_a_prefix_rung_behind_it(tmp_path: Path) -> None:
    # a tenth of 80, then times 3, while before the first drop at 60; behind it 60 + 8
    found = _rungs(tmp_path, "optim.epochs: 80", "rungs: probe")
    assert (found.probes, found.epochs, found.probe_epochs) == ((8, 24), (68,), 3)
    found = _rungs(tmp_path, "optim.epochs: 80", "rungs: probe, grace_epochs: 5, probe_epochs: 2")
    assert (found.probes, found.epochs, found.probe_epochs) == ((5, 15, 45), (68,), 2)


def test_a_trial_is_judged_by_what_its_rung_is() -> None:
    rungs = Rungs((8,), (), probes=(2,), probe_epochs=1)
    metrics = {"val/pgd20_acc": 0.4, "probe/pgd20_acc": 0.6}
    scores = [rungs.score(epoch, metrics, "val/pgd20_acc") for epoch in (1, 2, 8)]
    assert scores == [None, 0.6, 0.4]
    assert Rungs((), (), copies=(4,)).score(4, metrics, "val/pgd20_acc") is None
    assert Rungs((8,), ()).score(3, metrics, "val/pgd20_acc") == 0.4


@pytest.mark.parametrize(
    ("fixed", "scheduler", "copies"),
    [
        ("optim.epochs: 80", "rungs: auto", True),  # the first drop is at 60
        ("optim.epochs: 80, optim.milestones: [0.3]", "rungs: auto", False),  # 24 + 8
        ("optim.epochs: 80, optim.lr_schedule: cosine", "rungs: auto", False),
        ("optim.epochs: 6", "rungs: auto", False),
        ("optim.epochs: 80", "rungs: auto, grace_epochs: 61", False),
        ("optim.epochs: 80", "rungs: auto, name: median", False),
    ],
)
def test_auto_copies_where_a_prefix_would_be_judged_late(
    fixed: str, scheduler: str, copies: bool, tmp_path: Path
) -> None:
    assert bool(_rungs(tmp_path, fixed, scheduler).copies) == copies


@pytest.mark.parametrize(
    ("fixed", "scheduler", "steps"),
    [
        ("attack.steps: 10", "rungs: copy", (2,)),  # a fifth
        ("attack.steps: 20", "rungs: auto", (4,)),
        ("attack.steps: 7", "rungs: copy", (2,)),  # one step would be another attack
        ("attack.steps: 3", "rungs: copy", ()),  # nothing to save
        ("attack.steps: 10", "rungs: copy, fidelity: {}", ()),
        ("attack.steps: 10", "rungs: copy, fidelity: {attack.steps: [3, 5]}", (3, 5)),
        ("attack.steps: 10", "rungs: prefix", ()),  # what trains on keeps its own attack
        ("method.name: natural", "rungs: copy", ()),
    ],
)
def test_the_shortest_copies_are_cheap_unless_it_is_said_otherwise(
    fixed: str, scheduler: str, steps: tuple[int, ...], tmp_path: Path
) -> None:
    text = f"fixed: {{optim.epochs: 80, {fixed}}}\ntuned:\n  {LR}\nscheduler: {{{scheduler}}}\n"
    space = space_of(tmp_path, text + TPE)
    assert space.scheduler.fidelity == ({"attack.steps": steps} if steps else {})
    for length, number in zip((20, 40), steps, strict=False):
        (note,) = place_rungs(space).notes
        assert f"those of {length} with {number} attack steps" in note


def test_the_cheapest_attack_that_may_be_proposed_decides(tmp_path: Path) -> None:
    tuned = f"{LR}\n  attack.steps: {{type: categorical, choices: [5, 10, 40]}}"
    text = f"tuned:\n  {tuned}\nscheduler: {{rungs: copy}}\n"
    assert space_of(tmp_path, text).scheduler.fidelity == {"attack.steps": (2,)}


# -- what counts, and what a copy must hold ------------------------------------------------------

METHODS = "method.name: {type: categorical, choices: [pgd_at, srat]}"


def test_weights_that_only_one_method_brings_by_default_move_the_first_rung(
    tmp_path: Path,
) -> None:
    # SRAT's deferred weights act from 0.8 * 20 = 16 on; 16 + 20 // 10 = 18
    fixed = "optim.lr_schedule: cosine, optim.epochs: 20"
    found = _rungs(tmp_path, fixed, "reduction_factor: 3", METHODS)
    assert found.epochs == (18,)
    assert "reweight." in found.notes[0] and "acts only from epoch 17" in found.notes[0]
    auto = _rungs(tmp_path, fixed, "rungs: auto", METHODS)
    assert auto.copies == (5, 10)
    # without class weights both methods are alike from the first epoch on
    plain = _rungs(tmp_path, f"{fixed}, reweight.name: none", "reduction_factor: 3", METHODS)
    assert plain.epochs == (7,)


def test_a_copy_lasts_until_everything_that_counts_has_begun(tmp_path: Path) -> None:
    # the weights begin at round(0.8 * n): not in 2 of 8 epochs (1.6), but in 3 (2.4)
    fixed = "optim.lr_schedule: cosine, optim.epochs: 8"
    assert _rungs(tmp_path, fixed, "rungs: copy", METHODS).copies == (3,)
    # a drop at 0.9375 has too little of the run behind it to count: round(7.5) = 8 of 8 epochs
    assert _rungs(tmp_path, "optim.epochs: 30", "rungs: copy").copies == (8, 16)


def test_copies_that_cannot_be_small_versions_are_refused_with_the_reason(tmp_path: Path) -> None:
    fixed = "optim.lr_schedule: cosine, optim.epochs: 8"
    found = _rungs(tmp_path, fixed, "rungs: copy, grace_epochs: 2", METHODS)
    assert found == Rungs(
        (),
        ("no copies are trained: the start of reweight.name (epoch 7 of 8) would be missing from "
         "copies of 2 epochs",),
    )  # fmt: skip
    predicted = f"fixed: {{{fixed}}}\ntuned:\n  {METHODS}\nsearcher: {{name: predict}}\n"
    assert place_rungs(space_of(tmp_path, predicted)).copies == (3,)


def test_drops_that_merge_in_a_copy_make_it_longer(tmp_path: Path) -> None:
    # of 8 epochs, a drop after 0.2 is at 2; of 2, round(0.4) = 0, at the start, and that is fine;
    # a drop after 0.8 is at 6; of 2 it is at 2 = the end, of 3 at 2
    fixed = "optim.epochs: 8, optim.milestones: [0.2, 0.8]"
    assert _rungs(tmp_path, fixed, "rungs: copy").copies == (3,)


# -- the copies of predict ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduler", "copies", "epochs"),
    [
        ("name: asha", (20,), ()),
        ("rungs: copy, grace_epochs: 10", (10,), ()),
        ("rungs: prefix", (), (68,)),
        ("name: none", (), ()),
        ("name: median", (), (68,)),
    ],
)
def test_predict_trains_copies_of_one_length_unless_other_rungs_are_asked_for(
    scheduler: str, copies: tuple[int, ...], epochs: tuple[int, ...], tmp_path: Path
) -> None:
    text = (
        f"fixed: {{optim.epochs: 80}}\ntuned:\n  {LR}\nsearcher: {{name: predict}}\n"
        f"scheduler: {{{scheduler}}}\n"
    )
    found = place_rungs(space_of(tmp_path, text))
    assert (found.copies, found.epochs) == (copies, epochs)


def test_a_copy_costs_its_share_of_epochs_and_passes(tmp_path: Path) -> None:
    base = f"tuned:\n  {LR}\nsearcher: {{name: predict}}\n"
    costs = []
    for steps, scheduler in (("10", ""), ("10", "fidelity: {}"), ("3", "")):
        fixed = f"fixed: {{optim.epochs: 80, attack.steps: {steps}}}\n"
        space = space_of(tmp_path, f"{fixed}{base}scheduler: {{{scheduler}}}\n")
        costs.append(copy_cost(space, place_rungs(space)))
    # 20 of 80 epochs; 2 + 1 of 10 + 1 passes; all passes
    assert costs == [pytest.approx(0.25 * 3 / 11), 0.25, 0.25]
    assert copy_cost(space, Rungs((), ())) == 0.0
