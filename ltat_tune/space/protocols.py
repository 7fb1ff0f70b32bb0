"""Protocols of a first space file: training and measurement by data set, domains by method."""

from __future__ import annotations

from dataclasses import dataclass

Line = tuple[str, str, str]  # parameter, value as YAML writes it, why


@dataclass(frozen=True)
class DataProtocol:
    """The training, attack and measurement that suit a data set.

    Attributes:
        fixed: the lines of `fixed`.
        lr: the ends of the range of the learning rate.
        ratios: the default imbalance ratios.
        attacks: the attacks on the test images.
        top: how many of the best configurations are confirmed.
        resources: the resources of a trial, as YAML writes them.
        resources_note: the comment on them.
    """

    fixed: tuple[Line, ...]
    lr: tuple[float, float]
    ratios: str
    attacks: tuple[str, ...] = ("clean", "pgd20", "pgd100", "cw100", "aa")
    top: int = 2
    resources: str = "{cpus_per_trial: 1, gpus_per_trial: 0.5}"
    resources_note: str = "two trials share a GPU; without one: gpus_per_trial: 0"


def _photographs(attack: tuple[Line, ...], *, profile: str, flip: bool) -> tuple[Line, ...]:
    """Return the lines that the papers' data sets share."""
    augmentation = (
        ("data.augmentation", "crop_flip", "")
        if flip
        else ("data.augmentation", "crop", "mirrored digits are other signs")
    )
    return (
        ("data.profile", profile, "how the class counts fall"),
        augmentation,
        ("model.name", "resnet18", ""),
        *attack,
        ("optim.epochs", "80", "the learning rate drops at 60 and 75"),
        ("evaluation.every_epochs", "5", ""),
        ("evaluation.aa_images", "1000", "test images for AutoAttack; null: all"),
    )


def _ball(eps: str, step_size: str) -> tuple[Line, ...]:
    return (
        ("attack.eps", eps, "radius of the attack, L-inf"),
        ("attack.step_size", step_size, ""),
        ("attack.steps", "10", ""),
    )


_LR = (0.01, 0.3)
_CIFAR = _photographs(_ball("8/255", "2/255"), profile="exp", flip=True)
_SVHN = (*_ball("8/255", "1/255"), ("evaluation.step_size", "1/255", ""))

PROTOCOLS: dict[str, DataProtocol] = {
    "digits": DataProtocol(
        fixed=(
            ("data.profile", "exp", "how the class counts fall"),
            ("data.val_per_class", "30", "validation images of each class"),
            ("model.width", "8", ""),
            ("model.stem", "space_to_depth", "0.6 of the time on a CPU, as accurate here"),
            ("attack.eps", "0.1", "radius of the attack, L-inf"),
            ("attack.step_size", "0.025", ""),
            ("optim.epochs", "16", ""),
            ("optim.batch_size", "64", ""),
            ("optim.lr_schedule", "cosine", ""),
            ("evaluation.every_epochs", "8", ""),
            ("evaluation.aa_images", "50", "test images for AutoAttack; null: all"),
        ),
        lr=(0.02, 0.4), ratios="10,50", attacks=("clean", "pgd20", "aa"), top=1,
        resources="{cpus_per_trial: 1}", resources_note="",
    ),
    "cifar10": DataProtocol(_CIFAR, _LR, "50"),
    "cifar100": DataProtocol(_CIFAR, _LR, "10"),
    "svhn": DataProtocol(_photographs(_SVHN, profile="exp", flip=False), _LR, "100"),
    "mnist": DataProtocol(
        _photographs(_ball("0.3", "0.075"), profile="exp", flip=False), _LR, "50"
    ),
    "fashion_mnist": DataProtocol(
        _photographs(_ball("0.1", "0.025"), profile="exp", flip=True), _LR, "50"
    ),
    "tiny_imagenet": DataProtocol(
        _photographs(_ball("2/255", "0.5/255"), profile="linear", flip=True), (0.02, 0.2), "100",
        resources="{cpus_per_trial: 1, gpus_per_trial: 1}",
        resources_note="without a GPU: gpus_per_trial: 0",
    ),
}  # fmt: skip

