"""`evaluation.*` and `seeds.*`: how a model is measured, and what noise decides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from ltat_tune.config.attack_names import is_validation_attack
from ltat_tune.config.fields import Section, documented
from ltat_tune.config.scalars import Integer, Number


def _validates(attack: str) -> str:
    if not is_validation_attack(attack):
        raise ValueError(f"must be clean, pgd<steps> or cw<steps>, got {attack!r}")
    return attack


class EvaluationConfig(Section):
    """How a trained model is measured. It changes no weight, so it cannot be tuned."""

    val_attack: Annotated[str, AfterValidator(_validates)] = documented(
        "pgd20", "attack on the validation images: clean, pgd<steps> or cw<steps>"
    )
    norm: Literal["linf", "l2"] | None = documented(
        None, "norm of every evaluation attack; null is attack.norm", source="REAT Table 12"
    )
    eps: Number | None = documented(
        None,
        "radius of every evaluation attack; null is attack.eps",
        symbol="ε",
        unit="pixels, 0 to 1",
        ge=0,
        le=100,
    )
    step_size: Number | None = documented(
        None,
        "length of one step of the evaluation's pgd and cw; null is a quarter of the radius in"
        " linf, a fifth in l2 (2/255 at 8/255 and 0.2 at 1.0, REAT's)",
        symbol="α",
        unit="pixels, 0 to 1",
        gt=0,
        le=100,
        source="SRAT 5.1 (1/255 on SVHN); REAT 5",
    )
    every_epochs: Integer = documented(
        1, "validate every so many epochs, and after the last", ge=1
    )
    select_epoch: Literal["last", "best"] = documented(
        "last",
        "the weights that are kept: of the last epoch, or of the best validated one",
    )
    batch_size: Integer = documented(500, "images in an evaluation batch", ge=1, le=65536)
    ae_distance_images: Integer = documented(
        0,
        "training images of every class whose adversarial images are compared from epoch to epoch"
        " (REAT's Figure 3); 0 is none, 10 cost about a hundredth of the training",
        ge=0,
        le=1000,
        source="REAT Fig. 3",
    )
    aa_images: Integer | None = documented(
        None,
        "test images for AutoAttack, the same number of every class; null is all",
        ge=1,
    )


class SeedsConfig(Section):
    """`subset_seed` decides which images make the tail, `seed` everything else."""

    seed: Integer = documented(
        0, "training noise: weights, batches, augmentation, attack starts", ge=0, le=2**31
    )
    subset_seed: Integer | None = documented(
        0,
        "which images form the hold-out and the tail; null is seeds.seed, so that each repeat "
        "has other images, as in SRAT's release",
        ge=0,
        le=2**32 - 1,
        also=("rand_number",),
        source="REAT, RoBal, LDAM-DRW releases (0); SRAT release (the training seed)",
    )
