"""`data.*`: the images that a training uses, and their augmentation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from ltat_tune.config.extensions import Extensible, OpenSection
from ltat_tune.config.fields import documented
from ltat_tune.config.scalars import Integer, Number, Ratio

# data sets that are the user's own files, and what data.root names for each
OWN_FILES = {"image_folder": "folder", "npz": ".npz file", "csv": "CSV file"}


class DataConfig(OpenSection):
    """The data set, its long-tailed subset, the validation images and the augmentation."""

    section: ClassVar[str] = "data"

    name: Annotated[
        Literal[
            "digits", "cifar10", "cifar100", "svhn", "tiny_imagenet", "mnist", "fashion_mnist",
            "image_folder", "npz", "csv",
        ],
        Extensible("data.name"),
    ] = documented("digits", "data set", source="REAT 5; SRAT 5.1")  # fmt: skip
    root: str | None = documented(
        None,
        "folder of the data set. For image_folder it holds train/ and test/ (and val/), each with "
        "one folder per class. npz and csv name a file. For the other data sets it holds the "
        "official files; null is ~/.cache/ltat-tune",
        unit="path",
        also=("data_dir", "path"),
    )
    classes: tuple[str, ...] | None = documented(
        None,
        "classes to use, the most frequent first; null uses all classes in the data set's order",
        also=("class_names",),
        source="SRAT 3.1 (pairs of classes)",
    )
    indices: dict[Literal["train", "val", "test"], str] | None = documented(
        None,
        "fixed splits: files of indices from 0, such as {train: a.npy, val: b.npy}. train and val "
        "index the data set's training images, test its test images; val_source given reads val",
        unit="path",
        also=("split_file", "train_idx"),
    )
    image_size: Integer | None = documented(
        None,
        "side length to which the images are resized; null keeps their size, which must then be "
        "the same for all images",
        unit="pixels",
        ge=4,
        le=1024,
    )
    profile: Literal["exp", "step", "linear", "given", "balanced", "balanced_small", "full"] = (
        documented(
            "exp",
            "shape of the class counts: exp is n_max*UR^(-i/(C-1)); step has half the classes at"
            " n_max/UR; linear falls in equal steps to n_max/UR; given takes data.counts; balanced"
            " has n_max images of every class; balanced_small spreads the total of exp evenly;"
            " full takes every image",
            source="Cui2019Class; REAT 5 and appendix; SRAT 5.1",
            also=("imb_type",),
        )
    )
    counts: tuple[Integer, ...] | None = documented(
        None,
        "number of training images of every class, in the order of the classes, for profile given",
        unit="images",
    )
    imbalance_ratio: Ratio = documented(
        50.0,
        "imbalance ratio: n_max / n_min",
        symbol="UR, K",
        ge=1,
        le=1e6,
        source="REAT 5 (UR); SRAT 5.1 (K)",
        also=("imb_factor", "ir", "ratio"),
    )
    max_per_class: Integer | None = documented(
        None,
        "n_max: number of images of the most frequent class; null lets data.base decide",
        unit="images",
        ge=1,
    )
    base: Literal["min_class", "per_class"] = documented(
        "min_class",
        "n_max if data.max_per_class is null: the number of images of the smallest class, for "
        "every class (min_class; the ratio is then as requested, up to the rounding of the class "
        "counts to whole numbers), or each class's own number (per_class, "
        "SRAT's wording for SVHN; the counts may then not fall monotonically)",
        source="SRAT 5.1",
    )
    rounding: Literal["floor", "round"] = documented(
        "floor",
        "rounding of the class counts to whole numbers: down (floor), as in the releases of "
        "LDAM-DRW, REAT and SRAT, or to the nearest (round)",
        source="MCAT release (round)",
    )
    val_source: Literal["train", "folder", "given", "test"] = documented(
        "train",
        "source of the validation images: train holds them out before the long tail is cut; "
        "folder reads val/ of an image_folder; given takes those of an npz or csv file, or of "
        "data.indices; test uses the test images, the papers' own "
        "protocol, and marks every result selected_on_test",
    )
    val_per_class: Integer = documented(
        100,
        "number of held-out validation images of each class. Data sets with many classes have a "
        "smaller default, so that a validation costs less than a quarter of an epoch",
        unit="images",
        ge=1,
        also=("num_val",),
        instead=(("data.name", ("cifar100",), 20), ("data.name", ("tiny_imagenet",), 10)),
    )
    policy: Literal["none", "randaugment", "autoaugment"] = documented(
        "none",
        "augmentation policy before the crop: none, RandAugment, or AutoAugment's policy for "
        "CIFAR-10",
        source="Yue2024Revisiting (AT-BSL); Cubuk2020RandAugment; Cubuk2019AutoAugment",
    )
    policy_ops: Integer = documented(
        2, "randaugment: number of operations on each image", symbol="N", ge=1, le=10,
        source="AT-BSL release (2)",
    )  # fmt: skip
    policy_magnitude: Integer = documented(
        8, "randaugment: strength of the operations", symbol="M", ge=0, le=30,
        source="AT-BSL release (8)",
    )  # fmt: skip
    augmentation: Literal["none", "crop", "crop_flip"] = documented(
        "none",
        "augmentation of each image: none, a random crop after zero padding (crop), or a crop and "
        "a random horizontal flip (crop_flip)",
    )
    crop_padding: Integer = documented(
        4, "width of the zero padding before the random crop", unit="pixels", ge=1, le=64
    )
    rotation: Number = documented(
        0.0,
        "largest angle of the random rotation after crop and flip; the angle is uniform between "
        "minus and plus this value",
        unit="degrees",
        ge=0,
        le=180,
        source="RobustLT release (15 on CIFAR-100)",
    )
