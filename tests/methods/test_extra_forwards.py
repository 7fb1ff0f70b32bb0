"""Further forwards move BatchNorm's running statistics, in the order of the releases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks import build_attack
from ltat_tune.losses import CrossEntropy
from ltat_tune.methods import PGDAT, ExtraForwards, Natural, RoBal, StepOutput, build_method
from ltat_tune.models import Classifier
from tests.methods.toys import COUNTS, batch, brighter, config, model, seeded


def _build(method: type[PGDAT] | type[RoBal], which: str) -> ExtraForwards:
    if method is RoBal:
        return ExtraForwards(
            lambda attack: RoBal(CrossEntropy(), attack, beta=1.0), brighter, which=which
        )
    return ExtraForwards(lambda attack: PGDAT(CrossEntropy(), attack), brighter, which=which)


def _train(method: ExtraForwards, trained: Classifier, rate: float) -> StepOutput:
    output = method.training_step(trained, *batch(), class_weights=None, generator=seeded())
    optimizer = torch.optim.SGD(trained.parameters(), lr=rate)
    output.loss.backward()
    optimizer.step()
    if output.after_update is not None:
        output.after_update()
    return output


@pytest.mark.parametrize(
    ("method", "which", "order"),
    [
        (PGDAT, "clean_before", "ca"),  # TAET: superfluous clean, then attack and loss
        (RoBal, "adv_clean_before", "acca"),  # RoBal: adversarial, clean, clean, adversarial
        (PGDAT, "adv_clean_after", "aac"),  # RobustLT around PGD-AT
    ],
)
def test_batch_norm_sees_the_batches_in_the_order_of_the_release(
    method: type[PGDAT] | type[RoBal], which: str, order: str
) -> None:
    trained, reference = model(), model()
    _train(_build(method, which), trained, rate=0.0)
    images, _ = batch()
    seen = {"c": images, "a": (images + 0.3).clamp(0, 1)}
    with torch.no_grad():
        for letter in order:
            reference(seen[letter])
    for name, value in trained.named_buffers():
        assert torch.equal(value, reference.get_buffer(name)), name
    counted = trained.get_buffer("backbone.layers.0.bn.num_batches_tracked")
    assert int(counted) == len(order)


def test_the_forwards_after_the_update_are_at_the_updated_weights() -> None:
    trained, reference = model(), model()
    _train(_build(PGDAT, "adv_clean_after"), trained, rate=0.5)
    images, _ = batch()
    adv_images = (images + 0.3).clamp(0, 1)
    with torch.no_grad():
        reference(adv_images)  # of the loss, at the old weights
        reference.load_state_dict({**reference.state_dict(), **dict(trained.named_parameters())})
        reference(adv_images)
        reference(images)
    for name, value in trained.named_buffers():
        assert torch.allclose(value, reference.get_buffer(name)), name


@pytest.mark.parametrize(
    ("which", "seen"),
    [("clean_before", "c"), ("adv_clean_before", ""), ("adv_clean_after", "")],
)
def test_the_attack_meets_the_statistics_of_the_release(which: str, seen: str) -> None:
    trained, reference = model(), model()
    met: list[dict[str, Tensor]] = []

    def attack(
        model: nn.Module, images: Tensor, targets: Tensor, *, generator: torch.Generator
    ) -> Tensor:
        met.append({name: value.clone() for name, value in model.named_buffers()})
        return brighter(model, images, targets, generator=generator)

    method = ExtraForwards(lambda inner: PGDAT(CrossEntropy(), inner), attack, which=which)
    _train(method, trained, rate=0.0)
    for _ in seen:
        reference(batch()[0])
    assert len(met) == 1
    for name, value in met[0].items():
        assert torch.equal(value, reference.get_buffer(name)), name


def test_clean_before_changes_the_images_of_an_attack_in_eval_mode() -> None:
    values = config(method__name="taet", method__extra_forwards="clean_before")
    images, targets = batch()
    attack = build_attack(values, COUNTS, epoch=99, predicted=None, loss=CrossEntropy())
    reference, fresh = model(), model()
    with torch.no_grad():
        reference(images)
    expected = attack(reference, images, targets, generator=seeded())
    before = attack(fresh, images, targets, generator=seeded())
    assert not torch.equal(expected, before)

    trained, forwarded = model(), []
    method = build_method(values, COUNTS, epoch=99)
    trained.register_forward_pre_hook(lambda module, args: forwarded.append(args[0].detach()))
    method.training_step(trained, images, targets, class_weights=None, generator=seeded())
    assert torch.equal(forwarded[0], images)
    assert torch.equal(forwarded[-1], expected)


@pytest.mark.parametrize("which", ["adv_clean_before", "adv_clean_after"])
def test_loss_and_gradients_are_those_without_them(which: str) -> None:
    plain, more = model(), model()
    for trained, values in (
        (plain, config()), (more, config(method__extra_forwards=which)),
    ):  # fmt: skip
        build_method(values, COUNTS).training_step(
            trained, *batch(), class_weights=None, generator=seeded()
        ).loss.backward()
    for a, b in zip(plain.parameters(), more.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.equal(a.grad, b.grad)


def test_after_perturbed_weights_the_forwards_wait_until_they_are_restored() -> None:
    values = config(method__extra_forwards="adv_clean_after", method__awp_gamma=0.2)
    trained, seen = model(), []
    before = trained.head.weight.detach().clone()
    output = build_method(values, COUNTS).training_step(
        trained, *batch(), class_weights=None, generator=seeded()
    )
    assert not torch.allclose(trained.head.weight, before)
    trained.register_forward_pre_hook(
        lambda module, args: seen.append(torch.allclose(trained.head.weight, before))
    )
    assert output.after_update is not None
    output.after_update()  # no optimiser's step in between: the weights are the old ones
    assert seen == [True, True]


def test_a_clean_stage_has_them_on_clean_images() -> None:
    values = config(method__name="taet", method__extra_forwards="clean_before")
    method = build_method(values, COUNTS, epoch=0)
    assert isinstance(method, ExtraForwards)
    assert isinstance(method.method_of(method.attack), Natural)
    trained, reference = model(), model()
    method.training_step(trained, *batch(), class_weights=None, generator=seeded())
    reference(batch()[0])
    reference(batch()[0])
    for name, value in trained.named_buffers():
        assert torch.equal(value, reference.get_buffer(name)), name
