"""Places the rungs, at which trials are judged before their end, where scores are not noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ltat_tune.config.effects import acts_from_epoch, why_inert
from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.timeline import clean_epochs, drop_epochs
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.space.space import Space

# The shortest copies have a fifth of the attack's steps. A single step would be another attack
# (FGSM, which overfits catastrophically), and below four steps there is nothing to save.
_CHEAP_SHARE, _CHEAP_LEAST, _LEAST_TO_CHEAPEN = 5, 2, 4
_LEAST_TO_COPY = 8  # epochs; a quarter of fewer is too short to judge
_COPIES_SHARE = 0.05  # of the trials, what predict spends on its first copies
_LAST_SHARE = 0.1  # of a run: what begins in it may be missing from a copy
_LATE = tuple(path for path, p in PARAMETERS.items() if p.acts_from != "start")


@dataclass(frozen=True)
class Rungs:
    """The epochs at which trials are judged. If all are empty, nothing stops early.

    Attributes:
        epochs: prefix rungs: epochs, from 1, after which a trial's own state is judged.
        notes: notes for the user on these rungs.
        probes: epochs, from 1, after which a fork of a trial is judged.
        copies: lengths, in epochs, of complete short runs that precede the whole one.
        probe_epochs: length of a probe.
    """

    epochs: tuple[int, ...]
    notes: tuple[str, ...]
    probes: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    probe_epochs: int = 0

    @property
    def judged(self) -> tuple[int, ...]:
        """The epochs at which the whole training may be stopped."""
        return tuple(sorted({*self.epochs, *self.probes}))

    def score(self, epoch: int, metrics: Mapping[str, float], metric: str) -> float | None:
        """Return the score that judges a trial after an epoch of its whole training, or None.

        Beside probes and copies only rungs count, because a state before its learning rate falls
        is not comparable with theirs.
        """
        if epoch in self.probes:
            return metrics.get(f"probe/{metric.removeprefix('val/')}")
        if self.copies or (self.probes and epoch not in self.epochs):
            return None
        return metrics.get(metric)


def with_cheap_copies(space: Space) -> Space:
    """Return the space with `scheduler.fidelity` filled in if it is left open.

    The shortest copies train with a fifth of the attack's steps, and at least two: by
    scripts/bench_search.py that reaches the same value for a quarter fewer epochs. Attacks with
    fewer than four steps, or none, stay as they are.
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
    filled = replace(space, scheduler=scheduler)
    if fidelity and not place_rungs(filled).copies:  # too few trials pay for them
        scheduler = space.scheduler.model_copy(update={"fidelity": {}})
        return replace(space, scheduler=scheduler)
    return filled


def place_rungs(space: Space) -> Rungs:
    """Return the rungs of a study, by `scheduler.rungs`.

    prefix: the first rung lies where it judges no noise, the others follow by the reduction
    factor. It must lie after the first learning-rate drop and after the epoch from which each
    tuned parameter acts, with a tenth of the run in between. `scheduler.grace_epochs` overrides
    this, and the study's notes then say what such a rung cannot see.

    probe: forks from a tenth of the run (or grace_epochs) on, by the reduction factor, where a
    prefix would judge noise; then one prefix rung.

    copy: complete short runs of a quarter (or grace_epochs) and of half of the epochs.

    auto: prefix if its first rung lies in the first half of the run without judging noise, else
    copy. A rung after epoch 180 of 200 saves next to nothing (scripts/bench_search.py).

    The searcher predict stops nothing by rank. Under asha, copies of a quarter of the epochs (or
    of grace_epochs) are bought one by one, unless prefix or probe is asked for.
    """
    spec = space.scheduler
    if spec.name == "none":
        return Rungs((), ())
    if buys_copies(space):
        return _bought_copies(space)
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


def buys_copies(space: Space) -> bool:
    """Return whether the searcher chooses what trains a copy first, instead of a rung."""
    spec = space.scheduler
    asked = spec.name == "asha" and spec.rungs in ("auto", "copy")
    return space.searcher.name == "predict" and asked


def first_copies(space: Space, cost: float) -> int:
    """Return how many copies the trials of a scenario pay for before any whole training."""
    return int(_COPIES_SHARE * space.searcher.trials / cost)


def copy_cost(space: Space, rungs: Rungs) -> float:
    """Return the cost of the first copy of a trial, in whole trainings; 0 without copies.

    An epoch costs a pass for each attack step, and one for its own.
    """
    if not rungs.copies:
        return 0.0
    config = space.config(space.scenarios[0], {})
    own = 0 if why_inert(config, "attack.steps") is not None else config.attack.steps
    steps = space.scheduler.cheaper.get("attack.steps", (own,))[0]
    return rungs.copies[0] / config.optim.epochs * (min(steps, own) + 1) / (own + 1)


