"""Prove a winner's leads on the test images, which had no part in choosing it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ltat_tune.results.lead import LEAD_TEST, Classes, Doubles, Kind, measured_lead, shares
from ltat_tune.results.model import ConfirmedResult, Lead, Leads, standing, verdict_metric
from ltat_tune.space.objective import attack_of, group_of
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import read_test
from ltat_tune.training.metrics import ClassGroups

_ON_TEST = "none: the test images chose the winner"
_NOT_KEPT = "none: an earlier version measured it and did not keep the answers by image"
_FEW_SEEDS = "none: fewer than 2 seeds that the search did not use"


@dataclass(frozen=True)
class _Contender:
    """A confirmed configuration: the validation score and the test answers of each fresh seed."""

    result: ConfirmedResult
    val: Mapping[int, float]
    shares: Mapping[int, Doubles]  # what each test image adds to the metric, (N,)
    classes: Classes
    keeps_answers: bool  # whether the test of any seed kept its answers by image

    def without(self, seed: int) -> tuple[int, float]:
        """Return its standing by the validation scores of all seeds but one."""
        return standing([score for other, score in self.val.items() if other != seed])


def leads_of(
    space: Space,
    folder: StudyFolder,
    scenario: str,
    confirmed: Sequence[ConfirmedResult],
    winner: ConfirmedResult | None,
) -> Leads:
    """Return the winner's leads over the best other candidate and over the baseline.

    The trainings that chose the winner among several candidates are the ones that are tested, and
    a seed that was lucky on the validation images is lucky on the test images too. So the lead of
    a seed is that of the candidate which the *other* seeds choose. As a rule that is the winner.
    """
    if winner is None:
        return Leads()
    metric = space.objective.metric
    others = [one for one in confirmed if one is not winner and one.val.get(metric)]
    rivals = [one for one in others if one.is_winner and _keeps_bounds(space, one)]
    second = max(rivals, key=lambda one: standing(one.val[metric]), default=None)
    baseline = next((one for one in others if one.is_baseline), None)
    contenders = {
        one.recipe: _contender(space, folder, scenario, one)
        for one in confirmed if one.val.get(metric)
    }  # fmt: skip
    candidates = [
        contenders[one.recipe] for one in confirmed
        if one.is_winner and one.recipe in contenders and _keeps_bounds(space, one)
    ]  # fmt: skip
    first = contenders[winner.recipe]
    leads = Leads()
    if second is not None:
        lead = _lead(space, first, contenders[second.recipe], candidates, None)
        leads = leads.model_copy(update={"runner_up": lead})
    if baseline is not None:
        rival = contenders[baseline.recipe]
        lead = _lead(space, first, rival, candidates, rival)
        leads = leads.model_copy(update={"baseline": lead})
    return leads


def _lead(
    space: Space,
    winner: _Contender,
    other: _Contender,
    candidates: Sequence[_Contender],
    rival: _Contender | None,
) -> Lead | None:
    """Return the winner's lead over another configuration; None until both are tested.

    Args:
        space: the study's space.
        winner: the winner.
        other: the other configuration.
        candidates: the configurations that the winner was chosen from.
        rival: the other configuration if it was fixed beforehand; None if it is the second of the
            candidates.
    """
    metric = verdict_metric(space.objective.metric, space.confirm.attacks)
    one, another = (side.result.scores("test", metric) for side in (winner, other))
    if not one or not another:
        return None
    seeds = [seed for seed in winner.shares if seed in other.shares]
    if space.selected_on_test or not seeds:
        kept = winner.keeps_answers and other.keeps_answers
        return Lead(
            number=other.result.number, metric=metric, p=None, seeds=0,
            gain=statistics.fmean(one) - statistics.fmean(another),
            test=_ON_TEST if space.selected_on_test else _FEW_SEEDS if kept else _NOT_KEPT,
        )  # fmt: skip
    differences, switched = [], False
    for seed in seeds:
        able = [each for each in candidates if seed in each.shares and len(each.val) > 1]
        ranked = sorted(able, key=lambda each: each.without(seed), reverse=True)
        first, second = (ranked[0], rival or ranked[1]) if len(ranked) > 1 else (winner, other)
        switched |= first is not winner or second is not other
        differences.append(first.shares[seed] - second.shares[seed])
    found = measured_lead(np.stack(differences), winner.classes)
    test = LEAD_TEST if len(seeds) > 1 else _FEW_SEEDS
    return Lead(
        number=other.result.number, metric=metric, test=test, seeds=len(seeds),
        images=len(winner.classes), by_others=switched, **asdict(found),
    )  # fmt: skip


def _contender(
    space: Space, folder: StudyFolder, scenario: str, result: ConfirmedResult
) -> _Contender:
    metric = verdict_metric(space.objective.metric, space.confirm.attacks)
    kept, classes = _kept_shares(folder, scenario, result, metric, space.confirm.test_images)
    by_seed, keeps = {seed: kept[seed] for seed in kept if seed in space.fresh_seeds}, bool(kept)
    val = dict(zip(result.seeds, result.val[space.objective.metric], strict=True))
    return _Contender(result, val, by_seed, classes, keeps)


def _kept_shares(
    folder: StudyFolder, scenario: str, result: ConfirmedResult, metric: str, part: int | None
) -> tuple[dict[int, Doubles], Classes]:
    """Return (seed -> what each test image adds to the metric, the images' classes).

    Seeds whose test did not keep its answers by image are left out, and tests on another part of
    the test images than `part`.
    """
    attack = attack_of(metric)
    by_seed, classes = {}, np.zeros(0, dtype=np.int64)
    for seed in result.seeds:
        measured = read_test(folder.confirmation(scenario, result.recipe, seed))
        counts = measured is not None and measured.part == part
        answers = measured.answers(attack) if measured is not None and counts else None
        if answers is not None:
            right, classes = answers
            by_seed[seed] = metric_shares(metric, right, classes, result.samples_per_class)
    return by_seed, classes


def interval_on_test(
    folder: StudyFolder, scenario: str, result: ConfirmedResult, metric: str, part: int | None
) -> tuple[float, float] | None:
    """Return the 95 % interval of a configuration's mean on the test images, fractions.

    It counts both sources of chance, seeds and images, as `measured_lead` does for a lead. `part`
    is `confirm.test_images`.

    Returns:
        None with fewer than two seeds, or if a seed's test did not keep its answers by image.
    """
    by_seed, classes = _kept_shares(folder, scenario, result, metric, part)
    if len(by_seed) < max(2, len(result.seeds)):
        return None
    found = measured_lead(np.stack([by_seed[seed] for seed in result.seeds]), classes)
    if found.low is None or found.high is None:
        return None
    return max(0.0, found.low), min(1.0, found.high)


def metric_shares(
    metric: str,
    answers: NDArray[np.bool_],
    classes: Classes,
    samples_per_class: Sequence[int],
) -> Doubles:
    """Return what each test image adds to a metric, (N,).

    Args:
        metric: such as `test/pgd20_tail_acc`.
        answers: whether each image is answered right under its attack, shape (N,).
        classes: the class of each image, shape (N,).
        samples_per_class: training images, (K,), which decide what the tail is.
    """
    group = group_of(metric)
    members = None
    if group and group not in ("balanced", "worst"):
        members = ClassGroups.from_counts(list(samples_per_class)).members[group]
    kind: Kind = "worst" if group == "worst" else "classes" if group else "images"
    return shares(answers, classes, members, kind)


def _keeps_bounds(space: Space, result: ConfirmedResult) -> bool:
    bounds = space.objective.at_least
    return all(statistics.fmean(result.val[m]) >= least for m, least in bounds.items())
