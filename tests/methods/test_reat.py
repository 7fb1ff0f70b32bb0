"""REAT: balanced softmax, TAIL and the weights of the attack."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ltat_tune.attacks.training import attack_weights
from ltat_tune.losses import BalancedSoftmax
from ltat_tune.methods import REAT, StepOutput, build_method
from tests.methods.toys import COUNTS, batch, config, model, seeded


def _step(*, predicted: Tensor | None = None, **values: object) -> StepOutput:
    method = build_method(config(method__name="reat", **values), COUNTS, predicted=predicted)
    return method.training_step(model(), *batch(), class_weights=None, generator=seeded())


def test_its_defaults_are_balanced_softmax_bounded_tail_and_rbl() -> None:
    values = config(method__name="reat")
    method = build_method(values, COUNTS)
    assert isinstance(method, REAT) and method.tail_weight == 1.0
    assert isinstance(method.loss, BalancedSoftmax)
    assert (method.tail.variant, values.attack.reweight) == ("bounded", "rbl")


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    output = _step(method__tail_weight=3.0)
    terms = {name: value.item() for name, value in output.terms.items()}
    assert set(terms) == {"prediction", "tail"} and terms["tail"] != 0
    assert output.loss.item() == pytest.approx(terms["prediction"] + 3 * terms["tail"])


def test_tail_weight_0_is_pgd_at_with_balanced_softmax() -> None:
    without = _step(method__tail_weight=0)
    plain = build_method(
        config(method__name="pgd_at", loss__name="balanced_softmax"), COUNTS
    ).training_step(model(), *batch(), class_weights=None, generator=seeded())
    assert torch.equal(without.loss, plain.loss)
    assert set(without.terms) == {"prediction"}


def test_rbl_changes_the_images_unless_batch_norm_is_in_eval_mode() -> None:
    # A class that nothing was predicted as takes nearly the whole weight.
    predicted = torch.tensor([65, 0, 0])
    for bn_mode, changes in (("eval", False), ("train", True), ("batch", True)):
        weighted = _step(predicted=predicted, attack__bn_mode=bn_mode)
        plain = _step(attack__reweight="none", attack__bn_mode=bn_mode)
        assert torch.equal(weighted.logits, plain.logits) is not changes, bn_mode


def test_last_epochs_predictions_decide_the_weights() -> None:
    values = config(method__name="reat", attack__bn_mode="batch")
    few, many = (
        attack_weights(values, COUNTS, torch.tensor([40, n, 5])) for n in (2, 200)
    )  # fmt: skip
    first = attack_weights(values, COUNTS, None)
    again = attack_weights(values, COUNTS, COUNTS)
    assert few is not None and many is not None and first is not None and again is not None
    assert few[1] > many[1] and few[0] < many[0]
    assert torch.equal(first, again)  # before the first epoch, n = N
    for weights in (few, many, first):
        assert weights.mean().item() == pytest.approx(1.0, rel=1e-6)
    a = _step(predicted=torch.tensor([40, 0, 25]), attack__bn_mode="batch")
    b = _step(predicted=torch.tensor([0, 40, 25]), attack__bn_mode="batch")
    assert not torch.equal(a.logits, b.logits)


def test_nothing_predicted_at_all_weighs_all_classes_alike() -> None:
    nothing = attack_weights(
        config(method__name="reat", attack__bn_mode="batch"), COUNTS, torch.zeros(3)
    )
    assert nothing is not None and nothing.tolist() == [1.0, 1.0, 1.0]


def test_a_batch_without_a_tail_sample_is_trained_on_its_prediction_loss() -> None:
    # Of 3 classes ceil(2C/3)..C is the second and the third.
    images, _ = batch()
    method = build_method(config(method__name="reat"), COUNTS)
    output = method.training_step(
        model(), images, torch.zeros(6, dtype=torch.long), class_weights=None, generator=seeded()
    )
    assert output.terms["tail"].item() == 0.0
    assert output.loss.item() == output.terms["prediction"].item()
