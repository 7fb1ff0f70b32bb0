"""`Classifier`: normalisation inside, features on request, the projection head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.errors import ConfigError
from ltat_tune.models import Classifier


def _flat(
    *, projection: bool = False, mean: Tensor | None = None, std: Tensor | None = None
) -> Classifier:
    """A classifier whose features are the normalised pixels of a 2x1x1 image: D = 2, K = 2."""
    model = Classifier(
        nn.Flatten(), 2, 2, in_channels=2, projection=projection, mean=mean, std=std
    )
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
        model.head.bias.copy_(torch.tensor([0.0, 10.0]))
    return model


def test_normalisation_subtracts_the_mean_and_divides_by_the_std_of_each_channel() -> None:
    model = _flat(mean=torch.tensor([0.5, 0.25]), std=torch.tensor([0.5, 0.125]))
    logits, features = model.forward_with_features(torch.tensor([1.0, 0.5]).view(1, 2, 1, 1))
    # ((1 - .5) / .5, (.5 - .25) / .125) = (1, 2); logits (1, 1 + 2 * 2 + 10).
    assert features.tolist() == [[1.0, 2.0]]
    assert logits.tolist() == [[1.0, 15.0]]


def test_without_statistics_the_features_are_the_pixels() -> None:
    images = torch.rand(3, 2, 1, 1)
    _, features = _flat().forward_with_features(images)
    assert torch.equal(features, images.flatten(1))


def test_forward_returns_the_logits_of_forward_with_features() -> None:
    model, images = _flat(), torch.rand(3, 2, 1, 1)
    assert torch.equal(model(images), model.forward_with_features(images)[0])


def test_statistics_are_buffers_of_shape_1_c_1_1_and_travel_in_the_state() -> None:
    source = _flat(mean=torch.tensor([0.5, 0.25]), std=torch.tensor([0.5, 0.125]))
    assert source.mean.shape == source.std.shape == (1, 2, 1, 1)
    assert not source.mean.requires_grad
    other = _flat()
    other.load_state_dict(source.state_dict())
    images = torch.rand(3, 2, 1, 1)
    assert torch.equal(other(images), source(images))


def test_statistics_are_copied_so_the_callers_tensor_may_change() -> None:
    mean = torch.tensor([0.5, 0.25])
    model = _flat(mean=mean)
    mean.zero_()
    assert model.mean.flatten().tolist() == [0.5, 0.25]


def test_a_std_of_zero_is_refused_with_its_value() -> None:
    with pytest.raises(ConfigError, match=r"`std > 0` must hold for every channel, got \[0.5, 0"):
        _flat(std=torch.tensor([0.5, 0.0]))


def test_statistics_of_another_channel_count_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"one value per channel \(2\), got 3"):
        _flat(mean=torch.zeros(3))


def test_project_without_a_head_is_the_normalised_features() -> None:
    projected = _flat().project(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    # A zero feature has no direction; it stays zero instead of becoming NaN.
    assert torch.allclose(projected, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_project_with_a_head_is_linear_relu_linear_to_128_on_the_unit_sphere() -> None:
    model = _flat(projection=True)
    head = model.projection
    assert isinstance(head, nn.Sequential)
    first, last = head[0], head[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    features = torch.randn(4, 2)
    hidden = (features @ first.weight.T + first.bias).clamp_min(0)
    expected = hidden @ last.weight.T + last.bias
    expected = expected / expected.pow(2).sum(dim=1, keepdim=True).sqrt()
    assert first.weight.shape == (2, 2) and last.weight.shape == (128, 2)
    assert torch.allclose(model.project(features), expected, atol=1e-6)
