"""The second opinion on trainings that are known to be sound, and on planted frauds."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.config.plugin_loader import forget, load_plugins, loaded
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.evaluation.second_opinion import (
    chance,
    gap_in_words,
    second_opinion,
    standing_share,
    why_doubted,
)
from ltat_tune.evaluation.sentinel_checks import LEVEL
from ltat_tune.planning.cost import epoch_passes
from ltat_tune.planning.opinion_cost import margin_steps
from ltat_tune.storage.training_files import SecondOpinion
from ltat_tune.training.evaluation import MeasuredPart, correct_answers
from ltat_tune.training.fit_result import FitResult
from ltat_tune.training.trainer import Trainer
from scripts.bench_fooled import PROBLEMS, RECIPE, SOUND, TABLE, planted
from tests.attacks.toys import snapshot, unusual_state

_DIGITS: dict[str, Any] = {
    **RECIPE, "data.imbalance_ratio": 10, "attack.step_size": 0.04, "attack.steps": 5,
    "optim.epochs": 10, "evaluation.every_epochs": 10, "model.inference_scale": 1,
}  # fmt: skip
_ROBAL = {"method.name": "robal", "optim.lr": 0.05}
_WIDE = {"attack.eps": 0.2}  # where a natural training withstands nothing
_FGSM: dict[str, Any] = {
    "model.width": 32, "model.stem": "conv", "attack.eps": 0.3, "attack.start": "none",
    "attack.steps": 1, "attack.step_size": 0.3, "optim.epochs": 30,
    "evaluation.every_epochs": 30, "evaluation.val_attack": "fgsm", "optim.lr_schedule": "step",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _no_plugin_stays() -> Iterator[None]:
    yield
    for plugin in loaded():
        forget(plugin)


@cache
def _trained(values: str) -> tuple[Trainer, FitResult]:
    torch.set_num_threads(1)
    load_plugins(["planted"], beside=PROBLEMS)
    config = {**_DIGITS, **json.loads(values)}
    if config.get("model.name", "small_cnn") != "small_cnn":
        del config["model.stem"]
    trainer = Trainer(TrialConfig.from_flat(config))
    return trainer, trainer.fit()


def _opinion(**values: Any) -> tuple[SecondOpinion, FitResult]:
    trainer, result = _trained(json.dumps({k.replace("__", "."): v for k, v in values.items()}))
    opinion = second_opinion(
        result.model, trainer.splits.val, result.answers, trainer.config,
        len(trainer.splits.train),
    )  # fmt: skip
    assert opinion is not None
    return opinion, result


# --- planted frauds ---


def test_a_network_that_rounds_its_images_is_doubted_because_nothing_has_a_gradient() -> None:
    opinion, result = _opinion(model__name="quantised_cnn")
    assert result.metrics["val/pgd20_acc"] > 0.75  # no sound network comes near
    assert opinion.no_gradient == opinion.broken == opinion.images >= 32
    assert opinion.by_square > 0.1 * opinion.images  # which needs no gradient
    assert f"on {opinion.images} of them no attack has a gradient to follow" in opinion.reason
    assert opinion.corrected(result.metrics)["val/pgd20_balanced_acc"] == 0.0


def test_logits_times_1000_are_doubted_and_count_with_what_is_left() -> None:
    opinion, result = _opinion(model__name="loud_cnn")
    assert "the logits are so large that cross-entropy has no gradient" in opinion.reason
    assert opinion.by_margin > chance(opinion.images, 0.1)
    left = opinion.corrected(result.metrics)
    claimed = result.metrics["val/pgd20_balanced_acc"]
    assert left["val/pgd20_balanced_acc"] == pytest.approx((1 - opinion.share) * claimed)
    assert left["val/clean_acc"] == result.metrics["val/clean_acc"]


def test_37_percent_under_pgd_of_which_autoattack_leaves_nothing_are_doubted() -> None:
    values = {**_WIDE, "method.name": "natural", "model.inference_scale": 24}
    (trainer, _), (opinion, result) = _trained(json.dumps(values)), _opinion(**values)
    val = MeasuredPart.of("val", trainer.splits.val, None)
    pgd, aa = (
        correct_answers(result.model, val, attack, trainer.config).double().mean().item()
        for attack in ("pgd20", "aa")
    )
    assert 0.3 < pgd < 0.45 and aa < 0.03
    assert result.metrics["val/pgd20_acc"] == opinion.accuracy == pytest.approx(pgd)
    assert opinion.gap is not None and opinion.gap > 0.07
    assert opinion.gap == pytest.approx(pgd - aa, abs=0.05)
    assert f"; PGD-20 overestimates by about {100 * opinion.gap:.0f} points [" in opinion.reason


def test_a_sound_training_at_the_same_radius_is_not() -> None:
    opinion, _ = _opinion(**_WIDE)
    assert opinion.reason == ""
    assert opinion.gap is not None and opinion.gap < 0.07


def test_robal_measured_at_scale_1_is_doubted_and_at_scale_10_it_is_not() -> None:
    at_1, _ = _opinion(**_ROBAL, **{"model__head_scale": 1})
    assert "the logits are so small that cross-entropy aims at no class" in at_1.reason
    assert at_1.pull < 2
    at_10, _ = _opinion(**_ROBAL, **{"model__inference_scale": 10})
    assert at_10.reason == "" and at_10.pull > 2


def test_fgsm_that_a_network_learned_to_mislead_is_doubted() -> None:
    opinion, result = _opinion(**_FGSM)
    assert result.metrics["val/fgsm_acc"] > 0.3
    assert opinion.broken > 0.3 * opinion.images
    assert opinion.reason.startswith("too good to be true: of ")
    assert "validation images that withstand FGSM" in opinion.reason


# --- sound trainings ---


@pytest.mark.parametrize(
    "name", ["PGD-AT", "PGD-AT, balanced softmax", "SRAT", "REAT", "TRADES", "MART", "TAET"]
)
def test_a_sound_method_is_not_doubted(name: str) -> None:
    opinion, result = _opinion(**{**SOUND[name], "attack.steps": 5, "optim.epochs": 16,
                                  "evaluation.every_epochs": 16})  # fmt: skip
    assert opinion.reason == ""
    assert opinion.images >= 32
    assert opinion.corrected(result.metrics) == result.metrics


def test_the_recorded_sound_trainings_are_not_doubted_and_the_frauds_are() -> None:
    rows = json.loads(TABLE.read_text())["fooled"]["rows"]
    frauds = {bool(row["opinion"]["reason"])
              for row in rows if planted(row["params"]) and row["score"] > 0.11}  # fmt: skip
    # some trainings of RoBal failed: they guess, so there is nothing to doubt
    sound = {bool(row["opinion"] and row["opinion"]["reason"])
             for row in rows if not planted(row["params"])}  # fmt: skip
    assert (frauds, sound) == ({True}, {False})


# --- what it costs and leaves alone ---


def test_it_takes_at_most_8_percent_of_the_trainings_passes() -> None:
    trainer, _ = _trained(json.dumps({}))
    opinion, _ = _opinion()
    config, images = trainer.config, len(trainer.splits.train)
    # 5 steps on every image and an update worth 1.5, in each of 10 epochs
    assert epoch_passes(config, images) == images * 6.5
    assert opinion.passes <= 0.08 * 10 * images * 6.5 or opinion.images <= 32
    assert opinion.passes == opinion.images * 22 + (opinion.images - opinion.by_margin) * 25


def test_equal_weights_give_an_equal_opinion_and_stay_as_they_are() -> None:
    trainer, result = _trained(json.dumps({}))
    before, _ = _opinion()
    model = copy.deepcopy(result.model)
    unusual_state(model)  # type: ignore[arg-type]
    state, noise = snapshot(model), torch.get_rng_state()
    val, images = trainer.splits.val, len(trainer.splits.train)
    # the answers that a checkpoint of 0.4.0 lacks are found again
    assert second_opinion(model, val, None, trainer.config, images) == before
    assert snapshot(model) == state
    assert torch.equal(torch.get_rng_state(), noise)


class _Constant(nn.Module):
    """Answers 0, whatever it sees."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images.sum(dim=(1, 2, 3)) + 1e6, -images.sum(dim=(1, 2, 3))], dim=1)


