"""What the sentinel measures of a model, against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.evaluation.sentinel_attacks import slope_and_pull


class _Pixels(nn.Module):
    """Logits are the first pixels, times `scale`."""

    def __init__(self, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.classes, self.scale = classes, scale

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images.flatten(1)[:, : self.classes]


def _one(*values: float) -> Tensor:
    return torch.tensor([*values, *[0.0] * (16 - len(values))]).view(1, 1, 4, 4)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 2.0), (2.0, 3.2), (1000.0, math.inf)])
def test_the_pull_is_the_runner_up_over_the_mean_of_the_other_wrong(
    scale: float, expected: float
) -> None:
    # label 0; e^z of the wrong ones: 4, then 3 and 1, whose mean is 2; squared 16 and (9 + 1) / 2
    images = _one(2.0, math.log(4), math.log(3), 0.0)
    _, pull = slope_and_pull(_Pixels(4, scale), images, torch.tensor([0]))
    if expected == math.inf:
        assert pull.item() > 1e100
    else:
        assert pull.item() == pytest.approx(expected, rel=1e-5)


def test_equal_wrong_logits_pull_alike_and_one_alone_has_nothing_beside_it() -> None:
    images, targets = _one(0.9, 0.1, 0.1, 0.1), torch.tensor([0])
    assert slope_and_pull(_Pixels(4), images, targets)[1].item() == pytest.approx(1.0)
    assert slope_and_pull(_Pixels(3), images, targets)[1].item() == pytest.approx(1.0)
    assert slope_and_pull(_Pixels(2), images, targets)[1].item() == math.inf


def test_the_slope_of_two_classes_is_what_the_label_lacks_whatever_the_scale() -> None:
    # p(label) = 1 / (1 + e^-0.8 s); both gradients have two pixels
    images, targets = _one(0.9, 0.1), torch.tensor([0])
    for scale in (1.0, 10.0):
        slope, _ = slope_and_pull(_Pixels(2, scale), images, targets)
        assert slope.item() == pytest.approx(1 / (1 + math.exp(0.8 * scale)), rel=1e-4)
