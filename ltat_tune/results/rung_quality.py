"""How well each rung predicted the end, on a study's own finished trials."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from ltat_tune.results.model import RungQuality
from ltat_tune.search.rungs import Rungs

LEAST = 4  # trials below which a rank correlation says nothing


def rung_quality(rungs: Rungs, rows: Sequence[FrozenTrial]) -> list[RungQuality]:
    """Return of every rung its kind, epochs, and the rank correlation of its scores with the end.

    Only trials that trained to their end have one, and a rung let those pass that it thought
    best: among all trials the correlation would be higher. None where it cannot be told.

    Args:
        rungs: where trials were judged.
        rows: complete trials.
    """
    kinds = [("copy", e) for e in rungs.copies]
    kinds += [("probe" if e in rungs.probes else "prefix", e) for e in rungs.judged]
    found = []
    for kind, epoch in kinds:
        pairs = [(r.intermediate_values[epoch], r.values[0]) for r in rows
                 if epoch in r.intermediate_values and r.values]  # fmt: skip
        correlation = None
        scores, ends = [a for a, _ in pairs], [b for _, b in pairs]
        if len(pairs) >= LEAST and len(set(scores)) > 1 and len(set(ends)) > 1:
            from scipy.stats import spearmanr  # takes a second, and most commands need none

            correlation = float(spearmanr(scores, ends).statistic)
        found.append(
            RungQuality(kind=kind, epochs=epoch, trials=len(pairs), correlation=correlation)
        )
    return found
