"""The choices of a space file as data, for `ltat-tune ls`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltat_tune.config.parameters import Parameter


@dataclass(frozen=True)
class Choice:
    """One choice with its description, its source and the parameters that act through it."""

    name: str  # the name in a space file
    what: str
    source: str  # who defined it, and where REAT or SRAT mentions it
    chosen_by: str  # the parameter that chooses it; evaluation attacks: confirm.attacks
    parameters: tuple[str, ...] = ()  # paths of the parameters that act through it
    symbol: str = ""  # the name in the papers

    def as_data(self, parameters: Mapping[str, Parameter]) -> dict[str, object]:
        """Return the choice for `--format json`, every parameter with its symbol."""
        paths = {path: parameters[path].symbol for path in self.parameters}
        return {**vars(self), "parameters": paths}


_BETA = ("reweight.beta",)
_SEPARATION = (
    "method.separation_weight",
    "method.temperature",
    "method.separation_features",
)
_TAIL = (
    "method.tail_weight",
    "method.tail_variant",
    "method.tail_set",
    "method.tail_kl_max",
    "method.tail_detach_anchor",
    "attack.reweight",
)
_TAET = (
    "method.bcl_weight",
    "method.hdl_weight",
    "method.rcel_weight",
    "method.clean_fraction",
)
_START = ("method.base", "method.start_fraction")
_DAFA = (*_START, "method.dafa_strength", "method.dafa_weight_min", "method.dafa_weight_max")
_FAAL = ("method.base", "method.faal_radius", "method.faal_coefficients")
_CFA = (
    *_START,
    "method.cfa_radius_base",
    "method.cfa_larger_radius",
    "method.cfa_kl_base",
    "method.cfa_smoothing",
    "method.fawa_span",
    "method.fawa_guard",
    "method.fawa_threshold",
)
_WAT = ("method.beta", "method.wat_rate", "method.wat_weight_max")
_MARGINS = ("loss.base_margin", "loss.margin_tau", "loss.tau", "loss.scale")

METHOD_CHOICES = (
    Choice(
        "natural", "training on clean images, no attack", "SRAT Fig. 1", "method.name",
    ),
    Choice(
        "pgd_at", "training on PGD examples alone", "Madry2018Towards Eq. 2.1; REAT Table 1; "
        "SRAT 4.1 (CE, Focal, LDAM rows of Tables 1-10)", "method.name", symbol="PGD-AT",
    ),
    Choice(
        "srat", "pulls features of a class together, with deferred class weights",
        "Wang2022Imbalanced: SRAT Eq. 6-7, Algorithm 1, Tables 1-10", "method.name",
        (*_SEPARATION, "reweight.name", "reweight.beta", "reweight.start_fraction"), "SRAT",
    ),
    Choice(
        "reat", "RBL attack and balanced softmax; tail features are pushed apart (TAIL)",
        "Li2023Alleviating: REAT Eq. 1-3, Algorithm 1, Tables 1-6 and 8-14", "method.name",
        _TAIL, "REAT",
    ),
    Choice(
        "robal", "cosine classifier with class-aware margins, KL to the clean prediction",
        "Wu2021Adversarial and its release; REAT Tables 3-5, 12-14", "method.name",
        ("method.beta", *_MARGINS, "model.head_gamma", "model.posthoc_tau"), "RoBal",
    ),
    Choice(
        "trades", "loss on clean images plus the KL to the adversarial predictions",
        "Zhang2019Theoretically Eq. 5; REAT Table 7", "method.name",
        ("method.beta",), "TRADES",
    ),
    Choice(
        "mart", "boosted cross-entropy plus a KL that gives misclassified images more weight",
        "Wang2020Improving Eq. 11; REAT Table 7", "method.name",
        ("method.beta",), "MART",
    ),
    Choice(
        "taet", "a clean stage, then the mean, variance and shares of the class losses",
        "Wang2025TAET", "method.name", _TAET, "TAET",
    ),
    Choice(
        "dafa", "TRADES or PGD-AT; similar classes exchange loss weight and radius",
        "Lee2024DAFA Algorithm 2", "method.name", _DAFA, "DAFA",
    ),
    Choice(
        "faal", "PGD-AT, TRADES or MART at the worst class weights within a radius",
        "Zhang2024FAAL", "method.name", _FAAL, "FAAL",
    ),
    Choice(
        "cfa", "TRADES or PGD-AT; the radius and beta of a class follow its recall",
        "Wei2023CFA", "method.name", _CFA, "CFA",
    ),
    Choice(
        "wat", "TRADES; the classes that have cost most so far weigh most",
        "Li2023WAT", "method.name", _WAT, "WAT",
    ),
)  # fmt: skip

LOSS_CHOICES = (
    Choice(
        "cross_entropy", "cross-entropy of the label", "SRAT 5.1 (CE)", "loss.name",
        ("loss.label_smoothing",), "CE",
    ),
    Choice(
        "focal", "cross-entropy that gives well-classified images less weight",
        "Lin2017Focal Eq. 4; REAT Table 1 (FL); SRAT 5.1 (Focal)", "loss.name",
        ("loss.gamma", "loss.focal_weight"), "FL",
    ),
    Choice(
        "effective_number", "cross-entropy with class-balanced weights from the first epoch on",
        "Cui2019Class Eq. 2; REAT Table 1 (EN)", "loss.name", _BETA, "EN",
    ),
    Choice(
        "ldam", "cross-entropy with margins that grow as n^(-1/4) for rare classes",
        "Cao2019LDAM Eq. 12-13; REAT Table 1; SRAT 5.1", "loss.name",
        ("loss.max_margin", "loss.scale"), "LDAM",
    ),
    Choice(
        "balanced_softmax", "cross-entropy on logits shifted by the log class prior",
        "Ren2020Balanced Eq. 4; REAT Table 1 (BSL)", "loss.name", ("loss.tau",), "BSL",
    ),
    Choice(
        "robal", "class-aware margins and biases on cosines", "Wu2021Adversarial, release",
        "loss.name", _MARGINS, "RoBal",
    ),
)  # fmt: skip

DATASET_CHOICES = (
    Choice(
        "digits", "scikit-learn's 8x8 scans, 10 classes; part of its wheel, without a download",
        "UCI optical digits", "data.name",
    ),
    Choice(
        "cifar10", "32x32 photographs, 10 classes", "Krizhevsky2009Learning; REAT 5; SRAT 5.1",
        "data.name", ("data.root",), "CIFAR-10",
    ),
    Choice(
        "cifar100", "32x32 photographs, 100 classes",
        "Krizhevsky2009Learning; REAT Table 4; SRAT Tables 9-10", "data.name",
        ("data.root",), "CIFAR-100",
    ),
    Choice(
        "svhn", "32x32 house numbers, 10 classes of unequal size",
        "Netzer2011Reading; SRAT Tables 5-8", "data.name", ("data.root", "data.base"), "SVHN",
    ),
    Choice(
        "tiny_imagenet", "64x64 photographs, 200 classes", "Le2015Tiny; REAT Table 6", "data.name",
        ("data.root",), "Tiny-ImageNet",
    ),
    Choice(
        "mnist", "28x28 handwritten digits, 10 classes, grey", "LeCun1998Gradient", "data.name",
        ("data.root",), "MNIST",
    ),
    Choice(
        "fashion_mnist", "28x28 clothes, 10 classes, grey; also in Debian's dataset-fashion-mnist",
        "Xiao2017Fashion", "data.name", ("data.root",), "Fashion-MNIST",
    ),
    Choice(
        "image_folder", "your own images: train/ and test/ with one folder per class",
        "", "data.name", ("data.root", "data.classes", "data.image_size"),
    ),
    Choice(
        "npz", "your own arrays: train_images, train_labels, ..., as in MedMNIST's files",
        "Yang2023MedMNIST", "data.name", ("data.root", "data.classes", "data.image_size"),
    ),
    Choice(
        "csv", "your own images: a list with the columns path, label and split", "", "data.name",
        ("data.root", "data.classes", "data.image_size"),
    ),
)  # fmt: skip

MODEL_CHOICES = (
    Choice(
        "small_cnn", "a few convolutions, for machines without a GPU", "",
        "model.name", ("model.width", "model.stem"),
    ),
    Choice(
        "resnet18", "18 layers, 3x3 stem", "He2016Deep; REAT 5; SRAT 5.1", "model.name",
        ("model.width",), "ResNet-18",
    ),
    Choice(
        "preact_resnet18", "18 layers, normalised before each convolution", "He2016Identity",
        "model.name", ("model.width",), "PreAct-18",
    ),
    Choice(
        "wrn28_10", "28 layers, 10 times as wide", "Zagoruyko2016Wide; REAT Table 5",
        "model.name", ("model.width",), "WRN-28-10",
    ),
    Choice(
        "wrn34_10", "34 layers, 10 times as wide", "Zagoruyko2016Wide; RoBal release",
        "model.name", ("model.width",), "WRN-34-10",
    ),
)  # fmt: skip

_BALL = ("attack.eps", "attack.step_size", "attack.steps")

ATTACK_CHOICES = (
    Choice("linf", "changes every pixel by at most eps", "REAT 5; SRAT 5.1", "attack.norm", _BALL,
           "L∞"),
    Choice("l2", "changes all pixels together by at most eps", "REAT Table 12", "attack.norm",
           _BALL, "L2"),
    Choice("none", "starts at the clean image", "Kurakin2017Adversarial", "attack.start"),
    Choice("uniform", "noise in the ball, not clipped before the first gradient", "REAT release",
          "attack.start"),
    Choice("uniform_clipped", "noise in the ball, clipped to [0, 1]", "Madry2018Towards; "
          "SRAT release", "attack.start"),
    Choice("one_sided", "noise in the ball's positive half only", "RoBal release", "attack.start"),
    Choice("gaussian", "0.001 times normal noise", "TRADES, MART, TAET releases", "attack.start"),
    Choice("cross_entropy", "raises the cross-entropy of the label", "Madry2018Towards",
          "attack.objective", symbol="CE"),
    Choice("margin", "raises the largest wrong logit above the right one", "Carlini2017Towards; "
          "REAT 5", "attack.objective", symbol="C&W"),
    Choice("kl", "raises the KL from the clean prediction", "Zhang2019Theoretically",
          "attack.objective", symbol="KL"),
    Choice("loss", "raises the method's own prediction loss", "SRAT Eq. 5", "attack.objective"),
    Choice("none", "the same weight for all classes", "REAT Table 2 (first row)",
          "attack.reweight"),
    Choice("inverse", "class weights 1/n", "REAT Table 2 (RW)", "attack.reweight", symbol="RW"),
    Choice("inverse_sqrt", "class weights 1/sqrt(n)", "REAT Table 2 (RWS)", "attack.reweight",
          symbol="RWS"),
    Choice("class_balanced", "class weights by the effective number of the training images",
          "Cui2019Class Eq. 2; REAT Table 2 (ENR)", "attack.reweight", _BETA, "ENR"),
    Choice("balanced_softmax", "log class prior on the logits", "Ren2020Balanced Eq. 4; "
          "REAT Table 2 (BRW)", "attack.reweight", symbol="BRW"),
    Choice("rbl", "class weights by the effective number of the last epoch's predictions",
          "REAT Eq. 1-2, Table 2 (RBL)", "attack.reweight", ("attack.bn_mode",), "RBL"),
    Choice("clean", "no attack", "", "confirm.attacks"),
    Choice("fgsm", "one step of eps on the cross-entropy", "Goodfellow2015Explaining; RoBal "
          "release", "confirm.attacks", ("evaluation.eps",), "FGSM"),
    Choice("pgd<steps>", "PGD on the cross-entropy, steps of eps/4", "REAT 5 (PGD-20, PGD-100); "
          "SRAT 5.1 (PGD-20)", "confirm.attacks", ("evaluation.eps",), "PGD-20"),
    Choice("mim<steps>", "PGD along a sum of all gradients so far, momentum 1",
          "Dong2018Boosting; RoBal release", "confirm.attacks", ("evaluation.eps",), "MIM"),
    Choice("cw<steps>", "PGD on the margin of Carlini and Wagner", "REAT 5 (CW-100)",
          "confirm.attacks", ("evaluation.eps",), "CW-100"),
    Choice("adaptive<steps>", "PGD on the cross-entropy of ten times the logits",
          "REAT 5 (adaptive, RoBal); AT-BSL release (LSA)", "confirm.attacks",
          ("evaluation.eps",), "LSA"),
    Choice("square", "random search on the margin without gradients, 5000 queries",
          "Andriushchenko2020Square", "confirm.attacks", ("evaluation.eps",), "Square"),
    Choice("aa", "AutoAttack standard, on evaluation.aa_images test images",
          "Croce2020Reliable; REAT 5 (AA)", "confirm.attacks",
          ("evaluation.eps", "evaluation.aa_images"), "AA"),
    Choice("cwl2", "search for the nearest image in l2: 9 values of c, 10000 iterations each",
          "Carlini2017Towards and its release; REAT Table 12 (one reading)", "confirm.attacks",
          ("evaluation.eps",), "C&W"),
    Choice("cwl2_fixed", "nearest image in l2 for one c: c = 1, 50 iterations",
          "torchattacks; REAT Table 12 (the other reading)", "confirm.attacks",
          ("evaluation.eps",), "C&W"),
)  # fmt: skip

CATALOGUE: dict[str, tuple[Choice, ...]] = {
    "methods": METHOD_CHOICES,
    "losses": LOSS_CHOICES,
    "datasets": DATASET_CHOICES,
    "models": MODEL_CHOICES,
    "attacks": ATTACK_CHOICES,
}
