"""Where ASHA may judge: behind everything that makes a running trial's score noise (DESIGN 9)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ltat_tune.relevance import acts_from_epoch, clean_epochs, drop_epochs
from ltat_tune.study.space import Space


@dataclass(frozen=True)
class Rungs:
    """Epochs, from 1, after which trials are compared; empty means no early stopping."""

    epochs: tuple[int, ...]
    notes: tuple[str, ...]


def place_rungs(space: Space) -> Rungs:
    """Rungs of a study: the first where it judges no noise, then spaced by the reduction factor.

    A prefix rung must lie behind the first learning-rate drop and behind the epoch from which each
    tuned parameter acts, with a tenth of the run in between. `scheduler.grace_epochs` overrules
    this, and the study's notes then say what such a rung cannot see.
    """
    spec = space.scheduler
    if spec.name == "none":
        return Rungs((), ())
    total = space.max_epochs
    settled, why = _settled_after(space)
    earliest = settled + max(1, total // 10) if settled else 0
    first = max(earliest, math.ceil(total / spec.reduction_factor))
    notes = []
    if spec.grace_epochs is not None:
        first = spec.grace_epochs
        if first <= settled:
            notes.append(
                f"the first rung stays at epoch {first}, as asked, but {why} acts from epoch "
                f"{settled + 1}: what it stops there is stopped by luck"
            )
    elif settled:
        notes.append(
            f"no trial is stopped before epoch {first}: {why} acts from epoch {settled + 1}, and "
            "its effect must show"
        )
    if first >= total:
        notes = []
        notes.append(f"no trial is stopped early: no rung fits before the last of {total} epochs")
        return Rungs((), tuple(notes))
    epochs = []
    rung = float(first)
    while round(rung) < total:
        epochs.append(round(rung))
        rung = max(rung * spec.reduction_factor, round(rung) + 1.0)
    return Rungs(tuple(epochs), tuple(notes))


def _settled_after(space: Space) -> tuple[int, str]:
    """The last epoch, from 0, at which something begins to act in any trial, and what it is."""
    settled, why = 0, ""
    for scenario in space.scenarios:
        for params in space.contexts():
            config = space.config(scenario, params)
            drops = drop_epochs(config.optim)
            if drops and drops[0] > settled:
                settled, why = drops[0], "the first learning-rate drop"
            if clean_epochs(config) > settled:
                settled, why = clean_epochs(config), "the adversarial stage of taet"
            for path in params:
                begins = acts_from_epoch(config, path)
                if begins > settled:
                    settled, why = begins, path
    return settled, why
