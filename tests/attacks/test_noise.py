"""Noise by place: the generator's published numbers, the distributions, and nothing else in it."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from ltat_tune.attacks.noise import start_noise, uniforms
from ltat_tune.errors import ConfigError

# the first outputs of SplitMix64 from the state 1234567, as its authors' program prints them
PRINTED = [
    6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
    16408922859458223821,
]  # fmt: skip


def _noise(places: list[int], *, norm: str = "linf", seed: int = 0, stream: str = "a") -> Tensor:
    images = torch.zeros(len(places), 3, 8, 8, dtype=torch.float64)
    return start_noise(images, torch.tensor(places), 0.1, norm=norm, seed=seed, stream=stream)


def _splitmix64(state: int, count: int) -> list[int]:
    """As its authors write it, one number after the other."""
    found, mask = [], 2**64 - 1
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        found.append(z ^ (z >> 31))
    return found


def test_the_numbers_are_those_of_splitmix64() -> None:
    assert _splitmix64(1234567, 5) == PRINTED
    expected = [((n >> 12) + 0.5) / 2**52 for n in PRINTED]
    assert uniforms(torch.tensor([0]), 5, key=1234567).tolist() == [expected]


def test_a_place_far_on_takes_the_sequence_up_where_it_belongs() -> None:
    """Place 9 of 100 numbers each is numbers 900 to 999; the key is large, so that all wraps."""
    key = 2**63 - 5
    numbers = [((n >> 12) + 0.5) / 2**52 for n in _splitmix64(key, 1000)]
    found = uniforms(torch.tensor([9, 2]), 100, key=key)
    assert found.tolist() == [numbers[900:], numbers[200:300]]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_noise_of_an_image_is_that_of_its_place_whatever_else_there_is(norm: str) -> None:
    everything = _noise(list(range(50)), norm=norm)
    for places in ([7], [49, 7, 0], list(range(40, 50)), list(reversed(range(50)))):
        assert torch.equal(_noise(places, norm=norm), everything[places])
    assert len({tuple(image.flatten().tolist()) for image in everything}) == 50


def test_other_seeds_and_streams_are_other_noise() -> None:
    first = _noise([3])
    assert not torch.equal(first, _noise([3], seed=1))
    assert not torch.equal(first, _noise([3], stream="b"))


def test_in_linf_pixels_are_uniform_and_unrelated() -> None:
    noise = _noise(list(range(400)))
    assert noise.abs().max().item() <= 0.1
    assert kstest(noise.flatten().numpy(), "uniform", (-0.1, 0.2)).pvalue > 0.01
    pixels = noise.flatten(1)
    for one, other in ((pixels[:-1], pixels[1:]), (pixels[:, :-1], pixels[:, 1:])):
        together = torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1]
        assert abs(together.item()) < 4 / one.numel() ** 0.5


def test_in_l2_the_direction_is_random_and_the_radius_uniform() -> None:
    noise = _noise(list(range(2000)), norm="l2").flatten(1)
    lengths = noise.norm(dim=1)
    assert kstest(lengths.numpy(), "uniform", (0, 0.1)).pvalue > 0.01
    # a coordinate of a random direction in 192 dimensions has mean 0 and variance 1 / 192
    direction = noise / lengths[:, None]
    assert direction.mean().abs().item() < 4 / (192 * 2000 * 192) ** 0.5
    assert direction[:, 0].var().item() == pytest.approx(1 / 192, rel=0.15)


def test_the_noise_takes_the_type_of_the_images_and_there_may_be_none() -> None:
    images = torch.zeros(2, 1, 2, 2)
    found = start_noise(images, torch.tensor([0, 1]), 0.1, norm="linf", seed=0, stream="a")
    assert found.dtype == torch.float32 and found.shape == images.shape
    none = start_noise(images[:0], torch.arange(0), 0.1, norm="l2", seed=0, stream="a")
    assert none.shape == (0, 1, 2, 2)
    with pytest.raises(ConfigError, match="unknown norm 'l1'; choose from: linf, l2"):
        start_noise(images, torch.tensor([0, 1]), 0.1, norm="l1", seed=0, stream="a")
