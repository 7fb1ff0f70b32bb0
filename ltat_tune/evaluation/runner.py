"""Measures a model under one attack, in batches kept on disk, so that a killed run resumes.

A misclassified clean image counts as misclassified under every attack and is not attacked. By
default every attack sees all other images, so that no number depends on the order of attacks. If
only the worst case is requested, an attack sees only the images that withstood those before it.
Either way an image survives the worst case if it survives each attack. AutoAttack orders its four
attacks itself: each of them sees what those before it left.
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
from ltat_tune.errors import CheckpointError
from ltat_tune.evaluation.measures import Answers
from ltat_tune.files import read_json, write_json
from ltat_tune.models.computing import exactly
from ltat_tune.provenance import versions
from ltat_tune.training.evaluation import MeasuredPart


@dataclass(frozen=True)
class Setting:
    """One attack on one model: all that its numbers depend on, except the weights and the images.

    Attributes:
        attack: name, by the grammar of attack_names.py.
        scale: factor on the logits, `model.inference_scale`.
        eps: radius, pixel units; 0 for clean.
        norm: `linf` or `l2`.
        step_size: step of attacks that have steps, pixel units; None for the others.
        seed: seed of random starts.
        batch_size: images of the split in one batch; those of them that still stand are attacked
            together. The noise of aa and square depends on it, other numbers only by the rounding
            of sums.
        source: fingerprint of the model on which a transfer attack is made.
        after: attacks that left the images which this one sees; None if it sees all images that
            are right without attack.
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
    """The answers to a part's images under one setting."""

    setting: Setting
    part: MeasuredPart
    answers: Answers
    seconds: float


# (images done, images in all, right answers so far)
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
    """Measure the model's answers to the clean images."""
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
    """Measure the model's answers under attack; images wrong in `before` keep that answer.

    Batches that an earlier process finished are read from `state`, where each is written whole or
    not at all.

    Args:
        model: as measured, with its scale.
        part: the images.
        setting: the attack.
        before: answers to the same images without an attack, or after those of `setting.after`.
        weights: identifies the model, as part of the key under which batches are kept: see
            `Loaded.fingerprint`.
        state: folder of the batches.
        source: model on which transfer attacks are made.
        on_batch: called at the start, and after every batch.

    Raises:
        ConfigError: there is no such attack, or it cannot run so.
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
        **asdict(setting), "weights": weights, "images": part.hash, "device": device_kind(device),
        "before": None if before is None else _digest(before),
        "versions": deciding_versions(),
    }  # fmt: skip
    folder = state / about_key(about)
    if not (folder / "about.json").exists():
        write_json(folder / "about.json", about)
    batches, right, seconds = [], 0, 0.0
    if on_batch is not None:
        on_batch(0, len(part), 0)
    with frozen(model, training=False):
        for first in range(0, len(part), setting.batch_size):
            here = slice(first, first + setting.batch_size)
            path = folder / f"{first:06d}.json"
            batch = _read(path)
            if batch is None:
                before_here = None if before is None else _slice(before, here)
                batch = _batch(model, part, setting, here, before_here, source, device)
                write_json(path, batch)
            batches.append(batch)
            seconds += batch["seconds"]
            targets = part.data.targets[here].tolist()
            right += sum(p == t for p, t in zip(batch["predicted"], targets, strict=True))
            if on_batch is not None:
                on_batch(min(here.stop, len(part)), len(part), right)
    answers = Answers(
        targets=part.data.targets,
        predicted=torch.tensor([p for b in batches for p in b["predicted"]]),
        confidence=torch.tensor([c for b in batches for c in b["confidence"]]).double(),
    )
    return AttackOutcome(setting, part, answers, seconds)


def device_kind(device: torch.device) -> str:
    """Return what numbers depend on of the device."""
    backends: Any = torch.backends  # whose types name no precision
    return device.type if device.type == "cpu" else f"cuda {backends.cudnn.conv.fp32_precision}"


def deciding_versions() -> dict[str, str]:
    """Return the versions of what measures."""
    return {name: versions()[name] for name in ("ltat-tune", "torch", "pyautoattack")}


def about_key(about: dict[str, Any]) -> str:
    """Return 16 hex digits of all that answers depend on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _digest(answers: Answers) -> str:
    """Return a hash of the answers, which batches hold and which decide what is attacked."""
    digest = hashlib.sha256(answers.predicted.contiguous().numpy().tobytes())
    digest.update(answers.confidence.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError:  # torn: the batch is measured again
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
            adv_images = attack.run(
                model, images[standing], targets[standing], eps=setting.eps, norm=setting.norm,
                step_size=setting.step_size, seed=setting.seed, split=part.split,
                places=part.places[here][standing],
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
    """Return the predicted class (N,) and its softmax (N,) float64, on the CPU."""
    with torch.no_grad(), exactly(model):
        probability, predicted = model(images).double().softmax(dim=1).max(dim=1)
    return predicted.cpu(), probability.cpu()


def worst_case(outcomes: Sequence[AttackOutcome]) -> tuple[Tensor, Tensor]:
    """Return which images survive all attacks: correct (N,) bool, targets (N,).

    If an attack ran on a smaller part, only the images that every attack has seen count.
    """
    smallest = min((o.part for o in outcomes), key=len)
    correct = torch.ones(len(smallest), dtype=torch.bool)
    for outcome in outcomes:
        where = torch.full((int(outcome.part.places.max()) + 1,), -1)
        where[outcome.part.places] = torch.arange(len(outcome.part))
        correct &= outcome.answers.correct[where[smallest.places]]
    return correct, smallest.data.targets
