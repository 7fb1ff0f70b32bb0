"""The ETF penalty around a method."""

from __future__ import annotations

import pytest
import torch

from ltat_tune.methods import ETFPenalty, build_method
from tests.methods.toys import COUNTS, batch, config, gradients, model, seeded


def test_orthogonal_class_weights_cost_one_over_k_times_k_minus_one() -> None:
    # Off the diagonal the cosine is 0 and should be -1/2: 6 of 9 entries cost 1/4, so 1/6.
    outputs = []
    for weight in (0.0, 0.5):
        trained = model()
        with torch.no_grad():
            trained.head.weight.copy_(3 * torch.eye(*trained.head.weight.shape))
        method = build_method(config(loss__etf_weight=weight), COUNTS)
        outputs.append(
            method.training_step(trained, *batch(), class_weights=None, generator=seeded())
        )
    plain, penalised = outputs
    assert penalised.terms["etf"].item() == pytest.approx(1 / 6)
    assert penalised.loss.item() == pytest.approx(plain.loss.item() + 0.5 / 6)
    assert "etf" not in plain.terms


def test_only_the_heads_weight_feels_it() -> None:
    plain, penalised = model(), model()
    for trained, weight in ((plain, 0.0), (penalised, 2.0)):
        build_method(config(loss__etf_weight=weight), COUNTS).training_step(
            trained, *batch(), class_weights=None, generator=seeded()
        ).loss.backward()
    a, b = gradients(plain), gradients(penalised)
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert different == ["head.weight"]


def test_it_goes_around_the_method_of_every_stage() -> None:
    values = config(method__name="taet", loss__etf_weight=1.0)
    assert isinstance(build_method(values, COUNTS, epoch=0), ETFPenalty)
    assert isinstance(build_method(values, COUNTS, epoch=79), ETFPenalty)
