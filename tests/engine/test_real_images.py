"""Every method and every wrapper through `ltat-tune` on real CIFAR-10 images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ltat_tune.config.parameters import PARAMETERS
from tests.drive import call

ROWS: list[dict[str, Any]] = [
    *({"method.name": name} for name in PARAMETERS["method.name"].choices),
    {"method.name": "trades", "method.awp_gamma": 0.005},
    {"method.name": "srat", "method.awp_gamma": 0.01, "attack.bn_mode": "train"},
    {"method.name": "reat", "attack.bn_mode": "batch", "attack.class_budget": 0.3},
    {"method.name": "pgd_at", "data.policy": "randaugment", "optim.ema_decay": 0.9},
    {"method.name": "pgd_at", "data.policy": "autoaugment", "attack.norm": "l2"},
]
DEFAULTS = {"method.awp_gamma": 0.0, "attack.bn_mode": "eval", "attack.class_budget": 0.0,
            "data.policy": "none", "optim.ema_decay": 0.0, "attack.norm": "linf"}  # fmt: skip


def test_all_methods_train_on_real_images(tmp_path: Path, cifar_folder: Path) -> None:
    rows = [{**DEFAULTS, **row} for row in ROWS]
    choices = {path: list(dict.fromkeys(row[path] for row in rows)) for path in rows[0]}
    space = {
        "name": "methods-on-cifar",
        "objective": {"metric": "val/pgd2_balanced_acc", "second_opinion": False},
        "fixed": {
            "data.name": "image_folder", "data.root": str(cifar_folder),
            "data.classes": ["ship", "cat", "frog"], "data.max_per_class": 60,
            "data.imbalance_ratio": 10, "data.val_per_class": 20, "data.augmentation": "crop_flip",
            "model.width": 8, "model.stem": "space_to_depth", "attack.steps": 2,
            "optim.epochs": 2, "optim.batch_size": 32, "optim.lr": 0.02,
            "evaluation.val_attack": "pgd2", "evaluation.every_epochs": 2,
            "evaluation.norm": "linf", "evaluation.eps": "8/255",
        },
        "tuned": {p: {"type": "categorical", "choices": held} for p, held in choices.items()},
        "start_from": rows,
        "searcher": {"name": "list"},
        "scheduler": {"name": "none"},
        "confirm": {"top": 1, "seeds": [1], "attacks": ["clean", "pgd2", "cw2"],
                    "sentinel": False, "test_images": 300},
    }  # fmt: skip
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    done = call(
        "--space", "space.yaml", "--in-process", "--allow-inert", "--format", "json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (scenario,) = json.loads(done.stdout)["scenarios"]
    assert scenario["trials"] == {
        "complete": len(ROWS), "pruned": 0, "failed": 0, "diverged": 0
    }  # fmt: skip
    assert all(0 < trial["score"] <= 1 for trial in scenario["best_trials"])
    (winner, *_) = scenario["confirmed"]
    assert {f"test/{attack}_acc" for attack in ("clean", "pgd2", "cw2")} <= set(winner["test"])
