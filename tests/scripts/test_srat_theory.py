"""SRAT's theory: where its theorems hold, and what the command says about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts import srat_theory
from scripts.srat_mixture import Mixture, gap


def test_a_larger_separability_may_have_the_larger_gap() -> None:
    """S = 5 at distance 1 against S = 3 at distance 3: the theorems as stated are contradicted."""
    first, second = Mixture(0.2, 0.2, 1), Mixture(3.0, 1.0, 1)
    assert first.separability == pytest.approx(5)
    assert second.separability == 3
    assert gap(first.distance, 100.0) > gap(second.distance, 100.0)
    assert srat_theory.contradict(second, first, 100.0)


def test_random_pairs_contradict_the_stated_order_alone_and_step_one_always() -> None:
    seen = srat_theory.theorems(300, np.random.default_rng(3))
    assert seen.by_distance == 0
    assert 0 < seen.by_separability < seen.pairs
    assert seen.step_one == seen.large_ratio > 0


def test_the_command_draws_and_says_what_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert srat_theory.main(["--to", str(tmp_path), "--samples", "4000", "--seed", "1"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    stems = ("srat_theory_weights", "srat_theory_distance")
    assert names == {f"{stem}.{form}" for stem in stems for form in ("pdf", "png")}
    said = " ".join(capsys.readouterr().out.split())
    assert "21 of 21 comparisons agree" in said
    assert "it is -46.05 instead of -4.61" in said
