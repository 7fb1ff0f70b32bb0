"""`data.*`: which images train, and what happens to them on the way."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from ltat_tune.config.extensions import Extensible, OpenSection
from ltat_tune.config.fields import documented
from ltat_tune.config.scalars import Integer, Number, Ratio


class DataConfig(OpenSection):
    """Which images: the data set, the long-tailed cut of it, and the validation hold-out."""

    section: ClassVar[str] = "data"

    name: Annotated[
        Literal["digits", "cifar10", "cifar100", "svhn", "tiny_imagenet", "image_folder"],
        Extensible("data.name"),
    ] = documented("digits", "data set", source="REAT 5; SRAT 5.1")
    root: str | None = documented(
        None,
        "folder of an image_folder: train/ and test/ (and val/), each with one folder a class; of "
        "the other data sets, where their official files lie (null: ~/.cache/ltat-tune)",
        unit="path",
        also=("data_dir", "path"),
    )
    classes: tuple[str, ...] | None = documented(
        None,
        "classes to use, most frequent first; null is all of them in the data set's order",
        also=("class_names",),
        source="SRAT 3.1 (pairs of classes)",
    )
    image_size: Integer | None = documented(
        None,
        "side to which images of a folder are resized; null keeps theirs (all must be alike)",
        unit="pixels",
        ge=4,
        le=1024,
    )
    profile: Literal["exp", "step", "linear", "given", "balanced", "balanced_small", "full"] = (
        documented(
            "exp",
            "how class counts fall: exp n_max*UR^(-i/(C-1)), step (half the classes at n_max/UR),"
            " linear (in equal steps to n_max/UR), given (data.counts), balanced (all at n_max),"
            " balanced_small (the total of exp, spread evenly), full (every image there is)",
            source="Cui2019Class; REAT 5 and appendix; SRAT 5.1",
            also=("imb_type",),
        )
    )
    counts: tuple[Integer, ...] | None = documented(
        None,
        "profile given: training images of every class, in the order of the classes",
        unit="images",
    )
    imbalance_ratio: Ratio = documented(
        50.0,
        "n_max / n_min",
        symbol="UR, K",
        ge=1,
        le=1e6,
        source="REAT 5 (UR); SRAT 5.1 (K)",
        also=("imb_factor", "ir", "ratio"),
    )
    max_per_class: Integer | None = documented(
        None,
        "n_max: images of the most frequent class; null is as many as data.base says",
        unit="images",
        ge=1,
    )
    base: Literal["min_class", "per_class"] = documented(
        "min_class",
        "what n_max is when it is not given: the images of the smallest class, for every class "
        "(the ratio is exact), or each class's own (as SRAT words it for SVHN; not monotone)",
        source="SRAT 5.1",
    )
    rounding: Literal["floor", "round"] = documented(
        "floor",
        "how counts become whole: cut off, as the releases of LDAM-DRW, REAT, SRAT; or rounded",
        source="MCAT release (round)",
    )
    val_source: Literal["train", "folder", "test"] = documented(
        "train",
        "where validation images come from: train (held out before the cut), folder (val/ of an "
        "image_folder), or test, the papers' own protocol, which marks every result "
        "selected_on_test",
    )
    val_per_class: Integer = documented(
        100,
        "held-out validation images of each class; with many classes fewer, so that validating "
        "costs less than a quarter of an epoch",
        unit="images",
        ge=1,
        also=("num_val",),
        instead=(("data.name", ("cifar100",), 20), ("data.name", ("tiny_imagenet",), 10)),
    )
    policy: Literal["none", "randaugment", "autoaugment"] = documented(
        "none",
        "augmentation policy before the crop: RandAugment, or AutoAugment's CIFAR-10 policy",
        source="Yue2024Revisiting (AT-BSL); Cubuk2020RandAugment; Cubuk2019AutoAugment",
    )
    policy_ops: Integer = documented(
        2, "randaugment: operations on each image", symbol="N", ge=1, le=10,
        source="AT-BSL release (2)",
    )  # fmt: skip
    policy_magnitude: Integer = documented(
        8, "randaugment: strength of the operations", symbol="M", ge=0, le=30,
        source="AT-BSL release (8)",
    )  # fmt: skip
    augmentation: Literal["none", "crop", "crop_flip"] = documented(
        "none",
        "random crop after zero padding, and horizontal flip; whole batches at once",
    )
    crop_padding: Integer = documented(
        4, "zero padding before the random crop", unit="pixels", ge=1, le=64
    )
    rotation: Number = documented(
        0.0,
        "random rotation after the crop and flip, uniform in plus and minus this",
        unit="degrees",
        ge=0,
        le=180,
        source="RobustLT release (15 on CIFAR-100)",
    )
