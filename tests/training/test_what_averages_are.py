"""Averaged weights are those that were validated, wherever they are measured or read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltat_tune.attacks import training as training_attacks
from ltat_tune.config.config_file import dump_config
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import Target
from ltat_tune.models import build_model
from ltat_tune.models.foreign.start import load_teacher, start_from
from ltat_tune.training.trainer import Trainer
from ltat_tune.training.weight_average import FairnessAverage
from tests.training.toys import tiny

FAWA = {"method__name": "cfa", "method__base": "pgd_at", "method__fawa_span": 0.3}


@pytest.mark.parametrize(
    "values",
    [
        {"optim__ema_epochs": 2.0},
        {"optim__ema_epochs": 2.0, "evaluation__select_epoch": "best"},
        {"optim__ema_epochs": 2.0, "optim__ema_statistics": "adversarial"},
        {**FAWA, "method__fawa_threshold": 0.0},
        {**FAWA, "method__fawa_threshold": 1.0},  # no epoch is admitted
        {},
    ],
)
def test_a_start_and_a_teacher_are_the_weights_that_were_reported(
    values: dict[str, object], tmp_path: Path
) -> None:
    config, file = tiny(**values), tmp_path / "checkpoint.pt"
    reported = Trainer(config).fit(checkpoint=file).model.state_dict()
    for read in (start_from, load_teacher):
        model = build_model(config.model, in_channels=1, num_classes=10, side=8, seed=7)
        read(model, str(file))
        state = model.state_dict()
        assert all(torch.equal(state[name], reported[name]) for name in state)


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_a_finished_training_needs_its_teachers_file_no_more(
    weight: float, tmp_path: Path
) -> None:
    teacher, file = tmp_path / "teacher.pt", tmp_path / "checkpoint.pt"
    Trainer(tiny()).fit(checkpoint=teacher)
    config = tiny(method__teacher=str(teacher), method__distillation_weight=weight)
    trained = Trainer(config).fit(checkpoint=file)
    dump_config(tmp_path / "config.yaml", config, comment="taught")
    teacher.unlink()
    place = Target("taught", tmp_path / "config.yaml", file, tmp_path / "cache", None)
    assert load_target(place).weights == trained.weights


@pytest.mark.parametrize("tau", [0.0, 1.5])
def test_the_guard_of_fair_epochs_measures_what_the_validation_measures(
    tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, admit = [], FairnessAverage.admit

    def admitted(self: FairnessAverage, accuracy: object) -> None:
        seen.append([each for each in accuracy.per_class if each is not None])  # type: ignore[attr-defined]
        admit(self, accuracy)  # type: ignore[arg-type]

    monkeypatch.setattr(FairnessAverage, "admit", admitted)
    guarded = {**FAWA, "method__fawa_threshold": 1.0, "model__posthoc_tau": tau}
    trainer = Trainer(tiny(**guarded, evaluation__every_epochs=1, optim__epochs=6))
    trainer.fit()
    balanced = [past.metrics["val/pgd2_balanced_acc"] for past in trainer.history]
    assert [sum(recalls) / len(recalls) for recalls in seen] == pytest.approx(balanced)


def test_statistics_are_of_images_attacked_with_each_classs_radius(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DAFA's radii act in the last epochs; the average's statistics see the same attack."""
    radii: list[list[float] | None] = []
    build = training_attacks.build_attack

    def built(*given: object, **named: object) -> object:
        attack = build(*given, **named)  # type: ignore[arg-type]
        budgets = getattr(attack, "budgets", None)
        radii.append(None if budgets is None else budgets.tolist())
        return attack

    monkeypatch.setattr("ltat_tune.training.batch_statistics.build_attack", built)
    monkeypatch.setattr("ltat_tune.methods.build_attack", built)
    Trainer(
        tiny(method__name="dafa", method__base="pgd_at", method__start_fraction=0.5,
             optim__ema_epochs=1.0, optim__ema_statistics="adversarial",
             evaluation__every_epochs=3)
    ).fit()  # fmt: skip
    *_, trained, measured = radii
    assert measured is not None and measured == trained


@pytest.mark.parametrize("objective", ["loss", "cross_entropy"])
def test_statistics_are_of_images_attacked_with_the_trainings_objective(objective: str) -> None:
    metrics = Trainer(
        tiny(attack__objective=objective, optim__ema_epochs=1.0,
             optim__ema_statistics="adversarial")
    ).fit().metrics  # fmt: skip
    assert 0 <= metrics["val/pgd2_balanced_acc"] <= 1


def test_radii_scale_the_whole_way_where_nothing_is_projected() -> None:
    """N-FGSM: noise of twice the radius and one step; a class of radius r goes 3 r at most."""
    config = tiny(
        method__name="dafa", method__base="pgd_at", attack__eps=0.1, attack__steps=1,
        attack__step_size=0.1, attack__start="uniform", attack__start_radius=2.0,
        attack__projection=False,
    )  # fmt: skip
    factors = torch.tensor([1.8, 0.2])
    attack = training_attacks.build_attack(config, torch.tensor([10, 5]), radii=factors)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    images, targets = torch.full((2000, 3, 2, 2), 0.5), torch.arange(2000) % 2
    moved = attack(model, images, targets, generator=torch.Generator().manual_seed(0)) - images
    largest = moved.abs().amax(dim=(1, 2, 3))
    by_class = [float(largest[targets == k].mean()) for k in (0, 1)]
    assert by_class[0] / by_class[1] == pytest.approx(9, rel=0.05)


def test_a_class_without_a_radius_stands_still_where_nothing_is_projected() -> None:
    """RobustLT begins with a radius of 0."""
    config = tiny(
        attack__class_budget=1.0, attack__steps=1, attack__step_size=0.1,
        attack__start="uniform", attack__start_radius=2.0, attack__projection=False,
    )  # fmt: skip
    attack = training_attacks.build_attack(config, torch.tensor([10, 5]), radii=torch.zeros(2))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    images, targets = torch.full((8, 3, 2, 2), 0.5), torch.arange(8) % 2
    attacked: Tensor = attack(model, images, targets, generator=torch.Generator())
    assert torch.equal(attacked, images)