@pytest.mark.parametrize(
    "values", [{"evaluation.val_attack": "clean"}, {"evaluation.eps": 0.0, "attack.eps": 0.0}]
)
def test_a_clean_score_needs_no_second_opinion(values: dict[str, Any]) -> None:
    val = LabelledImages(torch.zeros(40, 1, 8, 8), torch.zeros(40, dtype=torch.int64))
    config = TrialConfig.from_flat({**_DIGITS, **values})
    assert second_opinion(_Constant(), val, None, config, 100) is None


@pytest.mark.parametrize("right", [0, 20, 22])
def test_a_score_no_better_than_guessing_needs_no_second_opinion(right: int) -> None:
    targets = torch.ones(40, dtype=torch.int64)
    targets[:right] = 0  # of two classes, guessing finds 20 of 40
    val, config = LabelledImages(torch.rand(40, 1, 8, 8), targets), TrialConfig.from_flat(_DIGITS)
    assert second_opinion(_Constant(), val, None, config, 100) is None
    more = LabelledImages(val.images, torch.where(torch.arange(40) < 23, 0, 1))
    opinion = second_opinion(_Constant(), more, None, config, 100)
    assert opinion is not None and opinion.reason == ""


# --- the rule ---


def _tail(images: int, share: float, above: int) -> float:
    """The probability that more than so many images are broken."""
    return sum(
        math.comb(images, k) * share**k * (1 - share) ** (images - k)
        for k in range(above + 1, images + 1)
    )


