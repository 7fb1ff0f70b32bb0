"""Adversarial weight perturbation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.methods import AWP, PGDAT, Natural, StepOutput, build_method
from ltat_tune.models import Classifier
from tests.methods.toys import COUNTS, batch, config, model, seeded


def _parameters(trained: Classifier) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trained.named_parameters()}


def _step(trained: Classifier, values: TrialConfig) -> StepOutput:
    return build_method(values, COUNTS).training_step(
        trained, *batch(), class_weights=None, generator=seeded()
    )


def _perturbed(trained: Classifier, values: TrialConfig) -> tuple[dict[str, Tensor], StepOutput]:
    """How far the step has moved each parameter, and what it returned."""
    before = _parameters(trained)
    output = _step(trained, values)
    return {name: p - before[name] for name, p in _parameters(trained).items()}, output


def test_each_layer_moves_by_gamma_times_its_norm_and_no_bias_or_batch_norm() -> None:
    trained = model()
    norms = {name: value.norm().item() for name, value in _parameters(trained).items()}
    moved, _ = _perturbed(trained, config(method__awp_gamma=0.1))
    weights = [name for name, p in trained.named_parameters() if p.ndim > 1]
    assert len(weights) == 4  # three convolutions and the head
    for name, distance in moved.items():
        expected = 0.1 * norms[name] if name in weights else 0.0
        assert distance.norm().item() == pytest.approx(expected, rel=1e-4), name


def test_it_moves_uphill_on_the_loss_of_the_adversarial_images() -> None:
    plain = _step(model(), config())
    perturbed = _step(model(), config(method__awp_gamma=0.05))
    assert perturbed.loss.item() > plain.loss.item() + 0.01


@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_after_the_update_the_weights_are_those_before_plus_the_optimisers_step(
    rate: float,
) -> None:
    trained, reference = model().double(), model().double()
    images, targets = batch()
    values = config(method__awp_gamma=0.1)
    before = _parameters(trained)
    optimizer = torch.optim.SGD(trained.parameters(), lr=rate)
    output = build_method(values, COUNTS).training_step(
        trained, images.double(), targets, class_weights=None, generator=seeded()
    )
    output.loss.backward()
    gradients = {n: p.grad.clone() for n, p in trained.named_parameters() if p.grad is not None}
    optimizer.step()
    assert output.after_update is not None
    output.after_update()
    for name, parameter in _parameters(trained).items():
        expected = before[name] - rate * gradients[name]
        assert torch.allclose(parameter, expected, rtol=0, atol=1e-12), name
    # the gradient is that at the perturbed weights
    plain = build_method(config(), COUNTS).training_step(
        reference, images.double(), targets, class_weights=None, generator=seeded()
    )
    plain.loss.backward()
    there = reference.head.weight.grad
    assert there is not None and not torch.allclose(gradients["head.weight"], there)


def test_the_perturbation_does_not_depend_on_the_learning_rate() -> None:
    slow, _ = _perturbed(model(), config(method__awp_gamma=0.1, optim__lr=0.001))
    fast, _ = _perturbed(model(), config(method__awp_gamma=0.1, optim__lr=1.0))
    assert all(torch.equal(slow[name], fast[name]) for name in slow)


def test_the_forward_that_finds_it_leaves_batch_norm_as_it_was() -> None:
    # Two forwards, one of which counts; the statistics are those of the perturbed weights.
    trained, reference = model(), model()
    _step(trained, config(method__awp_gamma=0.1, method__name="natural"))
    assert int(trained.get_buffer("backbone.layers.0.bn.num_batches_tracked")) == 1
    # The convolutions of the reference are put where the perturbation put them.
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.copy_(trained.get_parameter(name))
    reference(batch()[0])
    for mine, its in zip(reference.buffers(), trained.buffers(), strict=True):
        assert torch.equal(mine, its)
    assert all(
        m.track_running_stats for m in trained.modules() if isinstance(m, torch.nn.BatchNorm2d)
    )


def test_the_attack_runs_once_and_its_noise_is_drawn_once() -> None:
    plain, perturbed = seeded(), seeded()
    for values, generator in ((config(), plain), (config(method__awp_gamma=0.1), perturbed)):
        build_method(values, COUNTS).training_step(
            model(), *batch(), class_weights=None, generator=generator
        )
    assert torch.equal(plain.get_state(), perturbed.get_state())


def test_it_begins_with_its_epoch() -> None:
    values = config(method__awp_gamma=0.1, method__awp_start_fraction=0.5, optim__epochs=10)
    assert isinstance(build_method(values, COUNTS, epoch=4), PGDAT)
    assert isinstance(build_method(values, COUNTS, epoch=5), AWP)


def test_a_layer_without_gradient_stays_where_it_is() -> None:
    # The projection takes no part in natural training, so there is no direction for it.
    trained = model(projection=True)
    moved, _ = _perturbed(trained, config(method__name="natural", method__awp_gamma=0.1))
    for name, distance in moved.items():
        if name.startswith("projection."):
            assert not bool(distance.any()), name


def test_the_clean_stage_of_taet_is_perturbed_too() -> None:
    values = config(method__name="taet", method__awp_gamma=0.1)
    method = build_method(values, COUNTS, epoch=0)
    assert isinstance(method, AWP)
    assert isinstance(method.method_of(method.attack), Natural)
