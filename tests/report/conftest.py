"""One small real study that every test of the report looks at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drive import call, write_space
from tests.small_study import made_once

_CHANGES: dict[str, Any] = {
    "name": "reported",
    "objective": {
        "metric": "val/pgd3_balanced_acc", "also": ["val/clean_balanced_acc"],
        "second_opinion": False,  # as in `tests.drive.MINI`
    },
    "tuned": {
        "optim.lr": {"type": "float", "low": 0.02, "high": 0.4, "log": True},
        "optim.weight_decay": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
        "method.name": {"type": "categorical", "choices": ["pgd_at", "srat"]},
        "method.separation_weight": {
            "type": "float", "low": 0.05, "high": 4.0, "log": True,
            "when": {"method.name": "srat"},
        },
    },
    "start_from": [
        {"optim.lr": 0.02, "optim.weight_decay": 1e-3, "method.name": "pgd_at"},
        {"optim.lr": 0.2, "optim.weight_decay": 1e-3, "method.name": "srat",
         "method.separation_weight": 0.1},
    ],
    "searcher": {"trials": 8, "name": "random"},
    "scheduler": {"grace_epochs": 2},
    "confirm": {"top": 2, "seeds": [1, 2], "attacks": ["clean", "pgd3"], "sentinel": False},
}  # fmt: skip


@pytest.fixture(autouse=True, scope="package")
def _few_draws() -> Iterator[None]:
    """Importances by a few resamples: how many is their own tests' business, and takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ltat_tune.results.importance.PED_DRAWS", 3)
        patch.setattr("ltat_tune.results.importance.FANOVA_DRAWS", 2)
        yield


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: two scenarios, two objectives, a conditional parameter, early stopping."""

    def make(folder: Path) -> None:
        space = write_space(folder, **_CHANGES)
        done = call("--space", space, "--in-process", "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "reported", make) / "studies" / "reported"
