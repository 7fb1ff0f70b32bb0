"""What every allowed combination of method, loss, class weights, head and AWP must keep."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from ltat_tune.config.sections import (
    AttackConfig,
    LossConfig,
    MethodConfig,
    ModelConfig,
    ReweightConfig,
)
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError
from ltat_tune.losses import class_weights
from ltat_tune.methods import (
    Method,
    StepOutput,
    build_method,
    needs_projection,
)
from ltat_tune.models import Classifier, build_model
from ltat_tune.training.optim import build_optimizer
from tests.methods.elsewhere import DEVICE, Elsewhere, back
from tests.methods.toys import COUNTS, KNOWN, seeded

SMALL = {
    "model.width": 2, "attack.steps": 1, "attack.eps": 0.1, "attack.step_size": 0.1,
    "attack.bn_mode": "batch", "model.stem": "space_to_depth",
}  # fmt: skip
EPOCH = 79  # the last one: class weights, RBL and the adversarial stage of TAET have begun
PREDICTED = torch.tensor([60, 5, 0])
FAIR = ("dafa", "faal", "cfa", "wat")  # they weigh classes by themselves


def _choices(section: type, name: str = "name") -> tuple[str, ...]:
    return get_args(section.model_fields[name].annotation)  # type: ignore[attr-defined]


METHODS = _choices(MethodConfig)
LOSSES = _choices(LossConfig)
REWEIGHTS = _choices(ReweightConfig)
HEADS = _choices(ModelConfig, "head")
each_method_and_head = pytest.mark.parametrize(
    ("method", "head"), [(m, h) for m, h in product(METHODS, HEADS)]
)


def _refusals(method: str, loss: str, reweight: str, head: str) -> list[tuple[str, str]]:
    """The pairs of parameters that contradict each other; an independent copy of the rules."""
    found = []
    if method == "robal" and head == "linear":
        found.append(("method.name robal", "model.head must be cosine"))
    elif loss == "robal" and head == "linear":
        found.append(("loss.name robal", "model.head must be cosine"))
    if loss == "effective_number" and reweight != "none":
        found.append(("loss.name effective_number", "reweight.name must be none"))
    if method == "taet" and loss != "cross_entropy":
        found.append(("method.name taet", "loss.name must be cross_entropy"))
    if method == "taet" and reweight != "none":
        found.append(("method.name taet", "reweight.name must be none"))
    if method in FAIR and reweight != "none":
        found.append((f"method.name {method}", "reweight.name must be none"))
    if method in FAIR and loss == "effective_number":
        found.append((f"method.name {method}", "loss.name must be one"))
    return found


def _values(method: str, loss: str, reweight: str, head: str) -> dict[str, Any]:
    return {
        **SMALL, "method.name": method, "loss.name": loss, "reweight.name": reweight,
        "model.head": head,
    }  # fmt: skip


def _allowed(method: str, head: str) -> Iterator[tuple[str, TrialConfig]]:
    for loss, reweight, gamma in product(LOSSES, REWEIGHTS, (0.0, 0.02)):
        if not _refusals(method, loss, reweight, head):
            values = _values(method, loss, reweight, head)
            config = TrialConfig.from_flat({**values, "method.awp_gamma": gamma})
            yield f"{method} {loss} {reweight} {head} awp {gamma}", config


def _costly(method: str, head: str) -> Iterator[tuple[str, TrialConfig]]:
    """With AWP, whose step contains the one without, and one of the class weights for all."""
    for name, config in _allowed(method, head):
        if config.method.awp_gamma > 0 and config.reweight.name in ("none", "class_balanced"):
            yield name, config


def _batch(number: int) -> tuple[Tensor, Tensor]:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(number))
    return images, torch.tensor([0, 1, 2, 2])


def _model(config: TrialConfig) -> Classifier:
    projection = needs_projection(config)
    return build_model(config.model, in_channels=1, num_classes=3, projection=projection)


def _method(config: TrialConfig, device: torch.device | None = None) -> Method:
    return build_method(
        config, COUNTS.to(device), epoch=EPOCH, predicted=PREDICTED.to(device), classes=KNOWN
    )


def _step(
    method: Method,
    model: Classifier,
    config: TrialConfig,
    generator: torch.Generator,
    *,
    number: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> StepOutput:
    images, targets = _batch(number)
    weights = class_weights(config.reweight, COUNTS)
    return method.training_step(
        model,
        images.to(device=device, dtype=dtype),
        targets.to(device),
        class_weights=None if weights is None else weights.to(device),
        generator=generator,
    )


def _update(output: StepOutput, optimizer: torch.optim.Optimizer) -> None:
    """What the trainer does with a step."""
    optimizer.zero_grad(set_to_none=True)
    output.loss.backward()
    optimizer.step()
    if output.after_update is not None:
        output.after_update()


def _check_finite(name: str, output: StepOutput, model: Classifier) -> None:
    assert output.loss.shape == () and output.loss.dtype == torch.float32, name
    assert output.logits.shape == (4, 3), name
    for value in (output.loss, *output.terms.values()):
        assert bool(value.isfinite()), name
    assert not any(term.requires_grad for term in output.terms.values()), name
    for part, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name}: {part} has no gradient"
        assert bool(parameter.grad.isfinite().all()), f"{name}: gradient of {part}"
        assert bool(parameter.isfinite().all()), f"{name}: {part}"


@pytest.mark.parametrize("method", METHODS)
def test_a_refused_combination_names_both_parameters_and_a_reason(method: str) -> None:
    refused = 0
    for loss, reweight, head in product(LOSSES, REWEIGHTS, HEADS):
        expected = _refusals(method, loss, reweight, head)
        values = _values(method, loss, reweight, head)
        if not expected:
            TrialConfig.from_flat(values)
            continue
        refused += 1
        with pytest.raises(ConfigError) as caught:
            TrialConfig.from_flat(values)
        lines = str(caught.value).splitlines()
        for first, second in expected:
            named = [line for line in lines if first in line and second in line]
            assert len(named) == 1, f"{values}: {lines}"
            # between the two stands why, and at the end the value that was found
            assert re.search(rf"{first} .{{12,}}, so {second}.*, got \w+", named[0]), named[0]
    assert refused > 0


@each_method_and_head
def test_steps_are_finite_and_a_method_built_anew_repeats_them_to_the_last_bit(
    method: str, head: str
) -> None:
    before = torch.get_rng_state()
    for name, config in _allowed(method, head):
        model, generator, used = _model(config), seeded(), _method(config)
        optimizer = build_optimizer(config.optim, model)
        first = _step(used, model, config, generator)
        _update(first, optimizer)
        _check_finite(name, first, model)
        # one epoch later: the same method goes on, and a new one from a copy of the state
        model_again, optimizer_again = deepcopy((model, optimizer))
        generator_again = torch.Generator()
        generator_again.set_state(generator.get_state())
        second = _step(used, model, config, generator, number=1)
        again = _step(_method(config), model_again, config, generator_again, number=1)
        _update(second, optimizer)
        _update(again, optimizer_again)
        assert torch.equal(second.loss, again.loss), name
        state = model_again.state_dict()
        assert all(torch.equal(v, state[key]) for key, v in model.state_dict().items()), name
        assert torch.equal(generator.get_state(), generator_again.get_state()), name
        assert torch.equal(before, torch.get_rng_state()), f"{name}: the global state moved"


@each_method_and_head
def test_a_bfloat16_model_has_a_finite_float32_loss(method: str, head: str) -> None:
    for name, config in _costly(method, head):
        model = _model(config).bfloat16()
        output = _step(_method(config), model, config, seeded(), dtype=torch.bfloat16)
        _update(output, build_optimizer(config.optim, model))
        _check_finite(name, output, model)


def _check_on_another_device(name: str, config: TrialConfig) -> None:
    here = _step(_method(config), _model(config), config, seeded())
    with Elsewhere() as elsewhere:
        model = _model(config).to(DEVICE)
        built = _method(config, DEVICE)
        read = elsewhere.read
        there = _step(built, model, config, seeded(), device=DEVICE)
        there.loss.backward()
        if there.after_update is not None:
            there.after_update()
        assert elsewhere.read == read, f"{name}: the step waits for the device"
        assert there.loss.device == DEVICE and there.logits.device == DEVICE, name
        # the numbers are the CPU's, so the noise was the same as well
        assert torch.equal(back(there.loss), here.loss.detach()), name


@each_method_and_head
def test_a_step_on_another_device_stays_there_and_reads_nothing_back(
    method: str, head: str
) -> None:
    for name, config in _costly(method, head):
        _check_on_another_device(name, config)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_attack_on_another_device_stays_there_and_reads_nothing_back(norm: str) -> None:
    combinations = [(start, "cross_entropy", "rbl") for start in _choices(AttackConfig, "start")]
    combinations += [
        ("uniform", *rest)
        for rest in product(
            _choices(AttackConfig, "objective"), _choices(AttackConfig, "reweight")
        )
    ]
    for start, objective, reweight in combinations:
        values = {
            **SMALL, "attack.norm": norm, "attack.start": start, "attack.objective": objective,
            "attack.reweight": reweight, "attack.class_budget": 0.3, "loss.etf_weight": 0.1,
            "method.extra_forwards": "adv_clean_after",
        }  # fmt: skip
        refused = (norm == "l2" and start == "one_sided") or (
            reweight == "balanced_softmax" and objective in ("kl", "loss")
        )
        if not refused:
            name = f"{norm} {start} {objective} {reweight}"
            _check_on_another_device(name, TrialConfig.from_flat(values))


def test_the_other_device_refuses_what_a_gpu_refuses() -> None:
    with Elsewhere() as elsewhere:
        there = torch.ones(3).to(DEVICE)
        assert there.device == DEVICE and torch.zeros(2, device=DEVICE).device == DEVICE
        assert back(there * torch.tensor(2.0)).tolist() == [2.0, 2.0, 2.0]
        refused: tuple[Callable[[], Tensor], ...] = (
            lambda: there + torch.ones(3),
            lambda: torch.ones(3)[torch.tensor([0, 1]).to(DEVICE)],
            lambda: there.normal_(generator=seeded()),
        )
        for mixed in refused:
            with pytest.raises(RuntimeError, match="two devices|generator"):
                mixed()
        assert back(torch.tensor([1, 2], device=DEVICE)).tolist() == [1, 2]
        assert there.sum().item() == 3.0 and elsewhere.read == 1