FOLDER = DataProtocol(
    fixed=(
        ("data.profile", "exp", "cuts a long tail; full keeps the folder's own"),
        ("data.augmentation", "crop_flip", ""),
        ("model.name", "small_cnn", "on a GPU: resnet18, without model.width"),
        ("model.width", "16", ""),
        ("attack.eps", "8/255", "radius of the attack, L-inf"),
        ("attack.step_size", "2/255", ""),
        ("attack.steps", "5", ""),
        ("optim.epochs", "20", ""),
        ("optim.batch_size", "64", ""),
        ("optim.lr_schedule", "cosine", ""),
        ("evaluation.every_epochs", "4", ""),
    ),
    lr=(0.01, 0.2), ratios="10", attacks=("clean", "pgd20", "aa"), top=1,
    resources="{cpus_per_trial: 1}", resources_note="",
)  # fmt: skip

# a domain as YAML writes it, and the methods that read the parameter
METHOD_DOMAINS: dict[str, tuple[str, tuple[str, ...]]] = {
    "method.separation_weight": ("type: float, low: 0.05, high: 8.0, log: true", ("srat",)),
    "method.temperature": ("type: float, low: 0.05, high: 1.0, log: true", ("srat",)),
    "method.tail_weight": ("type: float, low: 0.01, high: 3.0, log: true", ("reat",)),
    "loss.margin_tau": ("type: float, low: 0.0, high: 0.6", ("robal",)),
    "method.beta": (
        "type: float, low: 0.5, high: 12.0, log: true",
        ("robal", "trades", "mart", "dafa", "cfa", "wat"),
    ),
    "method.clean_fraction": ("type: float, low: 0.0, high: 0.5", ("taet",)),
    "method.bcl_weight": ("type: float, low: 0.05, high: 2.0, log: true", ("taet",)),
    "method.dafa_strength": ("type: float, low: 0.0, high: 2.0", ("dafa",)),
    "method.faal_radius": ("type: float, low: 0.02, high: 1.0, log: true", ("faal",)),
    "method.cfa_radius_base": ("type: float, low: 0.2, high: 1.0", ("cfa",)),
    "method.wat_rate": ("type: float, low: 0.01, high: 1.0, log: true", ("wat",)),
}  # fmt: skip

# each method's published values for what is tuned
METHOD_STARTS: dict[str, dict[str, str]] = {
    "natural": {"loss.name": "cross_entropy"},
    "pgd_at": {"loss.name": "cross_entropy"},
    "srat": {
        "loss.name": "ldam", "method.separation_weight": "2.0", "method.temperature": "0.07",
    },
    "reat": {"loss.name": "balanced_softmax", "method.tail_weight": "1.0"},
    "robal": {"loss.margin_tau": "0.3", "method.beta": "6.0"},
    "trades": {"loss.name": "cross_entropy", "method.beta": "6.0"},
    "mart": {"method.beta": "5.0"},
    "taet": {"method.clean_fraction": "0.4", "method.bcl_weight": "0.1"},
    "dafa": {"method.dafa_strength": "1.0", "method.beta": "6.0"},
    "faal": {"method.faal_radius": "0.5"},
    "cfa": {"method.cfa_radius_base": "0.5", "method.beta": "6.0"},
    "wat": {"method.wat_rate": "0.1", "method.beta": "6.0"},
}  # fmt: skip

WITH_LOSSES = ("natural", "pgd_at", "srat", "reat")
PLAIN_LOSSES = ("cross_entropy", "balanced_softmax", "ldam")
TRADES_LOSSES = ("cross_entropy", "balanced_softmax")
