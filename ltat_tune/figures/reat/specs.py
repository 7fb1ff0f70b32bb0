"""Specifications of REAT's figures. Its text has Figures 1 to 11, all of which show data."""

from __future__ import annotations

from ltat_tune.figures.reat import features, predictions, rivals
from ltat_tune.figures.spec import FigureSpec

_SPACES = "ltat-tune run search_spaces/papers/"
_BALANCED_AND_NOT = f"{_SPACES}reat_figure_01.yaml; {_SPACES}reat_table_07.yaml"
_RIVALS, _RIVALS_100 = f"{_SPACES}reat_table_03.yaml", f"{_SPACES}reat_table_04.yaml"

REAT_FIGURES: dict[str, FigureSpec] = {
    "reat_01": FigureSpec(
        "reat_01", "REAT", "Figure 1",
        "predictions of training AEs against labels: PGD-AT, balanced and long-tailed",
        ("predicted", "counts"), predictions.figure_01, _BALANCED_AND_NOT,
    ),
    "reat_02": FigureSpec(
        "reat_02", "REAT", "Figure 2",
        "feature maps of AEs, areas of head, body and tail: PGD-AT, balanced and long-tailed",
        ("checkpoint",), features.figure_02, _BALANCED_AND_NOT,
    ),
    "reat_03": FigureSpec(
        "reat_03", "REAT", "Figure 3",
        "distances of an image's AEs in consecutive epochs by class group, without and with RBL",
        ("ae_distances",), rivals.figure_03, f"{_SPACES}reat_table_02.yaml",
    ),
    "reat_04": FigureSpec(
        "reat_04", "REAT", "Figure 4",
        "RoBal and REAT over PGD steps (a) and by class, clean and PGD-20 (b)",
        ("checkpoint", "results"), rivals.figure_04, _RIVALS,
    ),
    "reat_05": FigureSpec(
        "reat_05", "REAT", "Figure 5",
        "predictions of AEs during training against labels: RoBal and REAT",
        ("predicted", "counts"), predictions.figure_05, _RIVALS,
    ),
    "reat_06": FigureSpec(
        "reat_06", "REAT", "Figure 6",
        "predictions of training AEs in epochs 10, 30 and 60: RoBal and REAT",
        ("predicted", "counts"), predictions.figure_06, _RIVALS,
    ),
    "reat_07": FigureSpec(
        "reat_07", "REAT", "Figure 7",
        "t-SNE of AE features by class: PGD-AT, balanced and long-tailed",
        ("checkpoint",), features.figure_07, _BALANCED_AND_NOT,
    ),
    "reat_08": FigureSpec(
        "reat_08", "REAT", "Figure 8", "RoBal and REAT over PGD steps, CIFAR-100-LT",
        ("checkpoint",), rivals.figure_08, _RIVALS_100,
    ),
    "reat_09": FigureSpec(
        "reat_09", "REAT", "Figure 9", "RoBal and REAT by class, clean and PGD-20, CIFAR-100-LT",
        ("results",), rivals.figure_09, _RIVALS_100,
    ),
    "reat_10": FigureSpec(
        "reat_10", "REAT", "Figure 10",
        "t-SNE of AE features by strategy: balanced, PGD-AT (BSL), RoBal, REAT",
        ("checkpoint",), features.figure_10,
        f"{_SPACES}reat_figure_01.yaml; {_SPACES}reat_table_08.yaml; {_RIVALS}",
    ),
    "reat_11": FigureSpec(
        "reat_11", "REAT", "Figure 11",
        "predictions of AEs during training against labels: RoBal and REAT, CIFAR-100-LT",
        ("predicted", "counts"), predictions.figure_11, _RIVALS_100,
    ),
    "reat_table_14": FigureSpec(
        "reat_table_14", "REAT", "Table 14",
        "seconds of a training epoch: PGD-AT (BSL), RoBal, REAT, by data and UR",
        ("history",), rivals.table_14,
        f"{_SPACES}reat_table_08.yaml; {_RIVALS}; {_SPACES}reat_table_09.yaml; {_RIVALS_100}",
    ),
}  # fmt: skip
