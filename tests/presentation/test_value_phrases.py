"""Names of settings in pictures."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import pixels
from ltat_tune.presentation.value_phrases import setting


@pytest.mark.parametrize("path", PARAMETERS)
def test_no_setting_is_named_by_its_path_or_an_identifier(path: str) -> None:
    parameter = PARAMETERS[path]
    values = parameter.choices or ((True, False) if parameter.kind == "bool" else ())
    for value in (*values, parameter.default):
        text = re.sub(r"\$.*?\$", "", setting(path, value))  # subscripts
        assert path not in text and "_" not in text


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("reweight.under_weight", 10.0, "weight 10 on under-represented classes"),
        ("method.separation_weight", 1.23456, "λ = 1.23"),
        ("method.temperature", 0.07, "τ = 0.07"),
        ("method.beta", 6.0, "β = 6"),
        ("reweight.beta", 0.9999, "class-weight β = 0.9999"),
        ("reweight.beta", None, "class-weight β = (N − 1)/N"),
        ("attack.reweight", "rbl", "RBL"),
        ("attack.eps", 8 / 255, "training ε = 8/255"),
        ("loss.tau", 1.5, "τ$_{\\mathrm{b}}$ = 1.5"),
        ("optim.milestones", (0.5, 0.75), "milestones 0.5, 0.75"),
        ("optim.lr", 0.05, "learning rate 0.05"),
        ("method.awp_gamma", 0.0, "no AWP"),
        ("model.name", "resnet18", "ResNet-18"),
    ],
)
def test_settings_have_the_papers_words_and_symbols(path: str, value: Any, text: str) -> None:
    assert setting(path, value) == text


def test_a_radius_is_written_as_the_papers_write_it() -> None:
    assert pixels(8 / 255) == "8/255"
    assert pixels(0.031) == "0.031"
