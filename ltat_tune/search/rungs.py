"""Where trials are judged before their end, so that no noise is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ltat_tune.config.effects import acts_from_epoch, why_inert
from ltat_tune.config.timeline import clean_epochs, drop_epochs
from ltat_tune.space.space import Space

# of the attack's steps in the shortest copies; a single step would be another attack (FGSM, which
# overfits catastrophically), and below four steps there is nothing to save
_CHEAP_SHARE, _CHEAP_LEAST, _LEAST_TO_CHEAPEN = 5, 2, 4
_LEAST_TO_COPY = 8  # epochs below which a quarter of a run is no run


@dataclass(frozen=True)
class Rungs:
    """Where trials are judged; all empty means no early stopping.

    Attributes:
        epochs: prefix rungs: epochs, from 1, after which a trial's own state is judged.
        notes: what a user should know of them.
        probes: epochs, from 1, after which a fork of a trial is judged.
        copies: lengths, in epochs, of complete short runs that come before the whole one.
        probe_epochs: length of a probe.
    """

    epochs: tuple[int, ...]
    notes: tuple[str, ...]
    probes: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    probe_epochs: int = 0

    @property
    def judged(self) -> tuple[int, ...]:
        """Epochs of the whole training at which it may be stopped."""
        return tuple(sorted({*self.epochs, *self.probes}))

    def score(self, epoch: int, metrics: Mapping[str, float], metric: str) -> float | None:
        """What a trial is judged by after an epoch of its whole training, if it is.

        Beside probes and copies only rungs count: what a state is worth before its learning rate
        falls is no measure of theirs.
        """
        if epoch in self.probes:
            return metrics.get(f"probe/{metric.removeprefix('val/')}")
        if self.copies or (self.probes and epoch not in self.epochs):
            return None
        return metrics.get(metric)


def with_cheap_copies(space: Space) -> Space:
    """The space with `scheduler.fidelity` filled in where it is left open.

    The shortest copies train with a fifth of the attack's steps, two at least: by
    scripts/bench_search.py that reaches the same value for a quarter fewer epochs. Nothing is
    cheapened where attacks have fewer than four steps already, or none.
    """
    if space.scheduler.fidelity is not None:
        return space
    fidelity: dict[str, tuple[int, ...]] = {}
    if place_rungs(space).copies:
        configs = [config for _, pairs in space.configurations for _, config in pairs]
        steps = min(c.attack.steps for c in configs)
        inert = any(why_inert(c, "attack.steps") is not None for c in configs)
        if steps >= _LEAST_TO_CHEAPEN and not inert:
            fidelity = {"attack.steps": (max(_CHEAP_LEAST, steps // _CHEAP_SHARE),)}
    scheduler = space.scheduler.model_copy(update={"fidelity": fidelity})
    return replace(space, scheduler=scheduler)


def place_rungs(space: Space) -> Rungs:
    """Rungs of a study, by `scheduler.rungs`.

    prefix: the first where it judges no noise, then spaced by the reduction factor. It must lie
    behind the first learning-rate drop and behind the epoch from which each tuned parameter acts,
    with a tenth of the run in between. `scheduler.grace_epochs` overrules this, and the study's
    notes then say what such a rung cannot see.

    probe: forks from a tenth of the run (or grace_epochs) on, spaced by the reduction factor,
    where a prefix would judge noise; one prefix rung behind that.

    copy: short complete runs of a quarter (or grace_epochs) and of half of the epochs.

    auto: prefix if that judges nobody's noise in the first half of the run already, else copy: a
    rung behind epoch 180 of 200 saves next to nothing (scripts/bench_search.py).
    """
    spec = space.scheduler
    if spec.name == "none":
        return Rungs((), ())
    settled, why = _settled_after(space)
    prefix = _prefixes(space, settled, why)
    kind = spec.rungs
    if kind == "auto":
        late = settled > 0 and (not prefix.epochs or prefix.epochs[0] > space.max_epochs / 2)
        copies = late and spec.grace_epochs is None and spec.name == "asha"
        kind = "copy" if copies and space.max_epochs >= _LEAST_TO_COPY else "prefix"
    if kind == "copy":
        return _copies(space)
    return prefix if kind == "prefix" else _probes(space, settled, prefix)


def _copies(space: Space) -> Rungs:
    total = space.max_epochs
    first = space.scheduler.grace_epochs or math.ceil(total / 4)
    lengths = [first]
    while 2 * lengths[-1] <= 0.6 * total:
        lengths.append(2 * lengths[-1])
    if first >= total or total < 4:
        return Rungs((), (_none_fits(total),))
    shown = " and ".join(map(str, lengths))
    cheap = space.scheduler.cheaper.get("attack.steps", ())
    cheapened = "".join(
        f", those of {length} with {steps} attack steps"
        for length, steps in zip(lengths, cheap, strict=False)
    )
    note = (
        f"every configuration is first trained completely in {lengths[0]} epochs, learning-rate "
        f"drops and deferral in proportion, and the best go on (rungs: copies of {shown} epochs"
        f"{cheapened})"
    )
    return Rungs((), (note,), copies=tuple(lengths))


def _probes(space: Space, settled: int, prefix: Rungs) -> Rungs:
    spec, total = space.scheduler, space.max_epochs
    first = spec.grace_epochs or max(1, total // 10)
    epochs, rung = [], float(first)
    while round(rung) < min(settled or total, total):
        epochs.append(round(rung))
        rung = max(rung * spec.reduction_factor, round(rung) + 1.0)
    behind = tuple(e for e in prefix.epochs if e > settled) if settled else ()
    if not epochs and not behind:
        return Rungs((), (_none_fits(total),))
    note = (
        f"trials are judged at epoch {', '.join(map(str, epochs))} by a fork that trains "
        f"{spec.probe_epochs} epochs as at the end of the run"
        + (f", and at epoch {', '.join(map(str, behind))} as they are" if behind else "")
    )
    return Rungs(behind, (note,), probes=tuple(epochs), probe_epochs=spec.probe_epochs)


def _prefixes(space: Space, settled: int, why: str) -> Rungs:
    spec, total = space.scheduler, space.max_epochs
    earliest = settled + max(1, total // 10) if settled else 0
    first = max(earliest, math.ceil(total / spec.reduction_factor))
    notes = []
    if spec.grace_epochs is not None and spec.rungs != "probe":
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
        return Rungs((), (_none_fits(total),))
    epochs = []
    rung = float(first)
    while round(rung) < total:
        epochs.append(round(rung))
        rung = max(rung * spec.reduction_factor, round(rung) + 1.0)
    return Rungs(tuple(epochs), tuple(notes))


def _none_fits(total: int) -> str:
    return f"no trial is stopped early: no rung fits before the last of {total} epochs"


def _settled_after(space: Space) -> tuple[int, str]:
    """The last epoch, from 0, at which something begins to act in any trial, and what it is."""
    settled, why = 0, ""
    for _, proposals in space.configurations:
        for params, config in proposals:
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
