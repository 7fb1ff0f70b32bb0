"""A configuration's sections: every parameter with its default, bounds, meaning and source."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, field_validator

from ltat_tune.documented import Section, param
from ltat_tune.numbers import Integer, Number, Ratio


class DataConfig(Section):
    """Which images: the data set, the long-tailed cut of it, and the validation hold-out."""

    name: Literal["digits", "image_folder"] = param("digits", "data set")
    root: str | None = param(
        None,
        "folder of an image_folder: train/ and test/, each with one folder a class",
        unit="path",
        also=("data_dir", "path"),
    )
    classes: tuple[str, ...] | None = param(
        None,
        "class folders to use, most frequent first; null is all of them by name",
        also=("class_names",),
    )
    image_size: Integer | None = param(
        None,
        "side to which images are resized; null keeps theirs (all must be alike)",
        unit="pixels",
        ge=4,
        le=1024,
    )
    profile: Literal["exp", "step", "balanced", "full"] = param(
        "exp",
        "how class counts fall: exp n_max*UR^(-i/(C-1)), step (half the classes at n_max/UR),"
        " balanced (all at n_max), full (every image there is)",
        source="Cui2019Class; REAT 5.1; SRAT 5.1",
        also=("imb_type",),
    )
    imbalance_ratio: Ratio = param(
        50.0,
        "n_max / n_min",
        symbol="UR, K",
        ge=1,
        le=1e6,
        source="REAT 5.1 (UR); SRAT 5.1 (K)",
        also=("imb_factor", "ir", "ratio"),
    )
    max_per_class: Integer | None = param(
        None,
        "n_max: images of the most frequent class; null is as many as every class has",
        unit="images",
        ge=1,
    )
    val_source: Literal["train", "test"] = param(
        "train",
        "where validation images come from: train (held out before the cut), or test, the"
        " papers' own protocol, which marks every result selected_on_test",
    )
    val_per_class: Integer = param(
        100,
        "held-out validation images of each class",
        unit="images",
        ge=1,
        also=("num_val",),
    )
    augmentation: Literal["none", "crop", "crop_flip"] = param(
        "none",
        "random crop after zero padding, and horizontal flip; whole batches at once",
    )
    crop_padding: Integer = param(
        4, "zero padding before the random crop", unit="pixels", ge=1, le=64
    )


class ModelConfig(Section):
    """The network. Its input is an image in [0, 1]; normalisation is its own first layer."""

    name: Literal["small_cnn", "resnet18"] = param(
        "small_cnn", "architecture", also=("arch", "net")
    )
    width: Integer | None = param(
        None,
        "channels of the first stage; null is 32 for small_cnn, 64 for resnet18",
        unit="channels",
        ge=1,
        le=512,
    )
    stem: Literal["conv", "space_to_depth"] = param(
        "conv",
        "how small_cnn begins: two convolutions, or 2x2 pixels as channels and one "
        "(0.6 of the time)",
    )
    normalisation: Literal["none", "data"] = param(
        "none",
        "none (inputs stay in [0, 1], as both papers), or mean and std of the training subset",
    )


class MethodConfig(Section):
    """What happens in one training step."""

    name: Literal["natural", "pgd_at", "srat"] = param(
        "pgd_at",
        "natural training, PGD adversarial training, or SRAT",
        source="Madry2018Towards; Wang2022Imbalanced",
        also=("defense", "train_mode"),
    )
    separation_weight: Number = param(
        2.0,
        "weight of the feature separation loss",
        symbol="λ",
        ge=0,
        le=1000,
        source="SRAT Eq. 7",
        also=("lambda", "lam", "lamda", "lambda_sep"),
    )
    temperature: Number = param(
        0.07,
        "temperature of the feature separation loss",
        symbol="τ",
        ge=0.001,
        le=100,
        source="SRAT Eq. 6",
        also=("tau", "temp"),
    )
    separation_features: Literal["projection", "penultimate"] = param(
        "projection",
        "features that are separated: the two-layer projection head of the authors'"
        " release, or the penultimate layer; both L2-normalised",
        source="SRAT Eq. 6, release",
    )


class LossConfig(Section):
    """The prediction loss on logits."""

    name: Literal["cross_entropy", "focal", "ldam", "balanced_softmax"] = param(
        "cross_entropy",
        "prediction loss",
        source="Lin2017Focal; Cao2019LDAM Eq. 12-13; Ren2020Balanced Eq. 4",
        also=("criterion",),
    )
    gamma: Number = param(
        1.0,
        "focusing strength of the focal loss; 0 is cross-entropy",
        symbol="γ",
        ge=0,
        le=10,
        source="Lin2017Focal Eq. 4",
    )
    max_margin: Number = param(
        0.5,
        "margin of the rarest class in LDAM",
        symbol="C",
        ge=0,
        le=10,
        source="Cao2019LDAM Eq. 13",
        also=("max_m",),
    )
    scale: Number = param(
        30.0,
        "factor on LDAM's logits after the margin",
        symbol="s",
        gt=0,
        le=1000,
        source="Cao2019LDAM, release",
        also=("s",),
    )
    tau: Number = param(
        1.0,
        "strength of balanced softmax's log-prior shift; 0 is cross-entropy",
        symbol="τ_b",
        ge=0,
        le=10,
        source="Ren2020Balanced Eq. 4",
    )


class ReweightConfig(Section):
    """Class weights inside the prediction loss, and when they begin."""

    name: Literal["none", "class_balanced", "inverse", "under_represented"] = param(
        "none",
        "class weights: effective number, 1/n, or one given value for the rarer half",
        source="Cui2019Class Eq. 2; SRAT 5.1",
        also=("reweighting",),
        acts_from="deferral",
    )
    beta: Number = param(
        0.9999,
        "effective-number parameter of class_balanced; 0 weighs all classes alike",
        symbol="β",
        ge=0,
        lt=1,
        source="Cui2019Class Eq. 2",
        acts_from="deferral",
    )
    under_weight: Number = param(
        100.0,
        "weight of the under-represented half of the classes; the others weigh 1",
        symbol="w",
        gt=0,
        le=1e6,
        source="SRAT Fig. 5",
        acts_from="deferral",
    )
    schedule: Literal["immediate", "deferred"] = param(
        "deferred",
        "from the first epoch, or deferred (DRW)",
        source="Cao2019LDAM 3.3; SRAT 4.2",
        also=("drw",),
    )
    start_fraction: Number = param(
        0.8,
        "share of the epochs before deferred weights begin",
        unit="of optim.epochs",
        ge=0,
        lt=1,
        source="SRAT 5.1 (160 of 200)",
        acts_from="deferral",
    )


class AttackConfig(Section):
    """PGD (L-inf) that makes the training images. Pixel units: images are in [0, 1]."""

    eps: Number = param(
        8 / 255,
        "radius of the ball",
        symbol="ε",
        unit="[0, 1] pixels",
        ge=0,
        le=1,
        also=("epsilon",),
        source="Madry2018Towards; REAT 5.1; SRAT 5.1",
    )
    step_size: Number = param(
        2 / 255,
        "length of one step",
        symbol="α",
        unit="[0, 1] pixels",
        gt=0,
        le=1,
        also=("alpha",),
        source="REAT 5.1; SRAT 5.1",
    )
    steps: Integer = param(
        10, "steps", ge=0, le=10000, also=("num_steps", "perturb_steps", "iters")
    )
    start: Literal["uniform", "uniform_clipped"] = param(
        "uniform",
        "random start in the ball; clipped to [0, 1] before the first gradient or not",
        source="REAT release; SRAT release",
        also=("random_start",),
    )
    bn_mode: Literal["eval", "train"] = param(
        "eval",
        "BatchNorm mode while images are made (train also moves its running statistics)",
        source="REAT release (eval); SRAT release (train)",
    )


class OptimConfig(Section):
    """SGD and its schedule; fractions of the run, so that it scales with `epochs`."""

    epochs: Integer = param(80, "epochs", ge=1, le=100000, also=("num_epochs", "max_epoch"))
    batch_size: Integer = param(128, "images in a batch", ge=1, le=65536)
    lr: Number = param(
        0.1, "peak learning rate", symbol="η", gt=0, le=100, also=("learning_rate",)
    )
    momentum: Number = param(0.9, "SGD momentum", ge=0, lt=1)
    nesterov: bool = param(False, "Nesterov momentum", strict=True)
    weight_decay: Number = param(5e-4, "L2 penalty on all parameters", ge=0, le=10, also=("wd",))
    lr_schedule: Literal["multistep", "cosine", "constant"] = param(
        "multistep",
        "how the learning rate falls after the warm-up",
        also=("scheduler",),
    )
    milestones: tuple[Number, ...] = param(
        (0.75, 0.9375),
        "multistep: where the rate is multiplied by lr_decay",
        unit="of optim.epochs",
        source="REAT 5.1 (60, 75 of 80)",
        also=("lr_steps",),
    )
    lr_decay: Number = param(0.1, "multistep: factor at each milestone", gt=0, le=1)
    warmup_epochs: Integer = param(0, "epochs of linear warm-up", unit="epochs", ge=0)

    @field_validator("milestones")
    @classmethod
    def _milestones_rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < point < 1 for point in value) or list(value) != sorted(set(value)):
            raise ValueError(f"must rise strictly inside (0, 1), got {list(value)}")
        return value


def _validates(attack: str) -> str:
    if not re.fullmatch(r"clean|pgd[1-9]\d*", attack):
        raise ValueError(f"must be clean or pgd<steps>, got {attack!r}")
    return attack


class EvaluationConfig(Section):
    """How a trained model is measured. It changes no weight, so it cannot be tuned."""

    val_attack: Annotated[str, AfterValidator(_validates)] = param(
        "pgd20", "attack on the validation images: clean or pgd<steps>"
    )
    eps: Number | None = param(
        None,
        "radius of every evaluation attack; null is attack.eps",
        symbol="ε",
        unit="[0, 1] pixels",
        ge=0,
        le=1,
    )
    every_epochs: Integer = param(1, "validate every so many epochs, and after the last", ge=1)
    select_epoch: Literal["last", "best"] = param(
        "last",
        "the weights that are kept: of the last epoch, or of the best validated one",
    )
    batch_size: Integer = param(500, "images in an evaluation batch", ge=1, le=65536)
    aa_images: Integer | None = param(
        None,
        "test images for AutoAttack, the same number of every class; null is all",
        ge=1,
    )


class SeedsConfig(Section):
    """`subset_seed` decides which images make the tail, `seed` everything else."""

    seed: Integer = param(
        0, "training noise: weights, batches, augmentation, attack starts", ge=0, le=2**31
    )
    subset_seed: Integer = param(
        0,
        "which images form the hold-out and the tail",
        ge=0,
        le=2**32 - 1,
        also=("rand_number",),
        source="REAT, RoBal, LDAM-DRW releases (0)",
    )
