"""`evaluation.*` and `seeds.*`: the measurement of a model, and the seeds of a training."""

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
    """The measurement of a trained model. It changes no weight, so it cannot be tuned."""

    val_attack: Annotated[str, AfterValidator(_validates)] = documented(
        "pgd20", "attack on the validation images: clean, pgd<steps> or cw<steps>"
    )
    norm: Literal["linf", "l2"] | None = documented(
        None, "norm of all evaluation attacks; null is attack.norm", source="REAT Table 12"
    )
    eps: Number | None = documented(
        None,
        "radius of all evaluation attacks; null is attack.eps",
        symbol="ε",
        unit="pixels, 0 to 1",
        ge=0,
        le=100,
    )
    step_size: Number | None = documented(
        None,
        "length of one step of the evaluation attacks pgd, mim, cw, adaptive and transfer; null is"
        " a quarter of the radius in linf and a fifth in l2 (2/255 for 8/255 and 0.2 for 1.0, as"
        " in REAT)",
        symbol="α",
        unit="pixels, 0 to 1",
        gt=0,
        le=100,
        source="SRAT 5.1 (1/255 on SVHN); REAT 5",
    )
    every_epochs: Integer | None = documented(
        1,
        "number of epochs between validations; null validates only at rungs. The last epoch is"
        " always validated",
        ge=1,
    )
    select_epoch: Literal["last", "best", "best_late"] = documented(
        "last",
        "epoch whose weights are kept: the last one, or the best one by validation score; of "
        "equal scores, best keeps the earliest epoch and best_late the latest",
        source="REAT release (best_late)",
    )
    batch_size: Integer = documented(
        500, "number of images in an evaluation batch", ge=1, le=65536
    )
    ae_distance_images: Integer = documented(
        0,
        "number of training images of every class whose adversarial images are compared from epoch"
        " to epoch (REAT's Figure 3); 0 turns this off, 10 adds about a hundredth to the training"
        " time",
        ge=0,
        le=1000,
        source="REAT Fig. 3",
    )
    aa_images: Integer | None = documented(
        None,
        "number of test images for the slow attacks (aa, square, cwl2, cwl2_fixed), taken equally "
        "from every class; null is all",
        ge=1,
    )


class SeedsConfig(Section):
    """The seeds. `subset_seed` chooses the subset's images, `seed` decides everything else."""

    seed: Integer = documented(
        0,
        "seed of the training: initial weights, batches, augmentation and attack starts",
        ge=0,
        le=2**31,
    )
    subset_seed: Integer | None = documented(
        0,
        "seed that chooses the images of the hold-out and of the long-tailed subset; null is "
        "seeds.seed, so that each repeat has different images, as in SRAT's release",
        ge=0,
        le=2**32 - 1,
        also=("rand_number",),
        source="REAT, RoBal, LDAM-DRW releases (0); SRAT release (the training seed)",
    )
