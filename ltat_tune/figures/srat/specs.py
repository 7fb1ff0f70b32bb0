"""Specifications of SRAT's figures."""

from __future__ import annotations

from ltat_tune.figures.spec import FigureSpec
from ltat_tune.figures.srat import bars, counts, features

_SPACES = "ltat-tune run search_spaces/papers"
_NO_TRAINING = "ltat-tune figures --only"

SRAT_FIGURES: dict[str, FigureSpec] = {
    "srat_01": FigureSpec(
        "srat_01", "SRAT", "Figure 1",
        "accuracy by class, natural and adversarial training, Step-100",
        ("results",), bars.by_class("step", 100), f"{_SPACES}/srat_figure_01.yaml",
    ),
    "srat_02": FigureSpec(
        "srat_02", "SRAT", "Figure 2",
        "cat and horse over the weight of the rare one",
        ("results",), bars.binary_pair(bars.PAIRS[0]), f"{_SPACES}/srat_figure_02.yaml",
    ),
    "srat_03": FigureSpec(
        "srat_03", "SRAT", "Figure 3",
        "t-SNE of features of cat and horse, natural and adversarial training",
        ("checkpoint",), features.of_pair, f"{_SPACES}/srat_figure_02.yaml",
    ),
    "srat_04": FigureSpec(
        "srat_04", "SRAT", "Figure 4",
        "t-SNE of features by method: CE, DRCB-LDAM, SRAT-LDAM",
        ("checkpoint",), features.of_methods, f"{_SPACES}/srat_table_02.yaml",
    ),
    "srat_05": FigureSpec(
        "srat_05", "SRAT", "Figure 5",
        "SRAT over the weight of the under-represented classes, each loss",
        ("results",), bars.over_weight, f"{_SPACES}/srat_figure_05.yaml",
    ),
    "srat_06": FigureSpec(
        "srat_06", "SRAT", "Figure 6",
        "SRAT over λ, each loss, Step-100 and Exp-100",
        ("results",), bars.over_lambda, f"{_SPACES}/srat_figure_06.yaml",
    ),
    "srat_07": FigureSpec(
        "srat_07", "SRAT", "Figure 7",
        "accuracy by class, natural and adversarial training, Step-10",
        ("results",), bars.by_class("step", 10), f"{_SPACES}/srat_figure_01.yaml",
    ),
    "srat_08": FigureSpec(
        "srat_08", "SRAT", "Figure 8",
        "accuracy by class, natural and adversarial training, Exp-100",
        ("results",), bars.by_class("exp", 100), f"{_SPACES}/srat_figure_01.yaml",
    ),
    "srat_09": FigureSpec(
        "srat_09", "SRAT", "Figure 9",
        "accuracy by class, natural and adversarial training, Exp-10",
        ("results",), bars.by_class("exp", 10), f"{_SPACES}/srat_figure_01.yaml",
    ),
    "srat_10": FigureSpec(
        "srat_10", "SRAT", "Figure 10",
        "automobile and truck over the weight of the rare one",
        ("results",), bars.binary_pair(bars.PAIRS[1]), f"{_SPACES}/srat_figure_02.yaml",
    ),
    "srat_11": FigureSpec(
        "srat_11", "SRAT", "Figure 11",
        "a fourth pair over the weight of the rare one: any but the other three",
        ("results",), bars.binary_pair(None),
        f"{_SPACES}/srat_figure_02.yaml --set name=srat_figure_11 "
        "--set 'data.classes=[[bird, frog]]'",
    ),
    "srat_12": FigureSpec(
        "srat_12", "SRAT", "Figure 12",
        "dog and deer over the weight of the rare one",
        ("results",), bars.binary_pair(bars.PAIRS[2]), f"{_SPACES}/srat_figure_02.yaml",
    ),
    "srat_13": FigureSpec(
        "srat_13", "SRAT", "Figure 13",
        "training images by class, CIFAR-10",
        (), counts.draw_training_counts("cifar10"), f"{_NO_TRAINING} srat_13",
    ),
    "srat_14": FigureSpec(
        "srat_14", "SRAT", "Figure 14",
        "training images by class, SVHN",
        (), counts.draw_training_counts("svhn"),
        f"ltat-tune prepare svhn && {_NO_TRAINING} srat_14",
    ),
    "srat_15": FigureSpec(
        "srat_15", "SRAT", "Figure 15",
        "SRAT-LDAM over the weight of the under-represented classes: all, well, under",
        ("results",), bars.over_weight_by_group, f"{_SPACES}/srat_figure_05.yaml",
    ),
    "srat_16": FigureSpec(
        "srat_16", "SRAT", "Figure 16",
        "DRCB-Focal and SRAT-Focal over the imbalance ratio K",
        ("results",), bars.over_ratio, f"{_SPACES}/srat_figure_16.yaml",
    ),
}  # fmt: skip
