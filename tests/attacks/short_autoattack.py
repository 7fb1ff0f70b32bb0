"""AutoAttack with every attack of its standard version, but for few iterations."""

from __future__ import annotations

from typing import Any

import pytest


def shorten_autoattack(
    monkeypatch: pytest.MonkeyPatch, *, iterations: int, queries: int, wrong_classes: int = 0
) -> None:
    """Let every AutoAttack that is made from now on be short.

    Args:
        monkeypatch: takes it back.
        iterations: of both APGDs and of FAB.
        queries: of Square.
        wrong_classes: that targeted attacks aim at; 0 leaves them as they are.
    """
    from pyautoattack import AutoAttack

    build = AutoAttack.__init__

    def build_short(adversary: Any, *arguments: Any, **options: Any) -> None:
        build(adversary, *arguments, **options)
        for attack in (adversary.apgd, adversary.apgd_targeted, adversary.fab):
            attack.n_iter = iterations
        adversary.square.n_queries = queries
        if wrong_classes:
            adversary.apgd_targeted.n_target_classes = wrong_classes
            adversary.fab.n_target_classes = wrong_classes

    monkeypatch.setattr(AutoAttack, "__init__", build_short)
