"""The studies that SRAT's figures and the extra ones are drawn from, at their smallest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.figures.tiny_studies import make_study

_CB = {"reweight.name": "class_balanced", "reweight.schedule": "deferred"}
_W = {"reweight.name": "under_represented", "reweight.schedule": "immediate"}
_SMALL: dict[str, Any] = {"optim__epochs": 2, "reweight__start_fraction": 0.5}


def trained_once(factory: pytest.TempPathFactory) -> Path:
    """The folder of all five, shared by the modules that a session runs."""
    root, threads = factory.getbasetemp() / "srat", torch.get_num_threads()
    if root.exists():
        return root
    torch.set_num_threads(1)
    try:
        make_all(root)
    finally:
        torch.set_num_threads(threads)
    return root


def make_all(root: Path) -> None:
    """`methods`, `pair`, `weights`, `lambda` and `ratios`, each a study folder in `root`."""
    step = {"data.profile": "step"}
    make_study(
        root / "methods",
        {
            "step": (
                step,
                [
                    {"method.name": "pgd_at", "loss.name": "cross_entropy"},
                    {"method.name": "natural", "loss.name": "cross_entropy"},
                    {"method.name": "pgd_at", "loss.name": "ldam", **_CB},
                    {"method.name": "srat", "loss.name": "ldam", **_CB},
                    {"method.name": "reat", "loss.name": "balanced_softmax"},
                ],
            )
        },
        **_SMALL,
    )
    make_study(
        root / "pair",
        {
            "three_eight": (
                {**step, "data.classes": ("3", "8"), **_W, "loss.name": "cross_entropy"},
                [
                    {"method.name": method, "reweight.under_weight": weight}
                    for method in ("natural", "pgd_at")
                    for weight in (1, 10)
                ],
            )
        },
        seeds=(0,),
        **_SMALL,
    )
    make_study(
        root / "weights",
        {
            "default": (
                {**step, "method.name": "srat", **_W, "reweight.schedule": "deferred"},
                [
                    {"loss.name": loss, "reweight.under_weight": weight}
                    for loss in ("cross_entropy", "ldam")
                    for weight in (100, 10)
                ],
            )
        },
        **_SMALL,
    )
    recipes = [{"method.separation_weight": value} for value in (0.5, 2)]
    srat = {"method.name": "srat", "loss.name": "cross_entropy", **_CB}
    make_study(
        root / "lambda",
        {p: ({**srat, "data.profile": p}, recipes) for p in ("exp", "step")},
        seeds=(0,),
        **_SMALL,
    )
    make_study(
        root / "ratios",
        {
            f"ratio_{ratio}": (
                {**step, "data.imbalance_ratio": ratio, "loss.name": "focal", **_CB},
                [{"method.name": method} for method in ("pgd_at", "srat")],
            )
            for ratio in (2, 4)
        },
        seeds=(0,),
        **_SMALL,
    )
