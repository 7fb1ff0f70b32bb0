"""Whole training steps of every method against NumPy: attack, loss, gradients, SGD, BatchNorm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.losses import class_weights
from ltat_tune.methods import ClassState, build_method, needs_projection
from ltat_tune.models import Classifier
from ltat_tune.training.optim import build_optimizer
from tests.methods import numpy_methods as reference
from tests.methods.numpy_network import Network, torch_network

SHORT = {
    "attack.eps": 0.1, "attack.step_size": 0.06, "attack.steps": 2,
    "optim.epochs": 10, "reweight.schedule": "immediate", "reweight.beta": 0.99,
}  # fmt: skip
COUNTS = (90, 30, 10, 4)
TARGETS = (0, 3, 1, 2, 3, 0)  # a tail class twice, all classes present


def _images(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 2, 3, generator=generator, dtype=torch.float64)


def _noise(config: TrialConfig, images: Tensor, seed: int) -> tuple[Tensor | None, Tensor | None]:
    """What the attack will draw from a generator of this seed."""
    attack, generator = config.attack, torch.Generator().manual_seed(seed)
    noise, radius = torch.empty_like(images), images.new_empty(len(images), 1, 1, 1)
    if attack.start == "none":
        return None, None
    if attack.start == "gaussian":
        return noise.normal_(std=0.001, generator=generator), None
    if attack.norm == "l2":
        noise.normal_(generator=generator)
        return noise, radius.uniform_(0, attack.eps, generator=generator).flatten()
    low = 0.0 if attack.start == "one_sided" else -attack.eps
    return noise.uniform_(low, attack.eps, generator=generator), None


def _array(values: Tensor | None) -> Any:
    return None if values is None else values.numpy()


def _torch_step(
    model: Classifier,
    optimizer: torch.optim.SGD,
    config: TrialConfig,
    counts: Tensor,
    batch: tuple[Tensor, Tensor],
    *,
    seed: int,
    epoch: int,
    predicted: Tensor | None,
    classes: ClassState | None,
) -> float:
    """What the trainer does with a batch."""
    method = build_method(config, counts, epoch=epoch, predicted=predicted, classes=classes)
    step = method.training_step(
        model, *batch, class_weights=class_weights(config.reweight, counts),
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    optimizer.zero_grad(set_to_none=True)
    step.loss.backward()
    optimizer.step()
    if step.after_update is not None:
        step.after_update()
    return step.loss.item()


def check(
    values: dict[str, Any],
    *,
    counts: tuple[int, ...] = COUNTS,
    targets: tuple[int, ...] = TARGETS,
    batch_norm: bool = True,
    epoch: int = 8,
    predicted: tuple[int, ...] | None = None,
    known: bool = True,
) -> None:
    """Two steps, so that momentum and the moved statistics take part in the second."""
    config = TrialConfig.from_flat({**SHORT, **values})
    model = torch_network(
        config, len(counts), batch_norm=batch_norm, projection=needs_projection(config)
    )
    net = Network.like(model, config)
    optimizer = build_optimizer(config.optim, model)
    numbers = np.array(counts, dtype=np.float64)
    classes = _classes(counts) if known else None
    for number in range(2):
        images, labels = _images(len(targets), number), torch.tensor(targets)
        noise, radius = _noise(config, images, seed=number)
        batch = reference.Batch(images.numpy(), labels.numpy(), _array(noise), _array(radius))
        loss = _torch_step(
            model, optimizer, config, torch.tensor(counts), (images, labels),
            seed=number, epoch=epoch,
            predicted=None if predicted is None else torch.tensor(predicted),
            classes=None if classes is None else ClassState(
                classes.correct, torch.from_numpy(classes.confusion), classes.costs
            ),
        )  # fmt: skip
        wanted = reference.reference_step(
            net, config, numbers, batch, weights=reference.class_weights(config, numbers),
            epoch=epoch,
            predicted=None if predicted is None else np.array(predicted, dtype=np.float64),
            classes=classes,
        )  # fmt: skip
        assert loss == pytest.approx(wanted, rel=1e-6), f"loss of step {number + 1}"
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        expected = dict(net.values)
        if net.mean is not None and net.var is not None:
            expected |= {"backbone.norm.running_mean": net.mean}
            expected |= {"backbone.norm.running_var": net.var}
        # float32 class weights, margins and budgets set the absolute tolerance
        for name, value in expected.items():
            np.testing.assert_allclose(
                state[name], value, rtol=1e-6, atol=1e-7, err_msg=f"{name}, step {number + 1}"
            )


def _classes(counts: tuple[int, ...]) -> reference.Classes:
    """Two epochs in which the first classes were learned better than the last."""
    correct = [[(n * (k + 2)) // (k + 3 + c) for c, n in enumerate(counts)] for k in range(2)]
    rows = np.random.default_rng(0).uniform(0.05, 1, (len(counts), len(counts)))
    rows += np.diag(np.linspace(2, 0.5, len(counts)))
    costs = [[n * (1.0 + c + k) for c, n in enumerate(counts)] for k in range(2)]
    return reference.Classes(
        correct, rows / rows.sum(1, keepdims=True) * np.array(counts)[:, None], costs
    )


METHODS: dict[str, dict[str, Any]] = {
    "natural": {},
    "pgd_at": {},
    "srat": {"method.separation_features": "penultimate", "method.temperature": 0.5},
    "reat": {},
    "robal": {},
    "trades": {},
    "mart": {},
    "taet": {},
    "dafa": {},
    "faal": {},
    "cfa": {},
    "wat": {},
}
WEIGHS = ("taet", "dafa", "faal", "cfa", "wat")  # their own classes


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_every_method_with_its_own_defaults(name: str) -> None:
    check({"method.name": name, **METHODS[name]})


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_every_method_without_batch_norm_on_one_image(name: str) -> None:
    check({"method.name": name, **METHODS[name]}, targets=(2,), batch_norm=False)


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_every_method_without_a_tail_sample(name: str) -> None:
    check({"method.name": name, **METHODS[name]}, targets=(0, 1, 0, 0, 1, 0))


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_every_method_with_unsorted_counts_and_a_class_absent(name: str) -> None:
    values = {"method.name": name, **METHODS[name]}
    if name not in WEIGHS:
        values["reweight.name"] = "class_balanced"
    check(values, counts=(10, 90, 4, 30), targets=(1, 2, 3, 1, 2, 3))


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_every_method_with_two_classes(name: str) -> None:
    check({"method.name": name, **METHODS[name]}, counts=(40, 7), targets=(0, 1, 0, 0, 1, 0))


LOSSES: list[dict[str, Any]] = [
    {"loss.name": "cross_entropy", "loss.label_smoothing": 0.2},
    {"loss.name": "focal", "loss.gamma": 2.0},
    {"loss.name": "focal", "loss.gamma": 1.5, "loss.focal_weight": "inside"},
    {"loss.name": "focal", "loss.label_smoothing": 0.2},
    {"loss.name": "ldam", "loss.scale": 3.0},
    {"loss.name": "ldam", "model.head": "cosine"},
    {"loss.name": "balanced_softmax", "loss.tau": 1.3},
    {"loss.name": "robal", "loss.label_smoothing": 0.1},
]


def _words(values: object) -> str:
    return " ".join(map(str, values.values())) if isinstance(values, dict) else str(values)


@pytest.mark.parametrize("values", LOSSES, ids=_words)
@pytest.mark.parametrize(
    "weights", ["none", "class_balanced", "inverse", "inverse_sqrt", "under_represented"]
)
def test_two_steps_of_pgd_at_with_every_loss_and_class_weight(
    values: dict[str, Any], weights: str
) -> None:
    check({"method.name": "pgd_at", "reweight.name": weights, "attack.steps": 1, **values})


@pytest.mark.parametrize("beta", [0.9, 0.9999, None])
def test_two_steps_of_pgd_at_with_weights_of_its_loss(beta: float | None) -> None:
    # The loss has class weights of its own, so none are given.
    check({"method.name": "pgd_at", "loss.name": "effective_number", "reweight.beta": beta})


@pytest.mark.parametrize("bn_mode", ["eval", "train", "batch"])
@pytest.mark.parametrize(
    "values",
    [
        {"attack.start": "none"},
        {"attack.start": "uniform_clipped"},
        {"attack.start": "one_sided"},
        {"attack.start": "gaussian"},
        {"attack.norm": "l2", "attack.eps": 0.3, "attack.step_size": 0.2},
        {"attack.norm": "l2", "attack.start": "gaussian", "attack.class_budget": 0.5},
        {"attack.norm": "l2", "attack.start": "uniform_clipped", "attack.reweight": "inverse"},
        {"attack.objective": "margin"},
        {"attack.objective": "margin", "attack.reweight": "balanced_softmax"},
        {"attack.objective": "kl"},
        {"attack.objective": "kl", "attack.reweight": "inverse"},
        {"attack.objective": "loss", "loss.name": "ldam", "loss.scale": 3.0},
        {"attack.objective": "loss", "loss.name": "focal", "attack.reweight": "class_balanced"},
        {"attack.objective": "loss", "loss.name": "balanced_softmax"},
        {"attack.reweight": "inverse"},
        {"attack.reweight": "inverse_sqrt"},
        {"attack.reweight": "class_balanced"},
        {"attack.reweight": "balanced_softmax"},
        {"attack.reweight": "rbl"},
        {"attack.class_budget": 0.4, "attack.class_budget_warmup": 1.0},
        {"attack.steps": 0},
    ],
    ids=_words,
)
def test_two_steps_of_pgd_at_with_every_kind_of_attack(
    values: dict[str, Any], bn_mode: str
) -> None:
    check({"method.name": "pgd_at", "attack.bn_mode": bn_mode, **values}, predicted=(60, 9, 2, 0))


@pytest.mark.parametrize("variant", ["bounded", "paper", "released"])
@pytest.mark.parametrize("tail_set", ["paper", "released"])
@pytest.mark.parametrize("detach", [False, True])
def test_two_steps_of_reat_with_every_tail_and_rbl_that_acts(
    variant: str, tail_set: str, detach: bool
) -> None:
    values = {
        "method.name": "reat", "method.tail_variant": variant, "method.tail_set": tail_set,
        "method.tail_detach_anchor": detach, "method.tail_kl_max": 0.05,
        "method.tail_weight": 0.7, "attack.bn_mode": "batch",
    }  # fmt: skip
    check(values, predicted=(70, 20, 0, 6))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("srat", {"method.separation_weight": 3.0, "reweight.name": "class_balanced"}),
        ("srat", {"loss.name": "focal", "loss.focal_weight": "inside", "attack.bn_mode": "train"}),
        ("robal", {"method.beta": 3.0, "model.head_gamma": 0.5, "model.head_scale": 2.0}),
        ("robal", {"loss.name": "cross_entropy", "model.head_scale": 10.0}),
        ("trades", {"loss.name": "balanced_softmax", "method.beta": 1.5}),
        ("trades", {"attack.bn_mode": "train", "reweight.name": "inverse"}),
        ("mart", {"loss.name": "ldam", "loss.scale": 2.0, "reweight.name": "inverse_sqrt"}),
        ("mart", {"model.head": "cosine", "method.beta": 2.0}),
        ("taet", {"method.hdl_weight": 2.0, "method.rcel_weight": 3.0, "method.bcl_weight": 1.0}),
        ("taet", {"loss.label_smoothing": 0.3, "method.extra_forwards": "clean_before"}),
        ("pgd_at", {"optim.nesterov": False, "optim.momentum": 0.0, "optim.weight_decay": 0.1}),
    ],
)
def test_two_steps_of_a_method_with_other_values(name: str, values: dict[str, Any]) -> None:
    check({"method.name": name, **values})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dafa", {"method.base": "pgd_at"}),
        ("dafa", {"method.dafa_strength": 8.0, "loss.name": "balanced_softmax"}),  # at the bounds
        ("dafa", {"method.base": "pgd_at", "loss.name": "focal", "attack.bn_mode": "train"}),
        ("faal", {"method.base": "trades"}),
        ("faal", {"method.base": "mart", "method.faal_radius": 1.0}),
        ("faal", {"method.faal_coefficients": "released", "loss.name": "ldam", "loss.scale": 3.0}),
        ("faal", {"method.faal_radius": 0.0}),
        ("faal", {"method.base": "trades", "method.faal_radius": 0.0}),
        ("cfa", {"method.base": "pgd_at", "method.cfa_larger_radius": "hard"}),
        ("cfa", {"method.cfa_smoothing": 0.5, "method.cfa_kl_base": 0.2, "method.beta": 2.0}),
        ("cfa", {"method.cfa_radius_base": 1.5, "attack.start": "uniform_clipped"}),
        ("cfa", {"attack.norm": "l2", "attack.start": "gaussian", "loss.label_smoothing": 0.1}),
        ("wat", {"method.wat_rate": 1.0, "method.wat_weight_max": 1.5}),  # at the bound
        ("wat", {"method.wat_rate": 0.5, "loss.name": "balanced_softmax", "method.beta": 2.0}),
    ],
)
def test_two_steps_of_a_method_that_knows_its_classes(name: str, values: dict[str, Any]) -> None:
    check({"method.name": name, **values})


@pytest.mark.parametrize("name", ["dafa", "cfa", "wat"])
def test_two_steps_before_anything_is_known_of_the_classes(name: str) -> None:
    check({"method.name": name}, known=False, epoch=0)


def test_the_clean_stage_of_taet_is_natural_training() -> None:
    values = {"method.name": "taet", "method.extra_forwards": "clean_before"}
    check(values, epoch=3)  # 0.4 of 10 epochs are clean


@pytest.mark.parametrize("name", METHODS)
def test_two_steps_of_every_method_at_perturbed_weights(name: str) -> None:
    check({"method.name": name, **METHODS[name], "method.awp_gamma": 0.05})


def test_two_steps_of_trades_with_everything_around_it() -> None:
    check({
        "method.name": "trades", "method.awp_gamma": 0.02, "loss.etf_weight": 0.5,
        "method.extra_forwards": "adv_clean_after", "attack.class_budget": 0.3,
        "attack.class_budget_warmup": 1.0, "attack.bn_mode": "train", "model.head": "cosine",
        "model.head_scale": 2.0,
    })  # fmt: skip


@pytest.mark.parametrize("name", ["natural", "pgd_at", "robal", "reat"])
def test_two_steps_with_the_penalty_on_the_class_weights(name: str) -> None:
    check({"method.name": name, "loss.etf_weight": 0.8})


@pytest.mark.parametrize("extra", ["clean_before", "adv_clean_before", "adv_clean_after"])
@pytest.mark.parametrize("name", ["natural", "pgd_at", "robal"])
def test_two_steps_with_the_further_forwards_of_a_release(name: str, extra: str) -> None:
    check({"method.name": name, "method.extra_forwards": extra})
