"""Check that exported files answer as the checkpoint does, on clean and attacked images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ltat_tune.attacks.named import parse_attack
from ltat_tune.data.batches import to_unit
from ltat_tune.errors import StudyError
from ltat_tune.evaluation.loading import Loaded

_IMAGES, _BATCH = 200, 50
_SEED = 0


@dataclass(frozen=True)
class Sample:
    """Validation images, clean and attacked, with the checkpoint's logits."""

    clean: Tensor  # (N, C, H, W) in [0, 1]
    attacked: Tensor
    logits: Tensor  # (N, K), of the clean images
    attacked_logits: Tensor
    attack: str

    def batches(self) -> list[Tensor]:
        """Return all images in the batches of `compare_predictions`, clean ones first."""
        return [*self.clean.split(_BATCH), *self.attacked.split(_BATCH)]


@dataclass(frozen=True)
class Agreement:
    """How closely another form of the model agrees with the checkpoint.

    `clean` and `attacked` are the largest differences of a logit.
    """

    images: int
    clean: float
    attacked: float
    attack: str
    same_class: int  # equal predictions among 2 * images

    def __str__(self) -> str:
        exact = self.clean == self.attacked == 0
        how = "equal to the last bit" if exact else (
            f"largest difference of a logit {self.clean:.1e} on clean and {self.attacked:.1e} on "
            f"{self.attack} images"
        )  # fmt: skip
        return (
            f"{how}; {self.same_class} of {2 * self.images} predictions the same "
            f"({self.images} validation images, clean and under {self.attack})"
        )


def take_sample(loaded: Loaded) -> Sample:
    """Return at most 200 validation images, clean and attacked; test images stay unused."""
    part = loaded.splits.val
    if len(part) > _IMAGES >= len(loaded.splits.classes):
        part = part.class_balanced_part(_IMAGES, seed=_SEED)
    clean, targets = to_unit(part.images), part.targets
    name = loaded.config.evaluation.val_attack
    eps = loaded.config.measured_eps
    attacked = [clean]
    if eps > 0 and name != "clean":
        attack, config = parse_attack(name), loaded.config
        parts = zip(
            clean.split(_BATCH), targets.split(_BATCH), torch.arange(len(clean)).split(_BATCH),
            strict=True,
        )  # fmt: skip
        attacked = [
            attack.run(
                loaded.model, images, labels, eps=eps, norm=config.measured_norm,
                step_size=config.evaluation.step_size, seed=_SEED, places=places,
            )
            for images, labels, places in parts
        ]  # fmt: skip
    moved = torch.cat(attacked).detach()
    return Sample(clean, moved, _of(loaded.model, clean), _of(loaded.model, moved), name)


def _of(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(part) for part in images.split(_BATCH)])


def compare_predictions(
    sample: Sample, model: Callable[[Tensor], Tensor], *, what: str, tolerance: float
) -> Agreement:
    """Compare the logits of another form of the model with the checkpoint's.

    Args:
        sample: images and the checkpoint's logits.
        model: images (N, C, H, W) -> logits (N, K).
        what: the name of the file, for the message.
        tolerance: largest allowed difference, relative to the largest logit; 0 allows none.

    Raises:
        StudyError: the logits differ by more than the tolerance.
    """
    clean, attacked = _of(model, sample.clean), _of(model, sample.attacked)
    differences = [(clean - sample.logits).abs().max(),
                   (attacked - sample.attacked_logits).abs().max()]  # fmt: skip
    same = (clean.argmax(1) == sample.logits.argmax(1)).sum()
    same = same + (attacked.argmax(1) == sample.attacked_logits.argmax(1)).sum()
    agreement = Agreement(
        len(sample.clean), float(differences[0]), float(differences[1]), sample.attack, int(same)
    )
    largest = max(1.0, float(sample.logits.abs().max()), float(sample.attacked_logits.abs().max()))
    worst = max(agreement.clean, agreement.attacked)
    if not worst <= tolerance * largest:  # NaN too
        raise StudyError(
            f"{what} must answer as its checkpoint does, to within {tolerance * largest:.1e}; "
            f"{agreement}. Please report this"
        )
    return agreement
