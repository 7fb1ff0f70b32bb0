"""Carlini and Wagner in L2, against distances that are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.attacks import Nearest, cw_l2
from ltat_tune.errors import ConfigError
from tests.attacks.toys import CentredLinear, snapshot, undecided, unusual_state

FIXED = {"search_steps": 1, "first_c": 1.0, "iterations": 50, "abort_early": False}


def _batch(n: int = 12) -> tuple[CentredLinear, Tensor, Tensor]:
    """Images near the middle of [0, 1], classified as their targets say."""
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(n, 1, 2, 2, generator=generator, dtype=torch.float64) * 0.2 + 0.4
    model = CentredLinear(images)
    with torch.no_grad():
        return model, images, model(images).argmax(dim=1)


def _closed_form(model: CentredLinear, images: Tensor, targets: Tensor) -> np.ndarray:
    """Distance to the nearest face of the label's cell: min_j (z_y - z_j) / ||w_y - w_j||."""
    w, x = model.weight.detach().numpy(), images.flatten(1).numpy()
    z = x @ w.T + model.bias.detach().numpy()
    found = []
    for logits, y in zip(z, targets.tolist(), strict=True):
        others = [j for j in range(len(w)) if j != y]
        found.append(min((logits[y] - logits[j]) / np.linalg.norm(w[y] - w[j]) for j in others))
    return np.array(found)


def _in_l2(a: Tensor, b: Tensor) -> Tensor:
    norms: Tensor = (a - b).flatten(1).norm(dim=1)
    return norms


def test_distances_of_a_linear_model_are_the_closed_form_ones() -> None:
    model, images, targets = _batch()
    exact = _closed_form(model, images, targets)
    found = cw_l2(model, images, targets, iterations=200)
    # Nothing lies nearer than the nearest face, and the search ends just beyond it: by less than a
    # step of Adam, which is about 0.005 in each pixel.
    beyond = found.distances.numpy() - exact
    assert beyond.min() > -1e-9 and beyond.max() < 0.005 and np.median(beyond) < 5e-4
    assert exact.max() > 0.05
    with torch.no_grad():
        assert bool((model(found.adv_images).argmax(dim=1) != targets).all())


def test_distances_are_those_of_the_returned_images_which_lie_in_the_unit_interval() -> None:
    model, images, targets = _batch()
    images = ((images - 0.5) * 5 + 0.5).clamp(0, 1)
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    found = cw_l2(model, images, targets, iterations=50)
    hit = found.distances.isfinite()
    assert bool(hit.any())
    torch.testing.assert_close(found.distances[hit], _in_l2(found.adv_images, images)[hit])
    assert found.adv_images.min().item() >= 0 and found.adv_images.max().item() <= 1
    assert not found.adv_images.requires_grad


def test_an_image_that_is_wrong_already_has_distance_0_and_comes_back() -> None:
    model, images, targets = _batch(3)
    targets[1] = (targets[1] + 1) % 3
    found = cw_l2(model, images, targets, iterations=20)
    assert found.distances[1] == 0 and torch.equal(found.adv_images[1], images[1])
    assert found.distances[0] > 0


def test_the_fixed_reading_misses_where_c_times_the_margin_is_too_small_to_pull() -> None:
    """At c = 1 the far side of a face is optimal only if it lowers the sum; w / 1000 never does.

    There the gradient of ||x' - x||^2 - c w^T x' vanishes at a shift of c w / 2, far too short.
    """
    model, images, targets = _batch()
    with torch.no_grad():
        model.weight.mul_(1e-3)
        model.bias.mul_(1e-3)
    fixed = cw_l2(model, images, targets, **FIXED)  # type: ignore[arg-type]
    searched = cw_l2(model, images, targets, iterations=60)
    far = torch.from_numpy(_closed_form(model, images, targets) > 0.02)
    assert far.sum() >= 4 and bool(fixed.distances[far].isinf().all())
    assert torch.equal(fixed.adv_images[far], images[far])
    assert bool(searched.distances.isfinite().all())


def test_a_higher_confidence_asks_for_that_margin() -> None:
    model, images, targets = _batch()
    plain = cw_l2(model, images, targets, iterations=60)
    found = cw_l2(model, images, targets, iterations=60, confidence=0.05)
    with torch.no_grad():
        logits = model(found.adv_images)
    label = logits.gather(1, targets[:, None]).squeeze(1)
    hit = found.distances.isfinite()
    assert bool(hit.all())
    assert bool((logits.amax(dim=1) - label > 0.05).all())
    assert bool((found.distances > plain.distances).all())


def test_giving_up_early_costs_little_distance_and_fewer_forwards() -> None:
    model, images, targets = _batch()
    forwards = 0

    def count(*_: object) -> None:
        nonlocal forwards
        forwards += 1

    model.register_forward_hook(count)
    early = cw_l2(model, images, targets, search_steps=5, iterations=150)
    after_early = forwards
    full = cw_l2(model, images, targets, search_steps=5, iterations=150, abort_early=False)
    assert after_early < 0.8 * (forwards - after_early)
    torch.testing.assert_close(early.distances, full.distances, rtol=0.02, atol=1e-3)


def test_the_batch_size_changes_the_last_digits_only() -> None:
    model, images, targets = _batch(6)
    together = cw_l2(model, images, targets, iterations=40)
    alone = [cw_l2(model, images[i : i + 1], targets[i : i + 1], iterations=40) for i in range(6)]
    torch.testing.assert_close(together.distances, torch.cat([a.distances for a in alone]))
    torch.testing.assert_close(together.adv_images, torch.cat([a.adv_images for a in alone]))


def test_the_model_is_attacked_in_eval_mode_and_left_as_found() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    model = undecided(3, images)
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
    unusual_state(model)
    before, random_state = snapshot(model), torch.get_rng_state()
    first = cw_l2(model, images, targets, search_steps=3, iterations=20)
    assert snapshot(model) == before and torch.equal(torch.get_rng_state(), random_state)
    with torch.inference_mode():
        again = cw_l2(model, images.clone(), targets.clone(), search_steps=3, iterations=20)
    assert torch.equal(first.adv_images, again.adv_images)


def test_an_empty_batch_and_one_that_is_wrong_throughout_need_no_search() -> None:
    model, images, targets = _batch(3)
    assert cw_l2(model, images[:0], targets[:0]).distances.shape == (0,)
    found = cw_l2(model, images, (targets + 1) % 3)
    assert found.distances.tolist() == [0, 0, 0] and torch.equal(found.adv_images, images)


def test_a_radius_decides_what_counts() -> None:
    images = torch.zeros(4, 1, 2, 2)
    found = Nearest(torch.ones_like(images), torch.tensor([0.0, 0.5, 0.6, math.inf]))
    assert found.robust(0.5).tolist() == [False, False, True, True]
    assert found.robust(math.inf).tolist() == [False, False, False, True]
    assert found.within(images, 0.5)[:, 0, 0, 0].tolist() == [1, 1, 0, 0]


def test_what_cannot_be_searched_is_refused() -> None:
    model, images, targets = _batch(1)
    for broken in ({"search_steps": 0}, {"iterations": 0}, {"first_c": 0.0}):
        with pytest.raises(ConfigError, match="`iterations >= 1` and `first_c > 0` must hold"):
            cw_l2(model, images, targets, **broken)
