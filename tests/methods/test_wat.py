"""The loss and the gradient of WAT by hand, and what its epochs weigh."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.losses import CrossEntropy
from ltat_tune.methods import ClassState, ClassWeighted, build_method
from ltat_tune.methods.fairness.class_state import class_factors
from ltat_tune.methods.fairness.class_weighted import fixed_factors
from tests.methods.toys import COUNTS, config, seeded

LN = math.log


class _Table(nn.Module):
    """The logits of image i are row i."""

    def __init__(self) -> None:
        super().__init__()
        rows = [[LN(3), 0.0], [0.0, 0.0], [0.0, 0.0], [LN(3), 0.0]]  # 0, 1 clean; 2, 3 adversarial
        self.rows = nn.Parameter(torch.tensor(rows, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return self.rows[images.long()]


def _next_but_one(
    model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
) -> Tensor:
    return images + 2


def test_the_loss_and_its_gradient() -> None:
    # w = (1/2, 3/4), and 3/4 for the mean: the images count 1.25 and 1.5
    factors = torch.tensor([1.25, 1.5], dtype=torch.float64)
    method = ClassWeighted(
        CrossEntropy(), _next_but_one, base="trades", beta=6.0,
        factors_of=fixed_factors(factors, factors), costs=True,
    )  # fmt: skip
    model = _Table()
    step = method.training_step(
        model, torch.tensor([0, 1]), torch.tensor([0, 1]), class_weights=None,  # type: ignore[arg-type]
        generator=seeded(),
    )  # fmt: skip
    # image 0: p = (3/4, 1/4), q = (1/2, 1/2); image 1: the other way round
    kl = (0.75 * LN(1.5) + 0.25 * LN(0.5), 0.5 * LN(2 / 3) + 0.5 * LN(2))
    costs = (LN(4 / 3) + 6 * kl[0], LN(2) + 6 * kl[1])
    assert step.costs is not None
    assert step.costs.tolist() == pytest.approx(costs)
    # mean_i w_y l_i + w_mean mean_i l_i
    by_class, mean = (0.5 * costs[0] + 0.75 * costs[1]) / 2, (costs[0] + costs[1]) / 2
    assert step.loss.item() == pytest.approx(by_class + 0.75 * mean)
    step.loss.backward()
    # CE: p - one-hot; KL to the clean logits: p (log p/q - KL), to the adversarial ones: q - p
    rise = 0.75 * (LN(1.5) - kl[0]), 0.5 * (LN(2 / 3) - kl[1])
    expected = [
        [1.25 / 2 * (-0.25 + 6 * rise[0])] * 2, [1.5 / 2 * (0.5 + 6 * rise[1])] * 2,
        [1.25 / 2 * 6 * -0.25] * 2, [1.5 / 2 * 6 * 0.25] * 2,
    ]  # fmt: skip
    expected = [[first, -second] for first, second in expected]  # the two logits' sum to 0
    assert model.rows.grad is not None
    assert torch.allclose(model.rows.grad, torch.tensor(expected, dtype=torch.float64))


def test_in_the_first_epoch_every_image_counts_twice() -> None:
    wat = config(method__name="wat")
    for state, epoch in ((ClassState(), 0), (ClassState(), 3), (ClassState(costs=[[1, 2, 3]]), 0)):
        factors = class_factors(wat, COUNTS, state, epoch)
        assert factors.radius is None
        for values in (factors.prediction, factors.consistency):
            assert values is not None and values.tolist() == [2.0, 2.0, 2.0]


def test_equal_costs_scale_the_loss_of_trades() -> None:
    sums = [(3 * COUNTS).tolist(), (5 * COUNTS).tolist()]  # a mean of 3 and of 5 in every class
    factors = class_factors(config(method__name="wat"), COUNTS, ClassState(costs=sums), 2)
    assert factors.prediction is not None and factors.consistency is not None
    assert factors.prediction.tolist() == pytest.approx([6 / 4] * 3)  # 2 K / (K + 1)
    assert torch.equal(factors.prediction, factors.consistency)


def test_costs_are_means_of_a_class_and_add_up_over_epochs() -> None:
    # means (1, 2, 3) in two epochs, at a rate of ln 2 / 2: 1/3 + 2/3, 2/3 + 2/3, 4/3 + 2/3
    sums = [(torch.tensor([1.0, 2.0, 3.0]) * COUNTS).tolist()] * 2
    wat = config(method__name="wat", method__wat_rate=LN(2) / 2)
    factors = class_factors(wat, COUNTS, ClassState(costs=sums), 2)
    assert factors.prediction is not None
    assert factors.prediction.tolist() == pytest.approx([1, 4 / 3, 2])


def test_no_class_outweighs_the_others_by_more_than_the_bound() -> None:
    sums = [(torch.tensor([0.0, 0.0, 90.0]) * COUNTS).tolist()] * 50
    wat = config(method__name="wat", method__wat_rate=1.0, method__wat_weight_max=1.5)
    factors = class_factors(wat, COUNTS, ClassState(costs=sums), 50)
    assert factors.prediction is not None
    # the worst class and the mean are at the bound; the others do not vanish altogether
    assert factors.prediction.tolist() == pytest.approx([1.5, 1.5, 3.0])
    alone = class_factors(wat.replace({"method.wat_weight_max": 3.0}), COUNTS,
                          ClassState(costs=sums), 50).prediction  # fmt: skip
    assert alone is not None and alone.tolist() == pytest.approx([1e-6, 1e-6, 3.0])


def test_a_copy_and_a_probe_weigh_as_the_training_at_the_same_share_of_its_epochs() -> None:
    wat = config(method__name="wat", optim__epochs=8)
    sums = [[20.0 + e, 30.0, 15.0] for e in range(6)]
    whole = class_factors(wat, COUNTS, ClassState(costs=sums), 6).prediction
    short = wat.shortened(4)
    assert short.method.wat_rate == pytest.approx(0.2)
    steep = config(method__name="wat", method__wat_rate=900.0, optim__epochs=8)
    assert steep.shortened(4).method.wat_rate == 1000.0  # its upper end
    probe = class_factors(short, COUNTS, ClassState(costs=sums), 3).prediction
    copy = class_factors(short, COUNTS, ClassState(costs=[sums[0], sums[3], sums[5]]), 3)
    assert whole is not None and probe is not None and copy.prediction is not None
    assert probe.tolist() == pytest.approx(whole.tolist(), abs=1e-6)
    assert copy.prediction.tolist() == pytest.approx(whole.tolist(), abs=0.02)


def test_another_method_has_no_rate_to_scale() -> None:
    assert config(method__name="trades", optim__epochs=8).shortened(4).method.wat_rate == 0.1


def test_wat_is_trades_with_its_attack() -> None:
    built = build_method(config(method__name="wat", method__beta=3.0), COUNTS)
    assert isinstance(built, ClassWeighted)
    assert (built.base, built.beta, built.costs) == ("trades", 3.0, True)
    attack = config(method__name="wat").attack
    assert (attack.objective, attack.start) == ("kl", "gaussian")
