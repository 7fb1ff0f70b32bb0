"""What a study will take, by hand for small ones; the space files' own cost lines."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.planning.cost import cost_of
from ltat_tune.planning.estimate import (
    Calibration,
    confirmation_epochs,
    estimate,
    least_epochs,
    long_study_note,
)
from ltat_tune.preflight.load import load_space
from ltat_tune.search.rungs import Rungs
from ltat_tune.space.space import Space
from tests.drive import MINI, write_space

ROOT = Path(__file__).parent.parent.parent
NO_RUNGS = Rungs((), ())
MEASURED = Calibration(pass_s=0.001, memory_mib=100, epoch_s=1, gpu=False)


def _space(folder: Path, **changes: Any) -> Space:
    """Two scenarios of four trials of six epochs; two seeds of one winner and the baseline."""
    return load_space(write_space(folder, **changes), check_machine=False)


def test_confirmations_train_every_seed_but_the_trials_own(tmp_path: Path) -> None:
    # winner and baseline with two seeds that the search does not use
    assert confirmation_epochs(_space(tmp_path)) == (4, 4 * 6, 0)
    assert confirmation_epochs(_space(tmp_path, start_from=[])) == (2, 2 * 6, 0)
    assert confirmation_epochs(_space(tmp_path, confirm={"top": 0})) == (0, 0, 0)
    # a list whose two entries are both confirmed may use the trials' own seed
    listed = _space(
        tmp_path, searcher={"name": "list"}, scheduler={"name": "none"},
        confirm={**MINI["confirm"], "top": 2, "seeds": [0, 1]},
    )  # fmt: skip
    assert confirmation_epochs(listed) == (4, 2 * 6, 0)


def test_the_least_is_a_trial_and_its_confirmations_in_every_scenario(tmp_path: Path) -> None:
    assert least_epochs(_space(tmp_path), NO_RUNGS) == 2 * (6 + 24)
    assert least_epochs(_space(tmp_path), Rungs((), (), copies=(2, 3))) == 2 * (2 + 3 + 6 + 24)


def test_epochs_and_seconds_of_a_study_without_rungs(tmp_path: Path) -> None:
    space = _space(tmp_path)
    found = estimate(space, NO_RUNGS, slots=2, measured=MEASURED)
    assert found.epochs == found.epochs_at_most == 2 * (4 * 6 + 4 * 6)
    first = found.scenarios[0]
    assert (first.trials, first.complete, first.tests) == (4, 4, 4 * 2)
    cost = cost_of(space.config(space.scenarios[0], {}), space.confirm.attacks)
    epoch_s = 0.001 * (cost.update + cost.validation / 2)  # validated every second epoch
    assert first.epoch_s == pytest.approx(epoch_s)
    assert first.seconds == pytest.approx(48 * epoch_s + 0.001 * 4 * cost.test)
    total = sum(s.seconds for s in found.scenarios)
    assert found.hours == pytest.approx(total / 3600 / 2)
    assert found.gpu_hours() is None


def test_a_study_that_validates_at_rungs_alone_pays_for_them_and_for_the_end(
    tmp_path: Path,
) -> None:
    fixed = {**MINI["fixed"], "evaluation.every_epochs": None}  # of 6 epochs
    space = _space(tmp_path, fixed=fixed)
    cost = cost_of(space.config(space.scenarios[0], {}), space.confirm.attacks)
    for rungs, validations in (((), 1), ((2,), 2), ((2, 4), 3)):
        found = estimate(space, Rungs(rungs, ()), slots=2, measured=MEASURED).scenarios[0]
        expected = 0.001 * (cost.update + cost.validation * validations / 6)
        assert found.epoch_s == pytest.approx(expected)


def test_a_second_opinion_on_every_training_costs_at_most_its_share(tmp_path: Path) -> None:
    without = estimate(_space(tmp_path), NO_RUNGS, slots=2, measured=MEASURED).scenarios[0]
    checked = _space(tmp_path, objective={**MINI["objective"], "second_opinion": True})
    found = estimate(checked, NO_RUNGS, slots=2, measured=MEASURED).scenarios[0]
    # six epochs of 3 steps and 1.5 passes an image pay for so many images; each takes 2 passes for
    # its gradients, 3 steps and 50 half passes
    images = int(0.08 * 6 * sum(found.samples_per_class) * 4.5 / 30)
    opinions = 0.001 * 8 * min(100, max(32, images)) * 30
    assert found.seconds - without.seconds == pytest.approx(opinions)


def test_trials_that_share_a_gpu_share_its_speed(tmp_path: Path) -> None:
    space = _space(tmp_path, resources={"gpus_per_trial": 0.25})
    found = estimate(space, NO_RUNGS, slots=4, measured=replace(MEASURED, gpu=True))
    assert found.gpus == 1  # where there is none, the one that the rule is about
    assert found.gpu_hours() == pytest.approx(sum(s.seconds for s in found.scenarios) / 3600)
    assert found.hours == pytest.approx(found.gpu_hours() or 0)


def test_cheap_copies_cost_less(tmp_path: Path) -> None:
    rungs = Rungs((), (), copies=(2,))
    scheduler = {"rungs": "copy", "reduction_factor": 2, "grace_epochs": 2}
    dear = estimate(_space(tmp_path, scheduler=scheduler), rungs, slots=1, measured=MEASURED)
    fidelity = {**scheduler, "fidelity": {"attack.steps": [1]}}
    cheap = estimate(_space(tmp_path, scheduler=fidelity), rungs, slots=1, measured=MEASURED)
    # eight epochs of copies, three attack steps and one: 4.5 and 2.5 passes an image
    saved = dear.scenarios[0].seconds - cheap.scenarios[0].seconds
    assert saved == pytest.approx(4 * 2 * dear.scenarios[0].epoch_s * (1 - 2.5 / 4.5))


def test_disk_holds_a_checkpoint_of_every_stage(tmp_path: Path) -> None:
    space = _space(tmp_path)
    cost = cost_of(space.config(space.scenarios[0], {}), space.confirm.attacks)
    found = estimate(space, NO_RUNGS, slots=1)
    assert found.disk_mib == pytest.approx(2 * (4 + 4) * cost.checkpoint_mib + cost.data_mib)


COST = re.compile(r"Cost: (?:about|up to) (\d+) GPU hours")


@pytest.mark.parametrize("name", ["trades", "awp", "srat", "papers/srat_table_02"])
def test_the_rule_agrees_with_what_the_space_files_say(name: str) -> None:
    path = ROOT / "search_spaces" / f"{name}.yaml"
    match = COST.search(path.read_text())
    assert match is not None
    found = estimate(load_space(path, check_machine=False), NO_RUNGS)
    # they count no rungs, as "up to" says, and leave validation and updates out, which we count
    assert 0.7 < (found.gpu_hours(at_most=True) or 0) / int(match.group(1)) < 2


def test_a_study_of_large_networks_that_takes_days_gets_a_note(tmp_path: Path) -> None:
    fixed = {**MINI["fixed"], "model.name": "resnet18", "model.width": 64,
             "model.stem": "conv", "optim.epochs": 300}  # fmt: skip
    note = long_study_note(_space(tmp_path, fixed=fixed, searcher={"trials": 1000}), slots=0)
    assert note.startswith("this study is expected to take about")
    assert "1 trials at once on CPUs" in note and "--budget 24h" in note
    brief = {**fixed, "model.width": 8, "optim.epochs": 1}
    assert long_study_note(_space(tmp_path, fixed=brief, searcher={"trials": 2}), slots=1) == ""
    assert long_study_note(_space(tmp_path, searcher={"trials": 100000}), slots=1) == ""  # small
