"""Measures the accuracy of a model on one split, on clean images or under one attack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.heartbeat import beat
from ltat_tune.attacks.named import parse_attack
from ltat_tune.attacks.shaped_replays import ShapedReplays
from ltat_tune.config.attack_names import is_attack, is_slow, unknown_attack
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import evaluation_batches
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import ConfigError
from ltat_tune.models.computing import exactly
from ltat_tune.training.metrics import Accuracy, ClassGroups

# Every model of a study is attacked with the same noise, whatever its own seed is. It is also the
# default of `ltat-tune evaluate --attack-seed`, which then gives the same numbers.
EVALUATION_SEED = 0
_PART_SEED = 0  # of the images of a smaller part, whatever the seed of the noise is


@dataclass(frozen=True)
class MeasuredPart:
    """Images of one split, with their places in it, on which their noise depends."""

    split: str
    data: LabelledImages
    places: Tensor  # (N,) int64, ascending within a class

    @classmethod
    def of(
        cls, split: str, data: LabelledImages, images: int | None, *, at_most: bool = False
    ) -> MeasuredPart:
        """Return all images of a split, or a seeded part with the same number from every class.

        A smaller part lies inside every larger one. `at_most` is that of
        `LabelledImages.class_balanced_places`.

        Raises:
            DataError: without `at_most`, as `LabelledImages.class_balanced_places`.
        """
        places = data.class_balanced_places(images, seed=_PART_SEED, at_most=at_most)
        return cls(split, data if len(places) == len(data) else data.at(places), places)

    @cached_property
    def hash(self) -> str:
        """16 hex digits of the images, the labels and the places."""
        digest = hashlib.sha256()
        for values in (self.data.images, self.data.targets, self.places):
            digest.update(values.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield images in [0, 1] (B, C, H, W), targets (B,) and places (B,), in order."""
        for (images, targets), places in zip(
            evaluation_batches(self.data, size), self.places.split(size), strict=True
        ):
            yield images, targets, places

    def batch(self, number: int, size: int) -> MeasuredPart:
        """Return one of the batches of this size, counted from 0."""
        here = slice(number * size, (number + 1) * size)
        data = LabelledImages(self.data.images[here], self.data.targets[here])
        return MeasuredPart(self.split, data, self.places[here])

    def count_batches(self, size: int) -> int:
        """Return how many batches of this size it has."""
        return -(-len(self) // size)

    def __len__(self) -> int:
        return len(self.data)


def measured_part(
    data: LabelledImages,
    attack: str,
    config: TrialConfig,
    *,
    split: str,
    at_most: int | None = None,
) -> MeasuredPart:
    """Return the images to attack: all of them, or a class-balanced part for slow attacks.

    With `at_most`, no attack gets more images than that. It is the `confirm.test_images` of a
    study. A class that has too few images then gives all it has.
    """
    slow = config.evaluation.aa_images if is_slow(attack) else None
    if at_most is not None and (slow is None or at_most < slow):
        return MeasuredPart.of(split, data, at_most, at_most=True)
    return MeasuredPart.of(split, data, slow)


def measure_accuracy(
    model: nn.Module,
    data: LabelledImages,
    attack: str,
    config: TrialConfig,
    *,
    split: str,
    classes: int,
    at_most: int | None = None,
    replays: ShapedReplays | None = None,
) -> Accuracy:
    """Count the correct predictions by class under one attack, in eval mode.

    The model's modes and parameters are restored afterwards. Only correctly classified clean
    images are attacked: a misclassified clean image counts as misclassified under every attack, as
    in RobustBench. Predictions are computed in float32, whatever precision the model trains and is
    attacked in. The norm and the radius are those of `evaluation`, or of the training attack where
    `evaluation` has none. The default step is a quarter of the radius in L-inf and a fifth in L2.
    `EvaluationAttack` describes each attack. The noise of an image is the same for all models, and
    that of `ltat-tune evaluate`.

    Args:
        model: images in [0, 1] to logits (N, K).
        data: all images of the split.
        attack: name, by the grammar of attack_names.py.
        config: says how to attack, and how many images a slow attack gets.
        split: name of the split, `val` or `test`; the noise depends on it.
        classes: K.
        at_most: the most images that the attack gets, as in `measured_part`.
        replays: as for `correct_answers`.

    Raises:
        ConfigError: the attack does not exist, or not in this norm.
    """
    part = measured_part(data, attack, config, split=split, at_most=at_most)
    correct = correct_answers(model, part, attack, config, replays=replays)
    return Accuracy.count(correct, part.data.targets, classes)


class Validation(NamedTuple):
    """What a validation measures.

    Attributes:
        per_class: the recalls by class, by name.
        metrics: the accuracies, by name.
        answers: which images are right under the validation attack, (N,) bool.
    """

    per_class: dict[str, list[float | None]]
    metrics: dict[str, float]
    answers: Tensor


def validate(
    model: nn.Module,
    data: LabelledImages,
    config: TrialConfig,
    groups: ClassGroups,
    *,
    replays: ShapedReplays | None = None,
) -> Validation:
    """Measure the validation images without an attack and under the validation attack.

    `replays` is that of `correct_answers`.

    Raises:
        ConfigError: as `measure_accuracy`.
    """
    per_class: dict[str, list[float | None]] = {}
    metrics: dict[str, float] = {}
    clean = None
    for attack in dict.fromkeys(["clean", config.evaluation.val_attack]):
        part = measured_part(data, attack, config, split="val")
        known = clean if len(part) == len(data) else None  # a slow attack sees a part
        correct = correct_answers(model, part, attack, config, clean=known, replays=replays)
        clean = correct if clean is None else clean
        accuracy = Accuracy.count(correct, part.data.targets, groups.classes)
        per_class[f"val/{attack}"] = accuracy.per_class
        metrics |= accuracy.metrics(f"val/{attack}", groups)
    return Validation(per_class, metrics, correct)


def correct_answers(
    model: nn.Module,
    part: MeasuredPart,
    attack: str,
    config: TrialConfig,
    *,
    clean: Tensor | None = None,
    on_batch: Callable[[int], None] | None = None,
    replays: ShapedReplays | None = None,
) -> Tensor:
    """Return which images of a part the model answers right under one attack: (N,) bool.

    `measure_accuracy` says how; this keeps the answers that it counts. `clean` holds those without
    an attack, (N,) bool, if they are known. `on_batch` gets the number of images done so far.
    `replays` records the attack and replays it, on a GPU; None runs it for each batch.

    Raises:
        ConfigError: the attack does not exist, or not in this norm.
    """
    if not is_attack(attack):
        raise ConfigError(unknown_attack(attack))
    named = parse_attack(attack)
    right: list[Tensor] = []
    size = config.evaluation.batch_size
    known = None if clean is None else clean.split(size)
    with frozen(model, training=False):
        for images, targets, places in part.batches(size):
            if known is not None:
                correct = known[len(right)].clone()
            else:
                with torch.no_grad(), exactly(model):
                    correct = model(images).argmax(dim=1) == targets
            standing = correct.nonzero().squeeze(1)
            if attack != "clean" and len(standing):
                adv_images = named.run(
                    model, images[standing], targets[standing], eps=config.measured_eps,
                    norm=config.measured_norm, step_size=config.evaluation.step_size,
                    seed=EVALUATION_SEED, split=part.split, places=places[standing],
                    replays=replays,
                )  # fmt: skip
                with torch.no_grad(), exactly(model):
                    correct[standing] = model(adv_images).argmax(dim=1) == targets[standing]
            right.append(correct)
            beat()
            if on_batch is not None:
                on_batch(min(size * len(right), len(part)))
    return torch.cat(right)
