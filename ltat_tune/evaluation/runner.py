"""A model under one attack: in batches, each kept on disk, so that a killed evaluation goes on.

What an accuracy means here: an image that is wrong before any attack is wrong under every attack
and is not attacked. Every other image is either attacked by every attack that was asked for, so
that no number depends on the order of attacks, or, where the worst case alone is asked for, by
each until one of them succeeds. Either way an image survives the worst case if it survives each
of them. AutoAttack orders its four attacks itself: each sees what the ones before it left.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.named import parse_attack
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import CheckpointError
from ltat_tune.evaluation.measures import Answers
from ltat_tune.files import read_json, write_json
from ltat_tune.provenance import versions
from ltat_tune.seeding import stream_seed

# Which images make a smaller part: those of `training.evaluation`, whatever the attack's seed is.
_PART_SEED = 0


@dataclass(frozen=True)
class MeasuredPart:
    """Images of one split, and their places in it."""

    split: str
    data: LabelledImages
    places: Tensor  # (N,) int64, ascending within a class
    hash: str  # of images, labels and places

    @classmethod
    def of(cls, split: str, data: LabelledImages, images: int | None) -> MeasuredPart:
        """All images, or a seeded part with the same number of every class.

        A smaller part lies inside every larger one.

        Raises:
            DataError: fewer images than classes.
        """
        everything = torch.arange(len(data))
        chosen = LabelledImages(everything, data.targets).class_balanced_part(
            images, seed=_PART_SEED
        )
        taken = LabelledImages(data.images[chosen.images], chosen.targets)
        digest = hashlib.sha256()
        for values in (taken.images, taken.targets, chosen.images):
            digest.update(values.contiguous().numpy().tobytes())
        return cls(split, taken, chosen.images, digest.hexdigest()[:16])

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class Setting:
    """One attack on one model: everything that its numbers depend on but the weights and images.

    Attributes:
        attack: name, by the grammar of attack_names.py.
        scale: factor on the logits, `model.inference_scale`.
        eps: radius, pixel units; 0 for clean.
        norm: `linf` or `l2`.
        step_size: of attacks with steps, pixel units; None for the others.
        seed: of random starts.
        batch_size: images of the split that are gone through together; those of them that stand
            are attacked together. The noise of aa and square depends on it, other numbers only by
            the rounding of sums.
        source: the fingerprint of the model that a transfer attack is made on.
        after: attacks that left the images which this one sees; None where it sees all that are
            right without attack.
    """

    attack: str
    scale: float
    eps: float
    norm: str
    step_size: float | None
    seed: int
    batch_size: int
    source: str | None = None
    after: tuple[str, ...] | None = None


@dataclass(frozen=True)
class AttackOutcome:
    """Answers to a part's images under one setting."""

    setting: Setting
    part: MeasuredPart
    answers: Answers
    seconds: float


# images done, images in all, right answers so far
OnBatch = Callable[[int, int, int], None]


def evaluate_clean(
    model: nn.Module,
    part: MeasuredPart,
    setting: Setting,
    *,
    weights: str,
    state: Path,
    on_batch: OnBatch | None = None,
) -> AttackOutcome:
    """The model's answers to the images as they are."""
    return _run(model, part, setting, None, weights, state, None, on_batch)


def evaluate_attack(
    model: nn.Module,
    part: MeasuredPart,
    setting: Setting,
    *,
    before: Answers,
    weights: str,
    state: Path,
    source: nn.Module | None = None,
    on_batch: OnBatch | None = None,
) -> AttackOutcome:
    """The model's answers under attack; images that are wrong in `before` keep that answer.

    Batches that an earlier process finished are read from `state`, where each is written whole or
    not at all.

    Args:
        model: as measured, with its scale.
        part: the images.
        setting: the attack.
        before: answers to the same images without an attack, or after those of `setting.after`.
        weights: what tells the model from all others, part of the key under which batches are
            kept: see `Loaded.fingerprint`.
        state: folder of the batches.
        source: model that transfer attacks are made on.
        on_batch: told of every batch.

    Raises:
        ConfigError: no such attack, or one that cannot run so.
        CheckpointError: the model's logits are not finite.
    """
    return _run(model, part, setting, before, weights, state, source, on_batch)


