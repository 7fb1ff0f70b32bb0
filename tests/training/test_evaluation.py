"""Measuring a model: which attack, on which images, and the model as found."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks import named
from ltat_tune.attacks.noise import start_noise
from ltat_tune.config.attack_names import unknown_attack
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages, load_splits
from ltat_tune.errors import ConfigError
from ltat_tune.models import Classifier, build_model
from ltat_tune.seeding import stream_seed
from ltat_tune.training.evaluation import (
    MeasuredPart,
    correct_answers,
    measure_accuracy,
    measured_part,
    validate,
)
from ltat_tune.training.metrics import ClassGroups
from tests.training.toys import tiny


def _threshold() -> Classifier:
    """One grey pixel: class 1 above 0.5, class 0 below."""
    model = Classifier(nn.Flatten(), 1, 2, in_channels=1)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        model.head.bias.copy_(torch.tensor([0.5, -0.5]))
    return model


def _pixels(values: list[float], targets: list[int]) -> LabelledImages:
    return LabelledImages(torch.tensor(values).reshape(-1, 1, 1, 1), torch.tensor(targets))


def _network() -> tuple[Classifier, LabelledImages]:
    """An untrained network and 20 images of each of 3 classes."""
    config = tiny()
    model = build_model(config.model, in_channels=1, num_classes=3)
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return model, LabelledImages(images, torch.arange(60) % 3)


@pytest.mark.parametrize("attack", ["mim", "pgd0", "transfer20", ""])
def test_an_unknown_attack_is_refused(attack: str) -> None:
    with pytest.raises(ConfigError) as caught:
        measure_accuracy(
            _threshold(), _pixels([0.1], [0]), attack, tiny(), split="test", classes=2
        )
    assert str(caught.value) == unknown_attack(attack)


def test_clean_accuracy_by_hand() -> None:
    """Pixels 0.1 and 0.45 are class 0, 0.55 and 0.9 class 1; the last label is wrong."""
    data = _pixels([0.1, 0.45, 0.55, 0.9], [0, 0, 1, 0])
    found = measure_accuracy(_threshold(), data, "clean", tiny(), split="test", classes=2)
    assert (found.right, found.total) == ([2, 1], [3, 1])


@pytest.mark.parametrize("attack", ["pgd20", "aa"])
def test_robust_accuracy_by_hand_twice_and_everything_as_found(attack: str) -> None:
    """Within 0.1 the pixels 0.45 and 0.55 cross 0.5, and 0.1, 0.2 and 0.9 do not."""
    data = _pixels([0.1, 0.2, 0.45, 0.55, 0.9], [0, 0, 0, 1, 1])
    model = _threshold()
    state = torch.get_rng_state()
    for training in (True, False):
        model.train(training)
        found = measure_accuracy(
            model, data, attack, tiny(attack__eps=0.1), split="test", classes=2
        )
        assert (found.right, found.total) == ([2, 1], [3, 2])
        assert all(module.training is training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("eps", "right"), [(None, [1, 1]), (0.3, [1, 0]), (0, [2, 2])])
def test_the_radius_is_that_of_the_evaluation_or_else_of_the_training_attack(
    eps: float | None, right: list[int]
) -> None:
    """0.1 is not crossed by 0.1 or 0.3, 0.45 and 0.55 are, 0.75 is by 0.3 alone."""
    data = _pixels([0.1, 0.45, 0.55, 0.75], [0, 0, 1, 1])
    config = tiny(attack__eps=0.1, evaluation__eps=eps)
    assert (
        measure_accuracy(_threshold(), data, "pgd10", config, split="test", classes=2).right
        == right
    )


@pytest.mark.parametrize(
    ("attack", "steps", "loss"),
    [("pgd20", 20, math.log(1 + math.e)), ("pgd7", 7, math.log(1 + math.e)), ("cw100", 100, 1.0)],
)
@pytest.mark.parametrize(("norm", "parts"), [("linf", 4), ("l2", 5)])
def test_pgd_steps_by_a_part_of_the_radius_from_a_clipped_uniform_start(
    attack: str, steps: int, loss: float, norm: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    def spy(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        calls.append(knobs)
        return images

    monkeypatch.setattr(named, "pgd", spy)
    measure_accuracy(_threshold(), _pixels([0.1], [0]), attack,
             tiny(attack__eps="8/255", attack__norm=norm), split="test", classes=2)  # fmt: skip
    (call,) = calls
    first = call.pop("start")
    assert (first - 0.1).abs().max() <= 8 / 255 + 1e-7
    objective = call.pop("objective")  # of logits 0 and 1 and the target 0, by hand
    assert objective(torch.tensor([[0.0, 1.0]]), torch.tensor([0])).item() == pytest.approx(loss)
    assert call == {
        "eps": 8 / 255,
        "step_size": 8 / 255 / parts,
        "steps": steps,
        "norm": norm,
        "momentum": None,
    }


def test_norm_radius_and_step_of_the_evaluation_come_before_those_of_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[dict[str, Any]] = []

    def spy(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        calls.append(knobs)
        return images

    monkeypatch.setattr(named, "pgd", spy)
    config = tiny(attack__eps="8/255", evaluation__norm="l2", evaluation__eps=1.0,
                  evaluation__step_size=0.1)  # fmt: skip
    measure_accuracy(_threshold(), _pixels([0.1], [0]), "pgd20", config, split="test", classes=2)
    assert [(c["norm"], c["eps"], c["step_size"]) for c in calls] == [("l2", 1.0, 0.1)]


def test_clean_runs_no_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(named, "pgd")
    measure_accuracy(_threshold(), _pixels([0.1], [0]), "clean", tiny(), split="test", classes=2)


@pytest.mark.parametrize("attack", ["clean", "pgd2"])
def test_a_measurement_is_repeatable_and_moves_no_global_generator(attack: str) -> None:
    model, data = _network()
    state = torch.get_rng_state()
    first, again = (
        measure_accuracy(model, data, attack, tiny(), split="test", classes=3) for _ in range(2)
    )
    assert first == again
    assert torch.equal(torch.get_rng_state(), state)


def test_the_noise_does_not_depend_on_the_seed_of_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[Tensor] = []

    def spy(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        starts.append(knobs["start"])
        return images

    monkeypatch.setattr(named, "pgd", spy)
    for seed in (0, 1):
        config = tiny(seeds__seed=seed)
        measure_accuracy(
            _threshold(), _pixels([0.1], [0]), "pgd2", config, split="test", classes=2
        )
    assert torch.equal(starts[0], starts[1])


def test_only_right_images_are_attacked_and_each_meets_the_noise_that_it_always_meets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pixels 0.1 and 0.9 are right; in the second set 0.45 is, too."""
    seen: list[dict[float, float]] = []

    def spy(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        pixels, starts = images.flatten().tolist(), knobs["start"].flatten().tolist()
        seen.append(dict(zip(pixels, starts, strict=True)))
        return images

    monkeypatch.setattr(named, "pgd", spy)
    for targets in ([0, 1, 1], [0, 0, 1]):
        measure_accuracy(
            _threshold(),
            _pixels([0.1, 0.45, 0.9], targets),
            "pgd2",
            tiny(),
            split="test",
            classes=2,
        )
    fewer, more = seen
    assert len(fewer) == 2 and len(more) == 3
    assert all(more[pixel] == start for pixel, start in fewer.items())


def test_an_image_that_is_wrong_as_it_is_counts_as_wrong_whatever_the_attack_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mend(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        return targets.reshape(-1, 1, 1, 1).float()  # right, all of them

    monkeypatch.setattr(named, "pgd", mend)
    data = _pixels([0.1, 0.2, 0.9], [0, 1, 1])
    found = measure_accuracy(_threshold(), data, "pgd2", tiny(), split="test", classes=2)
    assert (found.right, found.total) == ([1, 1], [1, 2])


@pytest.mark.parametrize("attack", ["fgsm", "mim20", "adaptive20", "pgd20x2", "square"])
def test_the_other_attacks_run_by_hand_too(attack: str) -> None:
    """As above: within 0.1 the pixels 0.45 and 0.55 cross 0.5."""
    data = _pixels([0.1, 0.2, 0.45, 0.55, 0.9], [0, 0, 0, 1, 1])
    found = measure_accuracy(
        _threshold(), data, attack, tiny(attack__eps=0.1), split="test", classes=2
    )
    assert (found.right, found.total) == ([2, 1], [3, 2])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("attack", ["clean", "pgd2"])
def test_the_model_is_measured_in_eval_mode_and_left_as_found(attack: str, training: bool) -> None:
    model, data = _network()
    evaluated = measure_accuracy(model.eval(), data, attack, tiny(), split="test", classes=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train(training)
    found = measure_accuracy(model, data, attack, tiny(), split="test", classes=3)
    assert found == evaluated
    assert all(module.training is training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("attack", ["aa", "square", "cwl2", "cwl2_fixed"])
def test_a_slow_attack_has_the_same_class_balanced_part_for_every_seed(attack: str) -> None:
    _, data = _network()
    first, other = (
        measured_part(data, attack, tiny(evaluation__aa_images=10, seeds__seed=seed), split="test")
        for seed in (0, 1)
    )
    assert torch.equal(first.places, other.places)
    assert len(first) == 9 and first.data.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert torch.equal(first.data.images, data.images[first.places])


def test_other_attacks_have_all_images_and_so_has_a_slow_one_without_a_limit() -> None:
    _, data = _network()
    limited = tiny(evaluation__aa_images=10)
    for attack, config in (("pgd20", limited), ("clean", limited), ("aa", tiny())):
        part = measured_part(data, attack, config, split="test")
        assert part.data is data
        assert torch.equal(part.places, torch.arange(60))


def test_autoattack_is_measured_on_its_part() -> None:
    model, data = _network()
    config = tiny(evaluation__aa_images=10)
    found = measure_accuracy(model, data, "aa", config, split="test", classes=3)
    assert found.total == [3, 3, 3]


def _starts(monkeypatch: pytest.MonkeyPatch, config: TrialConfig, split: str) -> Tensor:
    """The starts of PGD-2 on 60 images that are all right, in their order."""
    starts: list[Tensor] = []

    def spy(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        starts.append(knobs["start"] - images)
        return images

    monkeypatch.setattr(named, "pgd", spy)
    data = _pixels([0.25] * 60, [0] * 60)
    measure_accuracy(_threshold(), data, "pgd2", config, split=split, classes=2)
    return torch.cat(starts).flatten()


def test_the_noise_of_an_image_is_that_of_its_place_in_the_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the documented rule: U(-eps, eps) by split, attack and place, whatever the batches."""
    expected = start_noise(
        torch.zeros(60, 1, 1, 1), torch.arange(60), 0.1, norm="linf", seed=stream_seed(0, "test"),
        stream="pgd2/0",
    ).flatten()  # fmt: skip
    for size in (500, 7):
        config = tiny(attack__eps=0.1, evaluation__batch_size=size)
        assert torch.allclose(_starts(monkeypatch, config, "test"), expected, atol=1e-7)
    assert not torch.allclose(_starts(monkeypatch, config, "val"), expected, atol=1e-3)


def test_a_part_attacks_with_the_noise_of_the_whole_split(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _pixels([0.25] * 60, [0] * 60)
    config = tiny(attack__eps=0.1)
    whole = _starts(monkeypatch, config, "test")
    part = MeasuredPart.of("test", data, 10)
    starts: list[Tensor] = []

    def spy(model: nn.Module, images: Tensor, targets: Tensor, **knobs: Any) -> Tensor:
        starts.append(knobs["start"] - images)
        return images

    monkeypatch.setattr(named, "pgd", spy)
    correct_answers(_threshold(), part, "pgd2", config)
    assert torch.equal(torch.cat(starts).flatten(), whole[part.places])


def test_uint8_images_are_measured_in_0_to_1() -> None:
    pixels = torch.tensor([20, 100, 150, 250], dtype=torch.uint8).reshape(4, 1, 1, 1)
    data = LabelledImages(pixels, torch.tensor([0, 0, 1, 1]))
    for attack in ("clean", "pgd2"):
        config = tiny(attack__eps="8/255")
        assert measure_accuracy(
            _threshold(), data, attack, config, split="test", classes=2
        ).right == [2, 2]


def test_batches_change_no_clean_answer() -> None:
    model, data = _network()
    whole, parts = (
        measure_accuracy(
            model, data, "clean", tiny(evaluation__batch_size=size), split="test", classes=3
        )
        for size in (500, 7)
    )
    assert whole == parts


def test_a_validation_is_both_measurements_and_computes_the_clean_answers_once() -> None:
    config = tiny(data__max_per_class=5, evaluation__batch_size=8)
    splits = load_splits(config)
    model = build_model(config.model, in_channels=1, num_classes=10).eval()
    groups = ClassGroups.from_counts(splits.samples_per_class.tolist())
    forwards: list[int] = []
    hook = model.register_forward_hook(lambda module, images, out: forwards.append(len(out)))
    per_class, metrics, answers = validate(model, splits.val, config, groups)
    together = sum(forwards)
    forwards.clear()
    for attack in ("clean", "pgd2"):
        alone = measure_accuracy(model, splits.val, attack, config, split="val", classes=10)
        assert per_class[f"val/{attack}"] == alone.per_class
        assert alone.metrics(f"val/{attack}", groups).items() <= metrics.items()
    hook.remove()
    assert together == sum(forwards) - len(splits.val)
    assert answers.float().mean().item() == pytest.approx(metrics["val/pgd2_acc"])
