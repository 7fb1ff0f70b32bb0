"""`build_attack` and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys

import torch

from ltat_tune.attacks import build_attack, pgd
from ltat_tune.config import AttackConfig
from tests.attacks.toys import tiny_cnn


def test_build_attack_is_pgd_with_the_configured_knobs() -> None:
    config = AttackConfig(
        eps=0.1, step_size=0.03, steps=2, start="uniform_clipped", bn_mode="train"
    )
    images, targets = torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 2])
    built = build_attack(config)(
        tiny_cnn(), images, targets, generator=torch.Generator().manual_seed(0)
    )
    direct = pgd(
        tiny_cnn(), images, targets, eps=0.1, step_size=0.03, steps=2, start="uniform_clipped",
        bn_mode="train", generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(built, direct)


def test_importing_the_attacks_does_not_import_autoattack() -> None:
    code = "import sys, ltat_tune.attacks; sys.exit('pyautoattack' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