def _run(
    model: nn.Module,
    part: MeasuredPart,
    setting: Setting,
    before: Answers | None,
    weights: str,
    state: Path,
    source: nn.Module | None,
    on_batch: OnBatch | None,
) -> AttackOutcome:
    device = next(model.parameters()).device
    about = {
        **asdict(setting), "weights": weights, "images": part.hash, "device": device.type,
        "before": None if before is None else _digest(before),
        "versions": {name: versions()[name] for name in ("ltat-tune", "torch", "pyautoattack")},
    }  # fmt: skip
    folder = state / _key(about)
    if not (folder / "about.json").exists():
        write_json(folder / "about.json", about)
    batches, right, seconds = [], 0, 0.0
    with frozen(model, training=False):
        for first in range(0, len(part), setting.batch_size):
            here = slice(first, first + setting.batch_size)
            path = folder / f"{first:06d}.json"
            found = _read(path)
            if found is None:
                known = None if before is None else _slice(before, here)
                found = _batch(model, part, setting, here, known, source, device)
                write_json(path, found)
            batches.append(found)
            seconds += found["seconds"]
            targets = part.data.targets[here].tolist()
            right += sum(p == t for p, t in zip(found["predicted"], targets, strict=True))
            if on_batch is not None:
                on_batch(min(here.stop, len(part)), len(part), right)
    answers = Answers(
        targets=part.data.targets,
        predicted=torch.tensor([p for b in batches for p in b["predicted"]]),
        confidence=torch.tensor([c for b in batches for c in b["confidence"]]).double(),
    )
    return AttackOutcome(setting, part, answers, seconds)


def _key(about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _digest(answers: Answers) -> str:
    """Batches hold these answers, and which images were attacked follows from them."""
    digest = hashlib.sha256(answers.predicted.contiguous().numpy().tobytes())
    digest.update(answers.confidence.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError:  # torn, whatever did that; doing it again costs a batch
        return None


def _slice(answers: Answers, here: slice) -> Answers:
    return Answers(answers.targets[here], answers.predicted[here], answers.confidence[here])


def _batch(
    model: nn.Module,
    part: MeasuredPart,
    setting: Setting,
    here: slice,
    before: Answers | None,
    source: nn.Module | None,
    device: torch.device,
) -> dict[str, Any]:
    began = time.perf_counter()
    images = to_unit(part.data.images[here].to(device))
    targets = part.data.targets[here].to(device)
    if before is None:
        predicted, confidence = _answers(model, images)
    else:
        predicted, confidence = before.predicted.clone(), before.confidence.clone()
        standing = before.correct.nonzero().squeeze(1)
        if len(standing):
            attack = parse_attack(setting.attack)
            seed = setting.seed
            if attack.noise == "place":  # the others' code reseeds for every batch, as on its own
                seed = stream_seed(seed, part.split)
            adv_images = attack.run(
                model, images[standing], targets[standing], eps=setting.eps, norm=setting.norm,
                step_size=setting.step_size, seed=seed, places=part.places[here][standing],
                source=source if attack.needs_source else None,
            )  # fmt: skip
            predicted[standing], confidence[standing] = _answers(model, adv_images)
    if not bool(confidence.isfinite().all()):
        raise CheckpointError(
            f"the model's logits are not finite under {setting.attack}; it cannot be measured"
        )
    return {
        "predicted": predicted.tolist(),
        "confidence": confidence.tolist(),
        "seconds": time.perf_counter() - began,
    }


def _answers(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted class (N,) and its softmax (N,) float64, on the CPU."""
    with torch.no_grad():
        probability, predicted = model(images).double().softmax(dim=1).max(dim=1)
    return predicted.cpu(), probability.cpu()


def worst_case(outcomes: Sequence[AttackOutcome]) -> tuple[Tensor, Tensor]:
    """Which images survive all of the attacks: correct (N,) bool, targets (N,).

    Where an attack ran on a smaller part, only the images that every attack has seen count.
    """
    smallest = min((o.part for o in outcomes), key=len)
    correct = torch.ones(len(smallest), dtype=torch.bool)
    for outcome in outcomes:
        where = torch.full((int(outcome.part.places.max()) + 1,), -1)
        where[outcome.part.places] = torch.arange(len(outcome.part))
        correct &= outcome.answers.correct[where[smallest.places]]
    return correct, smallest.data.targets
