"""SRAT: prediction loss plus separation, on the same adversarial batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ltat_tune.losses import separation_loss
from ltat_tune.methods import StepOutput, build_method
from ltat_tune.models import Classifier
from tests.methods.toys import COUNTS, batch, config, gradients, model, seeded


def _step(trained: Classifier, *, weights: Tensor | None = None, **values: object) -> StepOutput:
    method = build_method(config(**values), COUNTS)
    return method.training_step(trained, *batch(), class_weights=weights, generator=seeded())


@pytest.mark.parametrize("projection", [True, False])
def test_the_loss_is_the_weighted_sum_of_its_terms(projection: bool) -> None:
    output = _step(
        model(projection=projection),
        method__name="srat",
        method__separation_weight=3.0,
        weights=torch.tensor([1.0, 2.0, 8.0]),
    )
    terms = {name: value.item() for name, value in output.terms.items()}
    assert set(terms) == {"prediction", "separation"}
    assert terms["separation"] > 0
    assert output.loss.item() == pytest.approx(terms["prediction"] + 3 * terms["separation"])


@pytest.mark.parametrize("projection", [True, False])
def test_the_separation_is_that_of_the_projected_features_of_the_adversarial_images(
    projection: bool,
) -> None:
    from ltat_tune.attacks import pgd

    images, targets = batch()
    output = _step(model(projection=projection), method__name="srat", method__temperature=0.5)
    reference = model(projection=projection)
    adv_images = pgd(
        reference, images, targets, eps=0.1, step_size=0.03, steps=3, start="uniform_clipped",
        generator=seeded(),
    )  # fmt: skip
    _, features = reference.forward_with_features(adv_images)
    expected = separation_loss(reference.project(features), targets, temperature=0.5)
    assert output.terms["separation"].item() == pytest.approx(expected.item())


def test_class_weights_do_not_touch_the_separation() -> None:
    plain, weighted = (
        _step(model(projection=True), method__name="srat", weights=weights)
        for weights in (None, torch.tensor([1.0, 2.0, 50.0]))
    )
    assert torch.equal(plain.terms["separation"], weighted.terms["separation"])
    assert not torch.equal(plain.terms["prediction"], weighted.terms["prediction"])


def test_separation_weight_0_is_pgd_at_and_skips_the_projection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: Classifier, features: Tensor) -> Tensor:
        raise AssertionError("the projection ran")

    monkeypatch.setattr(Classifier, "project", refuse)
    srat = _step(model(), method__name="srat", method__separation_weight=0)
    plain = _step(model(), method__name="pgd_at", attack__start="uniform_clipped")
    assert torch.equal(srat.loss, plain.loss)
    assert set(srat.terms) == {"prediction"}


def test_the_separation_trains_backbone_and_projection_and_not_the_linear_head() -> None:
    with_separation, without = model(projection=True), model(projection=True)
    for trained, weight in ((with_separation, 2.0), (without, 0.0)):
        output = _step(trained, method__name="srat", method__separation_weight=weight)
        output.loss.backward()
    a, b = gradients(with_separation), gradients(without)
    assert any(name.startswith("projection.") for name in a)
    assert not any(name.startswith("projection.") for name in b)
    assert torch.allclose(a["head.weight"], b["head.weight"])
    first = "backbone.layers.0.conv.weight"
    assert not torch.allclose(a[first], b[first])


def test_a_batch_without_pairs_is_trained_on_its_prediction_loss() -> None:
    method = build_method(config(method__name="srat"), COUNTS)
    images, _ = batch()
    trained = model(projection=True)
    output = method.training_step(
        trained, images[:3], torch.tensor([0, 1, 2]), class_weights=None, generator=seeded()
    )
    output.loss.backward()
    assert output.terms["separation"].item() == 0.0
    assert output.loss.item() == output.terms["prediction"].item()
    assert all(bool(g.isfinite().all()) for g in gradients(trained).values())