@pytest.mark.parametrize(("images", "share"), [(32, 0.02), (100, 0.1), (130, 0.02), (400, 0.1)])
def test_chance_allows_for_what_one_sound_model_in_a_hundred_exceeds(
    images: int, share: float
) -> None:
    allowed = chance(images, share)
    assert _tail(images, share, allowed) <= LEVEL < _tail(images, share, allowed - 1)


def test_without_a_cause_a_tenth_may_fall_and_with_one_a_trace() -> None:
    sound: dict[str, Any] = {"accuracy": 0.5, "no_gradient": 0, "flat": 0, "pull": 5.0}
    # of 100 images, more than 18 are a tenth with probability 0.005, and more than 6 a fiftieth
    assert why_doubted("pgd20", 100, 18, **sound) == ""
    # of 19 %, half are points; Wilson's interval is 12.5 to 27.8 %
    assert why_doubted("pgd20", 100, 19, **sound) == (
        "too good to be true: of 100 validation images that withstand PGD-20, 19 fall to other "
        "attacks, where chance allows for 18; PGD-20 overestimates by about 10 points [6-14]"
    )
    small = {**sound, "pull": 1.3}
    assert why_doubted("pgd20", 100, 6, **small) == ""
    assert why_doubted("pgd20", 100, 7, **small).endswith(
        "chance allows for 6; PGD-20 overestimates by about 4 points [2-7]; the logits are so "
        "small that cross-entropy aims at no class in particular"
    )
    # an attack on the margin does not depend on the size of the logits
    assert why_doubted("cw20", 100, 7, **small) == ""
    assert why_doubted("cw20", 100, 7, **{**sound, "flat": 100}) == ""
    assert "no attack has a gradient" in why_doubted("cw20", 9, 9, **{**sound, "no_gradient": 9})


