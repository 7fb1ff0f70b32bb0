"""The attack of an epoch: class weights (REAT Table 2) and class budgets (RobustLT)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ltat_tune.attacks import build_attack, pgd
from ltat_tune.attacks.training import attack_weights, class_budgets
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.losses import BalancedSoftmax
from tests.attacks.toys import tiny_cnn

COUNTS = torch.tensor([90, 9, 1])
CIFAR10_50 = torch.tensor([5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100])
KNOBS = {"attack.eps": 0.1, "attack.step_size": 0.03, "attack.steps": 3}
WEIGHTED = ("inverse", "inverse_sqrt", "class_balanced", "rbl")


def _config(**values: object) -> TrialConfig:
    given = {name.replace("__", "."): value for name, value in values.items()}
    return TrialConfig.from_flat({**KNOBS, **given})


def _batch() -> tuple[Tensor, Tensor]:
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return images, torch.arange(9) % 3


def _attack(config: TrialConfig, **options: object) -> Tensor:
    images, targets = _batch()
    attack = build_attack(config, COUNTS, **options)  # type: ignore[arg-type]
    return attack(tiny_cnn(), images, targets, generator=torch.Generator().manual_seed(0))


def test_the_configuration_reaches_the_attack() -> None:
    config = _config(attack__norm="l2", attack__start="uniform_clipped", attack__bn_mode="train",
                     attack__objective="margin")  # fmt: skip
    direct = pgd(
        tiny_cnn(), *_batch(), eps=0.1, step_size=0.03, steps=3, norm="l2", objective="margin",
        start="uniform_clipped", bn_mode="train", generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(_attack(config), direct)


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_positive_class_weights_act_unless_batch_norm_is_in_eval_mode(
    name: str, norm: str
) -> None:
    # The finding that RBL cannot act as released
    for bn_mode, equal in (("eval", True), ("train", False), ("batch", False)):
        plain, weighted = (
            _attack(_config(attack__reweight=n, attack__bn_mode=bn_mode, attack__norm=norm))
            for n in ("none", name)
        )
        assert torch.equal(plain, weighted) is equal


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_in_float64_a_weighted_loss_gives_the_same_images_in_eval_mode(norm: str) -> None:
    # Computed with the weights, not left out
    images, targets = _batch()
    model = tiny_cnn().double()
    plain, weighted = (
        pgd(model, images.double(), targets, eps=0.1, step_size=0.03, steps=5, start="none",
            norm=norm, class_weights=weights)
        for weights in (None, torch.tensor([1.0, 8.5, 78.9], dtype=torch.float64))
    )  # fmt: skip
    assert torch.allclose(plain, weighted, rtol=0, atol=1e-12)


def test_the_log_prior_acts_in_eval_mode_too() -> None:
    assert not torch.equal(
        _attack(_config()), _attack(_config(attack__reweight="balanced_softmax"))
    )


def test_brw_is_the_attack_on_the_balanced_softmax() -> None:
    brw = _attack(_config(attack__reweight="balanced_softmax"))
    config = _config(attack__objective="loss", loss__name="balanced_softmax")
    assert torch.equal(brw, _attack(config, loss=BalancedSoftmax(COUNTS)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inverse", [1 / 90, 1 / 9, 1]),  # RW
        ("inverse_sqrt", [90**-0.5, 1 / 3, 1]),  # RWS
        ("class_balanced", [0.5 / (1 - 0.5**90), 0.5 / (1 - 0.5**9), 1]),  # ENR at beta 1/2
    ],
)
def test_weights_by_hand_up_to_their_common_factor(name: str, expected: list[float]) -> None:
    config = _config(attack__reweight=name, attack__bn_mode="batch", reweight__beta=0.5)
    weights = attack_weights(config, COUNTS, None)
    assert weights is not None and weights.dtype == torch.float32
    assert weights.mean().item() == pytest.approx(1)
    assert (weights / weights[2]).tolist() == pytest.approx(expected)


def test_rbl_goes_by_last_epochs_predictions_and_by_the_counts_in_the_first() -> None:
    config = _config(attack__reweight="rbl", attack__bn_mode="batch")
    first = attack_weights(config, COUNTS, None)
    same = attack_weights(config, COUNTS, COUNTS)
    later = attack_weights(config, COUNTS, torch.tensor([50, 50, 0]))
    assert first is not None and same is not None and later is not None
    assert torch.equal(first, same)
    # nothing was predicted as class 2, so nearly all weight goes there: w -> C
    assert later[2].item() == pytest.approx(3, abs=1e-3) and later[0].item() < 1e-4


def test_budgets_of_cifar_10_are_those_of_robustlt() -> None:
    # 255 * eps_c at 8/255, UR 50, share 0.3
    wanted = [5.600, 8.026, 9.031, 9.802, 10.453, 11.027, 11.543, 12.021, 12.464, 12.878]
    found = 8 * class_budgets(CIFAR10_50, 0.3)
    assert found.tolist() == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_mean_radius_over_images_is_the_radius(share: float) -> None:
    budgets = class_budgets(CIFAR10_50, share)
    mean = (budgets * CIFAR10_50).sum() / CIFAR10_50.sum()
    assert mean.item() == pytest.approx(1)
    assert budgets[0].item() == pytest.approx(1 - share)
    assert class_budgets(7 * CIFAR10_50, share).tolist() == pytest.approx(budgets.tolist())


def test_two_classes_by_hand_and_equal_counts_without_nan() -> None:
    assert class_budgets(torch.tensor([300, 100]), 0.4).tolist() == pytest.approx([0.6, 2.2])
    assert class_budgets(torch.tensor([7, 7, 7]), 0.4).tolist() == [1, 1, 1]


def test_every_image_stays_in_the_radius_of_its_class() -> None:
    images, targets = _batch()
    found = _attack(_config(attack__class_budget=0.4, attack__steps=10))
    moved = (found - images).abs().flatten(1).amax(dim=1)
    radii = 0.1 * class_budgets(COUNTS, 0.4)[targets]
    assert bool((moved <= radii + 1e-6).all())
    assert moved[targets == 2].max() > 0.1


def test_without_share_and_warm_up_the_images_are_those_of_plain_pgd() -> None:
    config = _config(attack__class_budget=0.0, attack__class_budget_warmup=1e-9)
    assert torch.allclose(_attack(config, epoch=5), _attack(_config()), atol=1e-7)


def test_the_warm_up_begins_with_the_clean_images_and_grows_with_the_run() -> None:
    # b = .8, E = 100: I(epoch 40, from 0) = .5, I(80) = 1
    images, _ = _batch()
    config = _config(attack__class_budget_warmup=0.8, optim__epochs=100, attack__steps=10)
    assert torch.equal(_attack(config, epoch=0), images)
    reach = [(_attack(config, epoch=e) - images).abs().max().item() for e in (40, 80, 99)]
    assert reach == pytest.approx([0.05, 0.1, 0.1], abs=1e-6)
    assert math.isclose(reach[1], reach[2], abs_tol=1e-7)


# -- single steps -------------------------------------------------------------------------------

N_FGSM = {"attack.steps": 1, "attack.step_size": 0.1, "attack.start": "uniform_clipped",
          "attack.start_radius": 2.0, "attack.projection": False}  # fmt: skip


def _of_a_linear_model(config: TrialConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Images, first images and adversarial images; class 1 against class 0 along one direction."""
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    targets = torch.zeros(6, dtype=torch.int64)
    weight = torch.randn(16, generator=torch.Generator().manual_seed(4))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([-weight, weight]))  # type: ignore[operator]
    attack = build_attack(config, torch.tensor([6, 6]))
    found = attack(model, images, targets, generator=torch.Generator().manual_seed(5))
    noise = torch.empty_like(images).uniform_(
        -2 * 0.1, 2 * 0.1, generator=torch.Generator().manual_seed(5)
    )
    first = (images + noise).clamp(0, 1)
    return first, (first + 0.1 * weight.sign().view(1, 1, 4, 4)).clamp(0, 1), found


