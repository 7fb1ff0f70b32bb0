"""The study that REAT's figures are drawn from, at its smallest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.figures.tiny_studies import make_study

_PGD_AT = {"method.name": "pgd_at", "loss.name": "cross_entropy"}


def trained_once(factory: pytest.TempPathFactory) -> Path:
    """`rivals`: PGD-AT twice, RoBal and REAT long-tailed, and PGD-AT balanced, two seeds each."""
    root, threads = factory.getbasetemp() / "reat" / "rivals", torch.get_num_threads()
    if root.exists():
        return root
    torch.set_num_threads(1)
    try:
        return make_study(
            root,
            {
                "profile_exp": (
                    {"data.profile": "exp"},
                    [
                        _PGD_AT,
                        {"method.name": "pgd_at", "loss.name": "balanced_softmax"},
                        {"method.name": "robal"},
                        {"method.name": "reat"},
                    ],
                ),
                "profile_balanced": ({"data.profile": "balanced"}, [_PGD_AT]),
            },
            evaluation__ae_distance_images=2,
        )
    finally:
        torch.set_num_threads(threads)
