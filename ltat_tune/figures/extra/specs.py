"""Specifications of the figures that neither paper has."""

from __future__ import annotations

from ltat_tune.figures.extra import models, studies
from ltat_tune.figures.spec import FigureSpec

_ANY_STUDY = "ltat-tune run search_spaces/quickstart.yaml"

EXTRAS: dict[str, FigureSpec] = {
    "learning_curves": FigureSpec(
        "learning_curves", "neither", "", "clean and robust accuracy over epochs, seeds' band",
        ("history",), studies.draw_learning_curves, _ANY_STUDY,
    ),
    "accuracy_over_eps": FigureSpec(
        "accuracy_over_eps", "neither", "", "accuracy over the attack's radius, all and tail",
        ("checkpoint",), models.accuracy_over_eps, _ANY_STUDY,
    ),
    "class_difference": FigureSpec(
        "class_difference", "neither", "", "difference of two models by class, 95 % intervals",
        ("checkpoint",), models.difference_by_class, _ANY_STUDY,
    ),
    "calibration": FigureSpec(
        "calibration", "neither", "", "accuracy over confidence, clean and adversarial",
        ("checkpoint",), models.calibration, _ANY_STUDY,
    ),
    "rbl_weights": FigureSpec(
        "rbl_weights", "neither", "", "RBL's effective numbers and weights over epochs",
        ("predicted",), studies.rbl_over_epochs, "ltat-tune run search_spaces/reat.yaml",
    ),
}  # fmt: skip