def test_n_fgsm_starts_outside_the_ball_steps_once_and_is_not_projected() -> None:
    # deJorge2022Make: x + U(-2 eps, 2 eps), clipped; one step of eps; clipped
    _, expected, found = _of_a_linear_model(_config(**_paths(N_FGSM)))
    assert torch.allclose(found, expected, atol=1e-6)


def test_with_projection_the_same_step_ends_in_the_ball() -> None:
    config = _config(**_paths({**N_FGSM, "attack.projection": True}))
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    _, expected, found = _of_a_linear_model(config)
    projected = torch.minimum(torch.maximum(expected, images - 0.1), images + 0.1)
    assert torch.allclose(found, projected, atol=1e-6)


def test_a_start_radius_of_almost_0_is_fgsm_and_more_moves_at_most_start_and_step() -> None:
    images, _ = _batch()
    fgsm = _attack(_config(**_paths({**N_FGSM, "attack.start": "none"})))
    near = _attack(_config(**_paths({**N_FGSM, "attack.start_radius": 1e-9})))
    assert torch.allclose(near, fgsm, atol=1e-6)
    for norm in ("linf", "l2"):
        values = {**N_FGSM, "attack.norm": norm, "attack.class_budget": 0.3}
        moved = (_attack(_config(**_paths(values))) - images).flatten(1)
        length = moved.abs().amax(dim=1) if norm == "linf" else moved.norm(dim=1)
        way = (0.2 + 0.1) * class_budgets(COUNTS, 0.3)[_batch()[1]]
        assert bool((length <= way + 1e-6).all())


def _paths(values: dict[str, object]) -> dict[str, object]:
    return {path.replace(".", "__"): value for path, value in values.items()}