def _bought_copies(space: Space) -> Rungs:
    total, spec = space.max_epochs, space.scheduler
    length = spec.grace_epochs or math.ceil(total / 4)
    if length >= total or total < (4 if spec.rungs == "copy" else _LEAST_TO_COPY):
        return Rungs((), ())
    length, why = _small_version(space, length, length if spec.grace_epochs else total // 2)
    if not length:
        return Rungs((), (why,))
    cheap = space.scheduler.cheaper.get("attack.steps", ())
    rungs = Rungs((), (), copies=(length,))
    if space.scheduler.fidelity is not None and first_copies(space, copy_cost(space, rungs)) < 2:
        return Rungs((), ())  # two are compared at least
    cheapened = f", with {cheap[0]} attack steps" if cheap else ""
    note = (
        f"some configurations train a copy of {length} epochs first{cheapened}: a few at the "
        "start, and more while copies predict whole trainings better than the hyperparameters "
        "alone do; no whole training is stopped for its rank"
    )
    return replace(rungs, notes=(note,))


def _copies(space: Space) -> Rungs:
    total = space.max_epochs
    given = space.scheduler.grace_epochs
    first = given or math.ceil(total / 4)
    if first < total >= 4:
        first, why = _small_version(space, first, given or total // 2)
        if not first:
            return Rungs((), (why,))
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
        f"every configuration first trains a complete copy of {lengths[0]} epochs, with "
        "learning-rate drops and deferral in proportion, and the best go on (rungs: copies of "
        f"{shown} epochs{cheapened})"
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
        + (f", and at epoch {', '.join(map(str, behind))} by their own state" if behind else "")
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
                f"the first rung stays at epoch {first}, as you asked, but {why} acts only from "
                f"epoch {settled + 1}: a trial that stops there stops by chance"
            )
    elif settled:
        notes.append(
            f"no trial is stopped early before epoch {first}: {why} acts only from epoch "
            f"{settled + 1}, and its effect must show first"
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
    """Return the last epoch, from 0, at which something begins to act in a trial, and its name.

    Whatever trials differ in counts, tuned or not: the default weights of one method too. What
    acts alike in all of them moves no rung, because it favours none.
    """
    settled, why = 0, ""
    for _, proposals in space.configurations:
        differing = _differing([config for _, config in proposals])
        for params, config in proposals:
            drops = drop_epochs(config.optim)
            if drops and drops[0] > settled:
                settled, why = drops[0], "the first learning-rate drop"
            if clean_epochs(config) > settled:
                settled, why = clean_epochs(config), "the adversarial stage of taet"
            for path in (*params, *(p for p in differing if _late(config, p))):
                begins = acts_from_epoch(config, path)
                if begins > settled:
                    settled, why = begins, path
    return settled, why


def _differing(configs: Sequence[TrialConfig]) -> list[str]:
    """Return the late parameters that act in some configurations with other values, or not."""
    return [
        path
        for path in _LATE
        if len({(_late(c, path), acts_from_epoch(c, path), repr(c.get(path))) for c in configs})
        > 1
    ]


def _late(config: TrialConfig, path: str) -> bool:
    """Return whether a parameter acts, and only from some epoch on."""
    return acts_from_epoch(config, path) > 0 and why_inert(config, path) is None


def why_no_copy(config: TrialConfig, epochs: int) -> str:
    """Return why a copy of so many epochs is no small version of a run; empty if it is one.

    What begins before the last tenth of the run must begin before the copy ends: each drop of the
    learning rate, the adversarial stage of taet, and each late parameter.
    """
    counts_until = (1 - _LAST_SHARE) * config.optim.epochs
    in_copy = dict(_beginnings(config.shortened(epochs)))
    for event, begins in _beginnings(config):
        if begins < counts_until and in_copy.get(event, epochs) >= epochs:
            place = f"epoch {begins + 1} of {config.optim.epochs}"
            return f"{event} ({place}) would be missing from copies of {epochs} epochs"
    return ""


def _beginnings(config: TrialConfig) -> list[tuple[str, int]]:
    """Return what begins during a run, and after how many epochs; 0 if it acts from the start."""
    drops = [(f"learning-rate drop {i}", e) for i, e in enumerate(drop_epochs(config.optim), 1)]
    acting = [path for path in _LATE if why_inert(config, path) is None]
    late = [(f"the start of {path}", acts_from_epoch(config, path)) for path in acting]
    return [*drops, ("the adversarial stage of taet", clean_epochs(config)), *late]


def _small_version(space: Space, epochs: int, most: int) -> tuple[int, str]:
    """Return the shortest length of copies that are small versions of a run, from `epochs` on.

    It is 0 if there is none up to `most`; the text says why copies of `epochs` are not.
    """
    alike: dict[Any, TrialConfig] = {}  # one configuration of each course of the run
    for _, proposals in space.configurations:
        for _, config in proposals:
            alike.setdefault((config.optim.lr_schedule, *_beginnings(config)), config)
    first = ""
    for length in range(epochs, max(epochs, most) + 1):
        reasons = (why_no_copy(config, length) for config in alike.values())
        reason = next((text for text in reasons if text), "")
        if not reason:
            return length, ""
        first = first or f"no copies are trained: {reason}"
    return 0, first
