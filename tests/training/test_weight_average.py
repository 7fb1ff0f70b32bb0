"""The average of weights: a float64 loop, torch's own average, a saved state."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ltat_tune.training.weight_average import new_average


def _with_batchnorm(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def _train_a_step(model: nn.Module) -> None:
    """Changes every parameter and every statistic."""
    model(torch.randn(5, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_a_decay_of_0_keeps_no_average() -> None:
    assert new_average(nn.Linear(1, 1), 0.0) is None


def test_the_average_is_that_of_a_float64_loop_with_statistics() -> None:
    model = _with_batchnorm()
    average = new_average(model, 0.9)
    assert average is not None
    expected: dict[str, np.ndarray] = {}
    for _ in range(6):
        _train_a_step(model)
        average.update(model)
        for name, value in model.state_dict().items():
            current = value.double().numpy().copy()
            # the first update copies
            expected[name] = 0.9 * expected.get(name, current) + 0.1 * current
    found = average.module.state_dict()
    assert set(found) == set(expected)
    del found["1.num_batches_tracked"]
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["1.running_mean"], model.state_dict()["1.running_mean"])


def test_the_average_is_a_copy() -> None:
    model = _with_batchnorm()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    average = new_average(model, 0.5)
    assert average is not None
    average.update(model)
    with torch.no_grad():
        for value in average.module.state_dict().values():
            value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_whole_numbers_are_copied_so_that_a_constant_stays() -> None:
    """torch's own average makes a 2 of a constant 3: 3 * 0.9 + 3 * (1 - 0.9) is 2.9999998."""
    model = _with_batchnorm()
    model.register_buffer("constant", torch.arange(1000))
    average = new_average(model, 0.9)
    assert average is not None
    for _ in range(5):
        _train_a_step(model)
        average.update(model)
    assert average.module.get_buffer("constant").tolist() == list(range(1000))
    assert average.module.get_buffer("1.num_batches_tracked").item() == 5


def test_an_average_that_was_saved_and_loaded_goes_on_as_if_it_had_not_been() -> None:
    model = _with_batchnorm()
    straight, resumed = new_average(model, 0.9), new_average(_with_batchnorm(1), 0.9)
    assert straight is not None and resumed is not None
    for _ in range(3):
        _train_a_step(model)
        straight.update(model)
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(2):
        _train_a_step(model)
        straight.update(model)
        resumed.update(model)
    assert straight.state_dict()["n_averaged"].item() == 5
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_it_is_torchs_own_average_to_the_last_bit_where_numbers_are_not_whole() -> None:
    model = _with_batchnorm()
    ours = new_average(model, 0.9)
    assert ours is not None
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(4):
        _train_a_step(model)
        ours.update(model)
        torchs.update_parameters(model)
    expected = torchs.state_dict()
    assert ours.state_dict().keys() == expected.keys()  # checkpoints of 0.4.0 have these names
    for name, value in ours.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, expected[name]), name
