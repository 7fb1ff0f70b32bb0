"""TAIL in its three readings against loops in NumPy float64 and numbers worked by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from ltat_tune.errors import ConfigError
from ltat_tune.losses import TailLoss, tail_classes
from ltat_tune.training.metrics import ClassGroups
from tests.losses.numeric import Array, central_differences, divergence, log_softmax, rounded

# Tail by the paper's set: classes 4, 1, 6 (counts 9, 9, 4), by the release's 1 and 6.
COUNTS = torch.tensor([500, 9, 60, 100, 9, 200, 4])
TARGETS = [0, 1, 4, 6, 6, 3, 1, 2]
VARIANTS = ("bounded", "paper", "released")


def _paper(
    features: Array, targets: list[int], tail: set[int], *, frozen: Array, kl_max: float
) -> float:
    """Eq. 3 and Algorithm 1 as two loops; anchors are taken from `frozen`."""
    n = COUNTS.numpy().astype(np.float64)
    omega = rounded(np.sqrt(n.sum() / n))
    p, anchors = np.exp(log_softmax(features)), np.exp(log_softmax(frozen))
    b, total, tails = len(targets), 0.0, 0
    for i, y_i in enumerate(targets):
        if y_i not in tail:
            continue
        tails += 1
        for j, y_j in enumerate(targets):
            kl = 0.0 if i == j else divergence(p[j], anchors[i])
            sign = -1 if y_i == y_j else 1
            kl = min(kl, kl_max) if sign == 1 else kl
            total -= sign * (omega[y_i] + omega[y_j]) * kl / b
    return total / max(tails, 1)


def _released(features: Array, targets: list[int], tail: set[int], *, frozen: Array) -> float:
    """The release's loops: the mean over the batch and the features, times every pair's factor."""
    n = COUNTS.numpy().astype(np.float64)
    omega = rounded(np.sqrt(n.sum() / n))
    p, anchors = np.exp(log_softmax(features)), np.exp(log_softmax(frozen))
    b, d = features.shape
    pairs, tails = np.zeros(b), 0
    for i, y_i in enumerate(targets):
        if y_i not in tail:
            continue
        tails += 1
        mean = sum(divergence(anchors[i], p[j]) for j in range(b)) / (b * d)
        for j, y_j in enumerate(targets):
            pairs[j] += mean * (-1 if y_i == y_j else 1) * (omega[y_i] + omega[y_j])
    return float(pairs.mean()) / max(tails, 1)


def _features(n: int = len(TARGETS), d: int = 5, scale: float = 2.0) -> Array:
    return np.random.RandomState(0).normal(scale=scale, size=(n, d))


def _value_and_gradient(
    loss: TailLoss, features: Array, targets: list[int]
) -> tuple[float, Array]:
    tensor = torch.tensor(features, requires_grad=True)
    value = loss(tensor, torch.tensor(targets))
    assert value.shape == ()
    (gradient,) = torch.autograd.grad(value, tensor)
    return value.item(), gradient.numpy()


BATCHES = [
    TARGETS,
    [6] * 8,  # one class only
    [0, 3, 5, 2, 6, 0, 5, 5],  # a single tail sample
    [1, 4, 6, 1, 4, 6, 1, 4],  # tail only
]


@pytest.mark.parametrize("detach_anchor", [False, True])
@pytest.mark.parametrize("tail_set", ["paper", "released"])
@pytest.mark.parametrize("variant", ["bounded", "paper"])
@pytest.mark.parametrize("targets", BATCHES)
def test_the_paper_and_its_bounded_reading_agree_with_two_loops(
    targets: list[int], variant: str, tail_set: str, detach_anchor: bool
) -> None:
    features = _features()
    tail = {1, 4, 6} if tail_set == "paper" else {4, 6}
    cap = 1.5 if variant == "bounded" else math.inf
    loss = TailLoss(
        COUNTS, variant=variant, tail_set=tail_set, kl_max=1.5, detach_anchor=detach_anchor
    )

    def reference(f: Array) -> float:
        return _paper(f, targets, tail, frozen=features if detach_anchor else f, kl_max=cap)

    value, gradient = _value_and_gradient(loss, features, targets)
    assert value == pytest.approx(reference(features), rel=1e-9)
    expected = central_differences(reference, features)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("detach_anchor", [False, True])
@pytest.mark.parametrize("tail_set", ["paper", "released"])
@pytest.mark.parametrize("targets", BATCHES)
def test_the_released_reading_agrees_with_the_loops_of_the_release(
    targets: list[int], tail_set: str, detach_anchor: bool
) -> None:
    features = _features()
    tail = {1, 4, 6} if tail_set == "paper" else {4, 6}
    loss = TailLoss(COUNTS, variant="released", tail_set=tail_set, detach_anchor=detach_anchor)
    reference = partial(_released, targets=targets, tail=tail, frozen=features)
    value, gradient = _value_and_gradient(loss, features, targets)
    assert value == pytest.approx(reference(features), rel=1e-9)
    expected = central_differences(reference, features)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_the_released_reading_is_its_closed_form() -> None:
    # c_i = w_i + mean w - 4 m_i w_i / B, with m_i the batch's samples of class y_i.
    features, b = _features(), len(TARGETS)
    p = np.exp(log_softmax(features))
    n = COUNTS.numpy().astype(np.float64)
    w = rounded(np.sqrt(n.sum() / n))[TARGETS]
    total = 0.0
    anchors = [i for i, y in enumerate(TARGETS) if y in (4, 6)]
    for i in anchors:
        kbar = sum(divergence(p[i], p[j]) for j in range(b)) / (b * features.shape[1])
        total += kbar * (w[i] + w.mean() - 4 * TARGETS.count(TARGETS[i]) * w[i] / b)
    value, _ = _value_and_gradient(
        TailLoss(COUNTS, variant="released", tail_set="released"), features, TARGETS
    )
    assert value == pytest.approx(total / len(anchors), rel=1e-9)


def test_two_samples_are_worked_by_hand() -> None:
    # Counts 3 and 1: only class 1 is tail, w = sqrt(4/3) and 2. p = (1/4, 3/4) of class 1 and
    # (3/4, 1/4) of class 0, so either KL is log(3) / 2, and with itself 0.
    features = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0]], dtype=torch.float64)
    targets, root, kl = torch.tensor([1, 0]), math.sqrt(4 / 3), math.log(3) / 2
    expected = {
        "paper": -(2 + root) / 2 * kl,
        "bounded": -(2 + root) / 2 * 0.5,  # log(3) / 2 = 0.549 is capped
        "released": kl / 4 * (root - 2) / 2,  # (2 + w_0) - (2 + 2), over B = 2
    }
    for variant, value in expected.items():
        loss = TailLoss(torch.tensor([3, 1]), variant=variant, kl_max=0.5)
        assert loss(features, targets).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("tail_set", ["paper", "released"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_without_tail_samples_gives_zero_and_a_zero_gradient(
    variant: str, tail_set: str
) -> None:
    loss = TailLoss(COUNTS, variant=variant, tail_set=tail_set)
    value, gradient = _value_and_gradient(loss, _features(4), [0, 3, 5, 2])
    assert value == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("target", [0, 6])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_of_one_gives_zero(variant: str, target: int) -> None:
    value, gradient = _value_and_gradient(
        TailLoss(COUNTS, variant=variant), _features(1), [target]
    )
    assert value == 0.0
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


def test_three_classes_have_no_tail_in_the_released_set() -> None:
    loss = TailLoss(torch.tensor([9, 4, 1]), variant="released", tail_set="released")
    value, gradient = _value_and_gradient(loss, _features(4), [0, 1, 2, 2])
    assert value == 0.0 and not gradient.any()


def test_equal_labels_turn_the_sign_of_the_paper_s_reading() -> None:
    # Six classes of equal counts, so all joint weights are equal; 3, 4 and 5 are tail.
    loss, features = TailLoss(torch.tensor([7] * 6), variant="paper"), _features(3)
    apart, _ = _value_and_gradient(loss, features, [3, 4, 5])
    alike, _ = _value_and_gradient(loss, features, [4, 4, 4])
    assert apart < 0 < alike
    assert alike == pytest.approx(-apart, rel=1e-9)


def test_a_step_down_pushes_classes_apart_as_the_paper_says_and_together_as_released() -> None:
    # One tail sample among head samples: KL to it after a short step against the gradient.
    features, targets = _features(4, scale=0.5), [6, 0, 3, 5]

    def spread(f: Array) -> float:
        p = np.exp(log_softmax(f))
        return sum(divergence(p[j], p[0]) + divergence(p[0], p[j]) for j in (1, 2, 3))

    for variant, sign in (("paper", 1), ("bounded", 1), ("released", -1)):
        loss = TailLoss(COUNTS, variant=variant, kl_max=2.0)
        _, gradient = _value_and_gradient(loss, features, targets)
        step = 1e-3 * gradient / np.linalg.norm(gradient)
        assert sign * (spread(features - step) - spread(features)) > 0


# --- the bound ---


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bounded_reading_has_a_floor_and_a_finite_gradient(
    dtype: torch.dtype, scale: float
) -> None:
    loss = TailLoss(COUNTS, kl_max=2.0)
    features = torch.tensor(_features(scale=scale), dtype=dtype, requires_grad=True)
    value = loss(features, torch.tensor(TARGETS))
    (gradient,) = torch.autograd.grad(value, features)
    assert value.item() >= -2 * math.sqrt(882 / 4) * 2.0
    assert bool(gradient.isfinite().all())


def test_a_capped_pair_has_no_gradient_and_pairs_of_one_class_are_not_capped() -> None:
    # e1 and e2 at distance 30: KL is about 30, beyond the cap of 2.
    far = np.array([[30.0, 0.0], [0.0, 30.0]])
    value, gradient = _value_and_gradient(TailLoss(COUNTS, kl_max=2.0), far, [6, 0])
    root = math.sqrt(882 / 4) + math.sqrt(882 / 500)
    assert value == pytest.approx(-root / 2 * 2.0, rel=1e-6)
    assert not gradient.any()
    value, gradient = _value_and_gradient(TailLoss(COUNTS, kl_max=2.0), far, [6, 6])
    assert value == pytest.approx(2 * math.sqrt(882 / 4) / 2 * 30, rel=1e-6)
    assert np.abs(gradient).max() > 1


def test_a_cap_beyond_every_pair_is_the_paper_s_reading() -> None:
    bounded = _value_and_gradient(TailLoss(COUNTS, kl_max=1000.0), _features(), TARGETS)
    paper = _value_and_gradient(TailLoss(COUNTS, variant="paper"), _features(), TARGETS)
    assert bounded[0] == paper[0]
    np.testing.assert_array_equal(bounded[1], paper[1])


def test_the_paper_s_reading_has_no_floor() -> None:
    loss = TailLoss(COUNTS, variant="paper")
    near, far = (_value_and_gradient(loss, _features(scale=s), TARGETS)[0] for s in (1.0, 1e4))
    assert far < 1e3 * near < 0


# --- what must not matter ---


@pytest.mark.parametrize("variant", VARIANTS)
def test_order_and_a_shift_of_a_sample_s_features_do_not_matter(variant: str) -> None:
    loss, features = TailLoss(COUNTS, variant=variant), _features()
    value, _ = _value_and_gradient(loss, features, TARGETS)
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    moved = features[order] + np.arange(8.0)[:, None]
    again, _ = _value_and_gradient(loss, moved, [TARGETS[i] for i in order])
    assert again == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_close_features_keep_their_digits_in_float32(variant: str) -> None:
    # 512 features with entropies near 6, and KL of about 1e-4 between samples.
    features = 5 + _features(d=512, scale=0.01)
    loss = TailLoss(COUNTS, variant=variant)
    single = features.astype(np.float32)
    exact, _ = _value_and_gradient(loss, single.astype(np.float64), TARGETS)
    value = loss(torch.tensor(single), torch.tensor(TARGETS)).item()
    assert value == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize("classes", [2, 3, 100, 200])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_number_of_classes_gives_a_finite_gradient(variant: str, classes: int) -> None:
    counts = torch.arange(1, classes + 1)
    targets = [0, classes - 1, 1, 0, 0]
    value, gradient = _value_and_gradient(TailLoss(counts, variant=variant), _features(5), targets)
    assert math.isfinite(value) and value != 0
    assert np.isfinite(gradient).all() and gradient.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_features_become_a_float32_loss(variant: str, dtype: torch.dtype) -> None:
    loss, targets = TailLoss(COUNTS, variant=variant), torch.tensor(TARGETS)
    features = torch.tensor(_features()).to(dtype)
    value = loss(features, targets)
    assert value.dtype == torch.float32
    assert value.item() == loss(features.float(), targets).item()


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_edited_and_no_value_fetched_from_the_device(variant: str) -> None:
    counts, features, targets = COUNTS.clone(), torch.randn(8, 5), torch.tensor(TARGETS)
    copies = [tensor.clone() for tensor in (counts, features, targets)]
    loss = TailLoss(counts, variant=variant)
    loss(features, targets)
    for tensor, copy in zip((counts, features, targets), copies, strict=True):
        assert torch.equal(tensor, copy)
    # The meta device has no values: reading one, or a tensor left on the CPU, raises.
    there = features.to("meta").requires_grad_()
    loss.to("meta")(there, targets.to("meta")).backward()


# --- which classes ---


@pytest.mark.parametrize(
    ("classes", "paper", "released"),
    [
        (2, [1], [1]),
        (3, [1, 2], []),
        (10, [6, 7, 8, 9], [7, 8, 9]),
        (100, list(range(66, 100)), list(range(67, 100))),
        (200, list(range(133, 200)), list(range(133, 200))),
    ],
)
def test_tail_classes_are_those_of_the_paper_and_of_the_release(
    classes: int, paper: list[int], released: list[int]
) -> None:
    counts = torch.arange(2 * classes, classes, -1)
    assert tail_classes(counts, "paper").nonzero().flatten().tolist() == paper
    assert tail_classes(counts, "released").nonzero().flatten().tolist() == released


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 7, 10, 43, 100])
def test_tail_classes_go_by_count_and_are_the_group_that_is_measured(classes: int) -> None:
    counts = [(7 * c) % 11 + 1 for c in range(classes)]  # unsorted, with ties
    tail = tail_classes(torch.tensor(counts), "paper").nonzero().flatten().tolist()
    assert tail == ClassGroups.from_counts(counts).members["tail"]


def test_of_equal_counts_the_later_class_is_the_rarer() -> None:
    assert tail_classes(torch.tensor([5, 5, 9, 5]), "paper").tolist() == [False, True, False, True]


def test_unknown_readings_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown variant 'raw'; choose from: bounded, paper,"):
        TailLoss(COUNTS, variant="raw")
    with pytest.raises(ConfigError, match="unknown tail_set 'all'; choose from: paper, released"):
        TailLoss(COUNTS, tail_set="all")
    with pytest.raises(ConfigError, match=r"got \[5, 0\]"):
        TailLoss(torch.tensor([5, 0]))