@pytest.mark.parametrize("images", [32, 130, 400])
@pytest.mark.parametrize("accuracy", [0.15, 0.37, 0.7, 0.8, 0.9, 0.99])
def test_a_gap_of_more_than_7_points_beyond_chance_is_doubted_whatever_its_cause(
    images: int, accuracy: float
) -> None:
    sound: dict[str, Any] = {"accuracy": accuracy, "no_gradient": 0, "flat": 0, "pull": 5.0}
    above = next(k for k in range(images) if _tail(images, 0.07 / accuracy, k - 1) <= LEVEL)
    for attack in ("pgd20", "cw20", "fgsm"):
        assert why_doubted(attack, images, above, **sound)
    # and up to 70 % a tenth of what withstands the attack already is
    first = next(k for k in range(images) if why_doubted("pgd20", images, k, **sound))
    assert (first == chance(images, 0.1) + 1) == (accuracy <= 0.7)


def test_above_70_percent_the_gap_is_the_reason() -> None:
    sound: dict[str, Any] = {"accuracy": 0.95, "no_gradient": 0, "flat": 0, "pull": 5.0}
    # of 100 images, more than 14 are 7.4 % with probability 0.004; 16 % of 95 points are 15
    assert why_doubted("pgd20", 100, 14, **sound) == ""
    assert why_doubted("pgd20", 100, 16, **sound) == (
        "too good to be true: of 100 validation images that withstand PGD-20, 16 fall to other "
        "attacks; PGD-20 overestimates by about 15 points [10-23], and 7 are the most that is "
        "usual"
    )


def test_a_class_counts_with_as_many_images_as_it_has_that_stand() -> None:
    """90 and 10 images stand, ten of each are attacked, and only those of one class fall."""
    standing = torch.tensor([0] * 90 + [2] * 10)
    targets = torch.tensor([0] * 10 + [2] * 10)
    # 1 / (0.9^2 / 10 + 0.1^2 / 10) = 12.2 images tell as much
    share, effective = standing_share(targets == 2, targets, standing)
    assert share == pytest.approx(0.1) and effective == 12
    share, effective = standing_share(targets == 0, targets, standing)
    assert share == pytest.approx(0.9) and effective == 12
    alike = torch.tensor([0, 0, 1, 1])
    assert standing_share(torch.tensor([True, False, False, False]), alike, alike) == (0.25, 4)
    # class 2 was not attacked: it counts as the others do
    assert standing_share(targets[:10] == 0, targets[:10], standing) == (1.0, 10)
    # few images of the common class make the rule: half of 20 fall, 45 points of 50
    common: dict[str, Any] = {"accuracy": 0.5, "no_gradient": 0, "flat": 0, "pull": 5.0}
    assert "about 45 points" in why_doubted("pgd20", 20, 10, **common, share=0.9, effective=12)


def test_the_gap_is_a_share_of_all_images() -> None:
    opinion = SecondOpinion(
        attack="pgd20", images=40, broken=30, by_margin=30, by_square=0, no_gradient=0, flat=0,
        pull=1.2, passes=1.0, accuracy=0.4,
    )  # fmt: skip
    assert opinion.gap == pytest.approx(0.3)
    # 75 % [59.8-85.8] of the 40 points
    assert gap_in_words(30 / 40, 40, 0.4) == "about 30 points [24-34]"
    assert opinion.model_copy(update={"accuracy": None}).gap is None


def test_a_second_opinion_has_as_many_steps_as_the_validation_attack() -> None:
    steps = {"pgd3": 3, "pgd20": 20, "pgd100": 20, "cw10": 10, "fgsm": 20}
    assert {name: margin_steps(name) for name in steps} == steps


def test_the_corrected_metrics_are_those_of_the_attack_alone() -> None:
    opinion = SecondOpinion(
        attack="pgd20", images=40, broken=10, by_margin=8, by_square=2, no_gradient=0, flat=0,
        pull=1.2, passes=1.0, reason="too good",
    )  # fmt: skip
    metrics = {"val/pgd20_acc": 0.8, "val/pgd20_tail_acc": 0.4, "val/clean_acc": 0.9, "x": 1.0}
    expected = {"val/pgd20_acc": 0.6, "val/pgd20_tail_acc": 0.3, "val/clean_acc": 0.9, "x": 1.0}
    assert opinion.corrected(metrics) == pytest.approx(expected)
    assert opinion.model_copy(update={"reason": ""}).corrected(metrics) == metrics
