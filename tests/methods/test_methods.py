"""What every method must keep, and `build_method`."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from ltat_tune.config.sections import MethodConfig
from ltat_tune.losses import LDAMLoss
from ltat_tune.methods import METHODS, PGDAT, SRAT, build_method, needs_projection
from ltat_tune.models import Classifier
from tests.methods.toys import COUNTS, KNOWN, batch, config, gradients, model, seeded

each_method = pytest.mark.parametrize("name", sorted(METHODS))
TWO_FORWARDS = (
    "mart",
    "robal",
    "trades",
    "dafa",
    "cfa",
    "wat",
)  # the clean images take part in the loss
OWN_TERMS = {"taet": {"bcl", "hdl", "rcel"}}  # the others have a prediction loss
OWN_CLASSES = ("dafa", "faal", "cfa", "wat")  # they weigh classes by themselves
LAST = 79  # the last epoch: behind the clean stage of TAET


def _model(name: str) -> Classifier:
    return model(projection=True, head="cosine" if name == "robal" else "linear")


def test_the_table_holds_what_the_configuration_offers() -> None:
    assert set(METHODS) == set(get_args(MethodConfig.model_fields["name"].annotation))


@each_method
def test_a_step_gives_a_loss_with_its_graph_and_detached_terms(name: str) -> None:
    trained, (images, targets) = _model(name), batch()
    output = build_method(
        config(method__name=name), COUNTS, epoch=LAST, classes=KNOWN
    ).training_step(trained, images, targets, class_weights=None, generator=seeded())
    assert output.loss.shape == () and output.loss.requires_grad
    assert output.logits.shape == (6, 3) and output.logits.requires_grad
    assert OWN_TERMS.get(name, {"prediction"}) <= set(output.terms)
    for term in output.terms.values():
        assert term.shape == () and not term.requires_grad


@each_method
def test_a_step_neither_updates_nor_accumulates_anything(name: str) -> None:
    trained, (images, targets) = _model(name), batch()
    before = {n: p.detach().clone() for n, p in trained.named_parameters()}
    copy = images.clone()
    build_method(config(method__name=name), COUNTS, epoch=LAST, classes=KNOWN).training_step(
        trained, images, targets, class_weights=None, generator=seeded()
    )
    assert all(torch.equal(p, before[n]) for n, p in trained.named_parameters())
    assert gradients(trained) == {}
    assert torch.equal(images, copy)


@each_method
def test_the_forwards_of_the_loss_are_in_train_mode_and_as_many_as_it_needs(name: str) -> None:
    # Each train-mode forward counts one batch in BatchNorm; the eval-mode attack counts none.
    trained, (images, targets) = _model(name), batch()
    trained.eval()
    build_method(config(method__name=name), COUNTS, epoch=LAST, classes=KNOWN).training_step(
        trained, images, targets, class_weights=None, generator=seeded()
    )
    assert all(module.training for module in trained.modules())
    counted = [v for n, v in trained.named_buffers() if n.endswith("num_batches_tracked")]
    assert [int(v) for v in counted] == [2 if name in TWO_FORWARDS else 1] * 3


@pytest.mark.parametrize("name", ["pgd_at", "srat"])
def test_a_train_mode_attack_counts_its_steps_too(name: str) -> None:
    trained, (images, targets) = model(projection=True), batch()
    method = build_method(config(method__name=name, attack__bn_mode="train"), COUNTS)
    method.training_step(trained, images, targets, class_weights=None, generator=seeded())
    counted = [v for n, v in trained.named_buffers() if n.endswith("num_batches_tracked")]
    assert [int(v) for v in counted] == [4, 4, 4]


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(OWN_TERMS) - set(OWN_CLASSES)))
def test_class_weights_reach_the_prediction_loss(name: str) -> None:
    values = config(method__name=name, loss__name="cross_entropy")
    method, (images, targets) = build_method(values, COUNTS), batch()
    plain, weighted = (
        method.training_step(_model(name), images, targets, class_weights=w, generator=seeded())
        for w in (None, torch.tensor([1.0, 1.0, 50.0]))
    )
    # Same images, weights and mode: the logits agree, the weighted mean does not.
    assert torch.equal(plain.logits, weighted.logits)
    # TRADES predicts the clean images; its logits are of the adversarial ones.
    logits = _model(name)(images) if name == "trades" else plain.logits
    expected = torch.nn.functional.cross_entropy(
        logits, targets, weight=torch.tensor([1.0, 1.0, 50.0])
    )
    assert weighted.terms["prediction"].item() == pytest.approx(expected.item())
    assert plain.terms["prediction"].item() != pytest.approx(expected.item())


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"natural"}))
def test_the_generator_decides_the_images_and_global_state_does_not(name: str) -> None:
    method, (images, targets) = (
        build_method(config(method__name=name), COUNTS, epoch=LAST, classes=KNOWN), batch()
    )  # fmt: skip
    before = torch.get_rng_state()
    first, again, other = (
        method.training_step(
            _model(name), images, targets, class_weights=None,
            generator=torch.Generator().manual_seed(seed),
        ).loss.item()
        for seed in (0, 0, 1)
    )  # fmt: skip
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_the_configuration_reaches_method_and_loss() -> None:
    built = build_method(
        config(
            method__name="srat",
            method__separation_weight=3.0,
            method__temperature=0.5,
            loss__name="ldam",
        ),
        COUNTS,
    )
    assert isinstance(built, SRAT)
    assert (built.separation_weight, built.temperature) == (3.0, 0.5)
    assert isinstance(built.loss, LDAMLoss)
    assert isinstance(build_method(config(method__name="pgd_at"), COUNTS), PGDAT)


@pytest.mark.parametrize(
    ("values", "needed"),
    [
        ({"method__name": "srat"}, True),
        ({"method__name": "srat", "method__separation_features": "penultimate"}, False),
        ({"method__name": "srat", "method__separation_weight": 0}, False),
        ({"method__name": "pgd_at"}, False),
        ({"method__name": "natural"}, False),
    ],
)
def test_only_srat_that_separates_projected_features_needs_the_head(
    values: dict[str, object], needed: bool
) -> None:
    assert needs_projection(config(**values)) is needed
