"""Computes the epochs of a search: the most, and the expected if scores come in random order."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ltat_tune.search.quota import trials_owed
from ltat_tune.search.rungs import Rungs, buys_copies
from ltat_tune.search.stems import may_share, stem_of
from ltat_tune.space.space import Space
from ltat_tune.space.spec import SchedulerSpec

_MOST_EXACT = 2000  # trials; more are promoted in proportion
_CONTEXTS = 8  # proposals that are checked for a shared beginning
_MEDIAN_LEAST = 5  # trials that go on before a median is used


@dataclass(frozen=True)
class SearchLength:
    """Epochs of one scenario's search.

    Attributes:
        trials: configurations.
        expected: expected epochs, without sharing by stems.
        shared: expected epochs that stems save of these.
        at_most: epochs if nothing is stopped and nothing shared.
        complete: expected trials that train to their end.
        by_length: expected epochs in copies of each length; the rest of `expected` is whole.
    """

    trials: int
    expected: float
    shared: float
    at_most: int
    complete: float
    by_length: dict[int, float]

    @property
    def trained(self) -> float:
        """The expected epochs that are trained."""
        return self.expected - self.shared


def stage_epochs(space: Space, rungs: Rungs) -> list[int]:
    """Return the most epochs of each stage of a trial: its copies, then all whole trainings."""
    probes = len(rungs.probes) * rungs.probe_epochs
    return [*rungs.copies, space.max_epochs * space.searcher.seeds_per_trial + probes]


def search_length(space: Space, rungs: Rungs) -> SearchLength:
    """Return the epochs of one scenario's search; all scenarios are alike in this.

    A trial's rank among those before it is taken to be random. ASHA then lets the i-th trial at a
    rung go on with probability ceil(i / eta) / i, and the first eta - 1 surely; the median rule
    lets half go on after the first five. Copies are promoted as `Promotions` does it. A searcher
    that learns proposes better trials later, so a few more go on. The searcher predict stops
    nothing, and trains as much as so many whole trials cost. What `searcher.at_least` owes trains
    whole, and is left out of the races at the rungs.
    """
    trials, total, seeds = _trials(space), space.max_epochs, space.searcher.seeds_per_trial
    if buys_copies(space):  # a copy counts as the share of a trial that it costs
        whole = trials * total * seeds
        return SearchLength(trials, float(whole), 0.0, whole, float(trials), {})
    at_most = trials * sum(stage_epochs(space, rungs))
    owed = min(trials, trials_owed(space))
    trials -= owed
    stems, group = _stems(space, rungs)
    by_length: dict[int, float] = {}
    shared = 0.0
    if rungs.copies:
        counts = promoted(trials, len(rungs.copies), space.scheduler.reduction_factor)
        complete, expected = counts[-1], 0.0
        for length, count in zip((*rungs.copies, total), counts, strict=True):
            expected += count * length
            if length < total:
                by_length[length] = count * length
            for stem, share in stems.items():
                begun = round(stem * length / total)
                shared += share * begun * _siblings(count, trials, group)
    else:
        expected = complete = 0.0
        for stem, share in ({0: 1.0} if not stems else stems).items():
            epochs, saved, ends = _judged(trials, total, rungs, space.scheduler, stem, group)
            expected, shared = expected + share * epochs, shared + share * saved
            complete += share * ends
    expected, complete = expected + owed * total, complete + owed
    expected += complete * (seeds - 1) * total
    if space.enumerated:
        shared += _shared_by_the_list(space, rungs)
    return SearchLength(trials + owed, expected, shared, at_most, complete, by_length)


def _trials(space: Space) -> int:
    """Return a scenario's trials: fewer than requested if there are not as many configurations."""
    trials = space.searcher.trials
    if all(domain.kind == "categorical" for domain in space.tuned.values()):
        return min(trials, len(space.contexts()))
    return trials


def going_on(trials: float, spec: SchedulerSpec) -> float:
    """Return how many of the trials that reach a rung are expected to pass it."""
    whole = math.floor(trials)
    passed = sum(_probability(i, spec) for i in range(1, whole + 1))
    return passed + (trials - whole) * _probability(whole + 1, spec)


def _probability(place: int, spec: SchedulerSpec) -> float:
    """Return the probability that the place-th trial at a rung, from 1, passes it."""
    if spec.name == "median":
        return 1.0 if place <= _MEDIAN_LEAST else 0.5
    eta = spec.reduction_factor
    return 1.0 if place < eta else math.ceil(place / eta) / place


