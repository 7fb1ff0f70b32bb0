"""A real study under a budget: interrupted, given more, and ended with everything confirmed.

Two slots share a budget in test_budget.py.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.attacks.short_autoattack import shorten_autoattack
from tests.drive import MINI, call, write_space

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def _interrupt_after_first(study: Path) -> None:
    """Presses Ctrl-C once a trial has been trained."""
    while not list(study.glob("trials/*/t0000/result.json")):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_budget_ends_the_search_and_everything_is_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_autoattack(monkeypatch, iterations=2, queries=5, wrong_classes=1)
    space = write_space(
        tmp_path, searcher={"trials": 30}, fixed={**MINI["fixed"], "evaluation.aa_images": 10},
        confirm={**MINI["confirm"], "attacks": ["clean", "pgd3", "aa"]},
    )  # fmt: skip
    folder = tmp_path / "studies" / "mini"
    threading.Thread(target=_interrupt_after_first, args=(folder,), daemon=True).start()
    stopped = call("--space", space, "--budget", "60epochs", "--in-process", cwd=tmp_path)
    assert stopped.returncode == 130
    done = call("resume", "mini", "--budget", "72epochs", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the budget of 72epochs ends the search after" in done.stdout
    results = json.loads((folder / "results.json").read_text())
    trained = 0
    for scenario in results["scenarios"]:
        begun = sum(scenario["trials"].values())
        assert 1 <= begun < 30
        assert "72epochs" in scenario["exhausted"]
        trained += scenario["epochs"]["trained"]
        winner = next(c for c in scenario["confirmed"] if c["recipe"] == scenario["winner"])
        assert winner["seeds"] == [1, 2]
        for attack in ("clean", "pgd3", "aa"):
            assert len(winner["test"][f"test/{attack}_acc"]) == 2
    # every confirmation but the winners' own seeds is a training of six epochs
    confirmed = len(list(folder.glob("confirmations/*/*/result.json"))) - len(results["scenarios"])
    assert 48 - 6 < trained + 6 * confirmed <= 72
