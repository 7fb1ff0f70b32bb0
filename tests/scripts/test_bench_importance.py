"""What the simulated studies contain, and what the benchmark prints."""

from __future__ import annotations

import numpy as np
import pytest

from scripts import bench_importance
from scripts.bench_importance import KIND, RATE, TRUTHS, line


def test_each_effect_has_a_variance_of_one_over_random_proposals() -> None:
    rates = 10 ** np.linspace(-3, 0, 100_001)
    assert np.std([TRUTHS["learning rate"].effect({RATE: rate}) for rate in rates[::50]]) == (
        pytest.approx(1, abs=0.01)
    )
    kinds = ("trades", "srat", "pgd_at")
    assert np.std([TRUTHS["method"].effect({KIND: kind}) for kind in kinds]) == pytest.approx(1)


def test_a_line_counts_the_acting_parameter_and_any_other_apart() -> None:
    found = [{RATE}, {RATE, KIND}, {KIND}, set()]
    assert line("tpe", "learning rate", found).split()[4:] == [
        "50.0",
        "%",
        "50.0",
        "%",
        "±",
        "25.0",
    ]
    assert line("tpe", "nothing acts", found).split()[4:] == ["–", "75.0", "%", "±", "21.7"]


def test_a_run_prints_a_line_for_each_searcher_and_truth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        bench_importance, "SAMPLERS", {"random": bench_importance.SAMPLERS["random"]}
    )
    assert bench_importance.main(["--studies", "2", "--trials", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(TRUTHS)