def _judged(
    trials: int, total: int, rungs: Rungs, spec: SchedulerSpec, stem: int, group: int
) -> tuple[float, float, float]:
    """Return expected epochs, epochs shared by stems, and complete trials, under a stopping rule.

    Trials of a group share their first `stem` epochs: the first one trains them, and the others
    begin after it.
    """
    if spec.name == "hyperband" and rungs.judged:
        # the k-th bracket has a share of eta^-k, and no rung before the k-th
        skips = range(len(rungs.judged) + 1)
        shares = [math.ceil(spec.reduction_factor ** (len(rungs.judged) - k)) for k in skips]
        totals = [0.0, 0.0, 0.0]
        for skip, share in enumerate(shares):
            part = trials * share / sum(shares)
            one = _one_bracket(part, total, rungs, rungs.judged[skip:], spec, stem, group)
            totals = [a + b for a, b in zip(totals, one, strict=True)]
        return totals[0], totals[1], totals[2]
    return _one_bracket(trials, total, rungs, rungs.judged, spec, stem, group)


def _one_bracket(
    trials: float,
    total: int,
    rungs: Rungs,
    judged: tuple[int, ...],
    spec: SchedulerSpec,
    stem: int,
    group: int,
) -> tuple[float, float, float]:
    before = [rung for rung in judged if rung < stem]
    reach = trials
    for _ in before:
        reach = going_on(reach, spec)
    # after every first trial that reaches its stem's end, group - 1 follow
    followed = 1 + (group - 1) * (reach / trials if trials else 0)
    count = trials / followed
    followers = trials - count
    position, epochs = 0, 0.0
    for rung in before:
        epochs += count * (rung - position) + _probe(rungs, rung, count)
        count, position = going_on(count, spec), rung
    epochs += count * (stem - position) + followers * stem
    count, position = count + followers, stem
    for rung in judged[len(before) :]:
        epochs += count * (rung - position) + _probe(rungs, rung, count)
        count, position = going_on(count, spec), rung
    return epochs + count * (total - position), followers * stem, count


def _probe(rungs: Rungs, rung: int, count: float) -> float:
    return count * rungs.probe_epochs if rung in rungs.probes else 0.0


def promoted(trials: int, levels: int, factor: float) -> tuple[float, ...]:
    """Return how many trials are expected to train a copy of each level, then the whole run."""
    counts = [float(trials)]
    for _ in range(levels):
        whole = math.floor(counts[-1])
        least, most = (_ever_among_the_best(n, factor) for n in (whole, whole + 1))
        counts.append(least + (counts[-1] - whole) * (most - least))
    return tuple(counts)


@lru_cache(maxsize=64)
def _ever_among_the_best(trials: int, factor: float) -> float:
    """Return how many trials in random order are expected to be promoted, as `Promotions` does it.

    A trial is promoted if at some time it is among the best floor(n / eta) of the first n, or at
    last among the best ceil(n / eta) of all. The loop goes backwards over n. For each rank among
    the first n, `chances` holds the probability that this holds now or later: the next trial is
    the better one with probability rank / (n + 1).
    """
    if trials > _MOST_EXACT:
        return trials / _MOST_EXACT * _ever_among_the_best(_MOST_EXACT, factor)
    ranks = np.arange(1, trials + 1)
    chances = (ranks <= math.ceil(trials / factor)).astype(float)
    expected = (
        float(chances.mean()) if trials else 0.0
    )  # for the last trial, all ranks are equally likely
    for n in range(trials - 1, 0, -1):
        chances = chances[:n] + ranks[:n] / (n + 1) * (chances[1:] - chances[:n])
        chances[: math.floor(n / factor)] = 1.0
        expected += float(chances.mean())
    return expected


def _siblings(count: float, trials: int, group: int) -> float:
    """Return how many of `count` trials find their beginning trained by one of their group.

    Each of the trials is equally likely to be among the count, whatever its group.
    """
    if not trials:
        return 0.0
    share = min(1.0, count / trials)
    return count - trials / group * (1 - (1 - share) ** group)


def _stems(space: Space, rungs: Rungs) -> tuple[dict[int, float], int]:
    """Return stem length -> share of proposals, and the number of trials in a group."""
    group = min(space.searcher.branches, space.searcher.trials)
    if space.enumerated or group == 1:
        return {}, 1
    lengths: Counter[int] = Counter()
    contexts = space.contexts(_CONTEXTS)
    for params in contexts:
        config = space.config(space.scenarios[0], params)
        stem = stem_of(config, device="", threads=1) if may_share(space, config) else None
        useless = stem is None or any(probe <= stem.epochs for probe in rungs.probes)
        lengths[0 if stem is None or useless else stem.epochs] += 1
    return {length: n / len(contexts) for length, n in lengths.items()}, group


def _shared_by_the_list(space: Space, rungs: Rungs) -> float:
    """Return the epochs that entries of a grid or list share, if none is stopped earlier."""
    keys: Counter[tuple[str, int]] = Counter()
    if not rungs.copies and len(space.enumerated) <= 1000:
        for params in space.enumerated:
            config = space.config(space.scenarios[0], params)
            stem = stem_of(config, device="", threads=1) if may_share(space, config) else None
            if stem is not None:
                keys[stem.key, stem.epochs] += 1
    return float(sum((n - 1) * epochs for (_, epochs), n in keys.items()))
