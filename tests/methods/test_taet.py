"""TAET: a clean stage, then class losses made small and alike."""

from __future__ import annotations

import math

import pytest
import torch

from ltat_tune.methods import TAET, Natural, build_method
from tests.methods.toys import COUNTS, batch, config, model, seeded


def test_40_of_100_epochs_are_clean() -> None:
    values = config(method__name="taet", optim__epochs=100)
    stages = [type(build_method(values, COUNTS, epoch=epoch)) for epoch in range(100)]
    assert stages == [Natural] * 40 + [TAET] * 60


def test_the_clean_stage_may_be_empty_or_all_there_is() -> None:
    none = config(method__name="taet", method__clean_fraction=0.0)
    whole = config(method__name="taet", method__clean_fraction=1.0)
    assert isinstance(build_method(none, COUNTS, epoch=0), TAET)
    assert isinstance(build_method(whole, COUNTS, epoch=79), Natural)


def test_the_clean_stage_draws_no_noise_and_is_natural_training() -> None:
    generator = seeded()
    before = generator.get_state()
    clean, natural = (
        build_method(config(method__name=name), COUNTS, epoch=0).training_step(
            model(), *batch(), class_weights=None, generator=generator
        )
        for name in ("taet", "natural")
    )
    assert torch.equal(clean.loss, natural.loss) and torch.equal(clean.logits, natural.logits)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(("absent", "hdl"), [(0, 0.0), (1, 2 / 9)])
def test_equal_logits_give_log_3_times_the_share_of_classes_that_are_there(
    absent: int, hdl: float
) -> None:
    # L_c = log 3 for each class in the batch and 0 for an absent one: the variance of (1, 1, 0)
    # is 2/9, the squared shares of (1/2, 1/2, 0) sum to 1/2.
    trained = model()
    with torch.no_grad():
        trained.head.weight.zero_()
        trained.head.bias.zero_()
    images, targets = batch()
    labels = targets.clamp(max=2 - absent)
    values = config(method__name="taet", method__hdl_weight=2.0, method__rcel_weight=3.0)
    output = build_method(values, COUNTS, epoch=79).training_step(
        trained, images, labels, class_weights=None, generator=seeded()
    )
    log_3, there = math.log(3), 3 - absent
    expected = {"bcl": there / 3 * log_3, "hdl": hdl * log_3**2, "rcel": 1 / there}
    got = {name: value.item() for name, value in output.terms.items()}
    assert got == pytest.approx(expected, abs=1e-6)
    total = 0.1 * expected["bcl"] + 2 * expected["hdl"] + 3 * expected["rcel"]
    assert output.loss.item() == pytest.approx(total, rel=1e-6)
