"""What the terminal says of soups whose scores are known."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.export.soup.greedy import Addition
from ltat_tune.export.soup.make import ScenarioSoups, Soup
from ltat_tune.export.soup.starts import Ingredient
from ltat_tune.export.soup.tables import WORTH, soup_rows, soups_text


def _soup(first: int, scores: tuple[float, ...], averages: tuple[float, ...]) -> Soup:
    trials = [
        Ingredient(first + place, TrialConfig.from_flat({}), Path(), score)
        for place, score in enumerate(scores)
    ]
    best, tried = 0.0, []
    for place, score in enumerate(averages):
        tried.append(Addition(place, score, score > best))
        best = max(best, score)
    return Soup("a stem of 3 epochs", trials, tried)


@pytest.mark.parametrize("alone", [0.5, 0.62])
def test_it_says_what_was_added_and_whether_a_trial_alone_is_as_good(alone: float) -> None:
    soups = [_soup(0, (0.55, 0.52, 0.4), (0.55, 0.6, 0.58)), _soup(5, (alone, 0.3), (alone, 0.2))]
    soups.sort(key=lambda soup: -soup.score)
    made = ScenarioSoups(
        "one", "the scenario", "val/pgd20_acc", soups, {"t0009": "its score is doubted"},
        Path("soups/one.safetensors"),
    )  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=400).print(soups_text([made]))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    for line in (
        "3 trials share a stem of 3 epochs", "t0000 55.0 the start", "t0001 52.0 60.0 added",
        "t0002 40.0 58.0 left out", "no average beats t0005 alone", WORTH,
        "soup of t0000 + t0001: 60.0 %, +5.0 points against t0000 alone",
        "in no group: t0009: its score is doubted", "written: soups/one.safetensors",
    ):  # fmt: skip
        assert line in lines
    better = "no better than t0005 alone, which has 62.0 %"
    assert (better in lines) == (alone > 0.6)
    assert made.best is not None and made.best.score == 0.6
    added = [row["trial"] for row in soup_rows([made]) if row["added"]]
    assert sorted(added) == ["t0000", "t0001", "t0005"]
