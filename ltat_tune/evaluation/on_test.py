"""Measures a model on test images attack by attack, and keeps the answers by image.

Several workers can share a test: each measures some of the batches first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.evaluation.batch_files import BatchFiles, batches_of_part
from ltat_tune.models.arithmetic import computing_on
from ltat_tune.storage.training_files import KeptAnswers, MeasuredOnTest
from ltat_tune.training.evaluation import correct_answers, measured_part
from ltat_tune.training.metrics import Accuracy, ClassGroups

# (attack, its images) -> what is called with those of them that are done
OnImages = Callable[[str, int], Callable[[int], None]]


def measure_on_test(
    model: nn.Module,
    test: LabelledImages,
    config: TrialConfig,
    groups: ClassGroups,
    attacks: Sequence[str],
    done: MeasuredOnTest,
    on_attack: Callable[[MeasuredOnTest], None],
    on_images: OnImages | None = None,
    batches: BatchFiles | None = None,
) -> MeasuredOnTest:
    """Attack the test images with what is not measured yet. The numbers are those of `evaluate`.

    Args:
        model: as measured, on its device.
        test: all test images, on the same device.
        config: says how to attack.
        groups: class groups by training counts.
        attacks: their names.
        done: what was measured before; its `part` is that of `confirm.test_images`.
        on_attack: called with all that is measured, after each attack.
        on_images: returns what is called with the images that an attack has met so far.
        batches: those that are measured; the rest is added to them. None keeps no batches.
    """
    classes = groups.classes
    for attack in attacks:
        if done.has(attack):
            continue
        part = measured_part(test, attack, config, split="test", at_most=done.part)
        on_batch = None if on_images is None else on_images(attack, len(part))
        if on_batch is not None:
            on_batch(0)
        with computing_on(torch.device(test.images.device), config.compute):
            answers = correct_answers if batches is None else batches.correct
            correct = answers(model, part, attack, config, on_batch=on_batch)
        targets = part.data.targets
        accuracy = Accuracy.count(correct, targets, classes)
        done = done.with_attack(
            attack, accuracy.metrics(f"test/{attack}", groups), accuracy.per_class,
            KeptAnswers.of(correct.cpu().numpy(), targets.cpu().numpy(), classes=classes),
        )  # fmt: skip
        on_attack(done)
    return done


def measure_part(
    model: nn.Module,
    test: LabelledImages,
    config: TrialConfig,
    attacks: Sequence[str],
    batches: BatchFiles,
    *,
    part: int,
    parts: int,
    at_most: int | None,
    on_images: OnImages,
) -> None:
    """Measure one part's share of the batches of a test.

    Args:
        model: as measured, on its device.
        test: all test images, on the same device.
        config: says how to attack.
        attacks: that the test has not measured yet, the same for all parts.
        batches: those that are measured.
        part: 1 to `parts`.
        parts: how many parts share the test.
        at_most: `confirm.test_images`.
        on_images: as in `measure_on_test`, of the share's images.
    """
    size = config.evaluation.batch_size
    images = {
        attack: measured_part(test, attack, config, split="test", at_most=at_most)
        for attack in attacks
    }
    share = batches_of_part({a: images[a].count_batches(size) for a in attacks}, part, parts)
    with computing_on(torch.device(test.images.device), config.compute):
        for attack, numbers in share.items():
            mine = sum(len(images[attack].batch(number, size)) for number in numbers)
            on_batch = on_images(attack, mine)
            on_batch(0)
            batches.measure(
                model, images[attack], attack, config, numbers=numbers, on_batch=on_batch
            )
