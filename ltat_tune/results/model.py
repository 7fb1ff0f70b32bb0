"""Typed models of `results.json`, which holds a study's results scenario by scenario."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pydantic import Field, TypeAdapter, field_validator

from ltat_tune.results.lead import SETTLED
from ltat_tune.results.race.choice import ChoiceCounts
from ltat_tune.search.predict.outlook import Outlook
from ltat_tune.space.objective import attack_of, group_of
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import MaskingReport
from ltat_tune.storage.versioned import FileModel, read_versioned, write_versioned

_VERSION = 2  # 1: leads were measured on the validation images


class TrialCounts(FileModel):
    """How many trials ended in each way."""

    complete: int
    pruned: int
    failed: int
    diverged: int

    @property
    def total(self) -> int:
        """The number of ended trials."""
        return self.complete + self.pruned + self.failed + self.diverged


class EpochCounts(FileModel):
    """Epochs of a scenario's search.

    Attributes:
        full: epochs of one trial that trains to its end, with all its seeds.
        planned: epochs of all trials, had each trained to its end.
        trained: epochs that all trials trained.
        saved: epochs saved on judged trials; negative if copies and probes cost more.
    """

    full: int
    planned: int
    trained: int
    saved: int


class RungQuality(FileModel):
    """How well a rung predicted the end: rank correlation over the trials that have both."""

    kind: str  # copy, probe or prefix
    epochs: int
    trials: int
    correlation: float | None


class RankedTrial(FileModel):
    """A complete trial of the search."""

    number: int
    score: float
    params: dict[str, Any]


class RangeEdge(FileModel):
    """A winner's value at the edge of the searched range.

    Attributes:
        side: low or high.
        yaml: a wider range, to paste into the space file.
    """

    path: str
    value: int | float
    side: str
    yaml: str


class Lead(FileModel):
    """How far, and how surely, the winner is ahead of another configuration on the test images.

    Attributes:
        number: the other configuration's trial.
        metric: what is compared, such as `test/pgd20_balanced_acc`.
        gain: the lead, a fraction.
        p: two-sided; None if no test applies.
        test: the test's name, or why there is none.
        seeds: number of seeds that both have and the search did not use.
        images: number of test images; 0 without a test.
        low: lower end of the 95 % interval, over seeds and images.
        high: its upper end.
        settles: the smallest lead that these seeds and images can tell from chance.
        seeds_needed: how many seeds would settle this lead; None if images are what is missing.
        by_others: whether the seeds disagree on the best configuration. The lead of each seed is
            then that of the configuration which the other seeds chose.
        over_scenarios: p, corrected for all scenarios by Holm's method; None with one scenario.
    """

    number: int
    metric: str = ""  # empty: measured before 0.5, on the validation images that chose the winner
    gain: float
    p: float | None
    test: str
    seeds: int | list[int]
    images: int = 0
    low: float | None = None
    high: float | None = None
    settles: float | None = None
    seeds_needed: int | None = None
    by_others: bool = False
    over_scenarios: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it is beyond chance, in either direction."""
        return self.p is not None and self.p < SETTLED


class Leads(FileModel):
    """The winner's leads over the runner-up and over the baseline."""

    runner_up: Lead | None = None
    baseline: Lead | None = None

    @field_validator("runner_up", "baseline")
    @classmethod
    def _is_measured_on_test(cls, lead: Lead | None) -> Lead | None:
        return lead if lead is not None and lead.metric else None


class ConfirmedResult(FileModel):
    """A configuration that was trained again with every seed of `confirm.seeds`.

    Attributes:
        recipe: the configuration without its seed, 8 hex digits.
        number: the number of its trial.
        search_score: that trial's score.
        is_winner: whether it is one of the `confirm.top` best of the search.
        is_baseline: whether it is the first entry of `start_from`.
        seeds: the seeds that trained to their end.
        val: metric -> values over the seeds.
        test: the same on the test images; empty until all seeds are measured.
        samples_per_class: training images, (K,); empty if no seed trained to its end.
        classes: their names, (K,); empty if they were not recorded.
        subset_hash: hash of the training images.
        test_images: attack -> number of test images.
        lost_classes: classes of which no test image is right under the verdict's attack, whatever
            the seed.
        doubt: why the validation score of a seed is too good to be true, or empty.
    """

    recipe: str
    number: int
    search_score: float | None
    is_winner: bool
    is_baseline: bool
    params: dict[str, Any]
    seeds: list[int]
    val: dict[str, list[float]]
    test: dict[str, list[float]]
    samples_per_class: list[int] = []
    classes: list[str] = []
    subset_hash: str = ""
    test_images: dict[str, int] = {}
    lost_classes: list[str] = []
    doubt: str = ""

    def scores(self, split: str, metric: str) -> list[float]:
        """Return a metric's values over the seeds; empty if it was not measured."""
        return (self.val if split == "val" else self.test).get(metric, [])


class ScenarioResults(FileModel):
    """One scenario of a study.

    Attributes:
        norm: `linf` or `l2`, the norm in which robustness is measured.
        eps: its radius, pixel units in [0, 1].
        exhausted: why the search ended before all its trials, or empty.
        outlook: what more trials would be expected to bring; None if too few are complete.
        infeasible: why no trial can win although some are complete, or empty.
        front: trials on the Pareto front, if there are several objectives.
        rungs: how well each rung predicted the end.
        best_trials: complete trials, best first, at most ten.
        winner_recipe: the recipe of the winner among `confirmed`.
        edges: the winner's values at the edge of their ranges.
        leads: the winner's leads on the test images.
        choices: what the search gave each choice of a method, a loss or another race.
        sentinel: the report on the winner's first seed.
        baseline_recipe: the recipe of the baseline among `confirmed`.
        failures: causes of failed trials.
        doubted: a sentence on each complete trial whose score is too good to be true.
    """

    name: str
    title: str
    values: dict[str, Any]
    trials: TrialCounts
    epochs: EpochCounts
    norm: str
    eps: float
    exhausted: str = ""
    outlook: Outlook | None = None
    infeasible: str = ""
    front: list[int] = []
    rungs: list[RungQuality] = []
    best_trials: list[RankedTrial]
    winner_recipe: str | None = Field(alias="winner")
    edges: list[RangeEdge] = []
    leads: Leads = Leads()
    choices: list[ChoiceCounts] = []
    sentinel: MaskingReport | None = None
    baseline_recipe: str | None = Field(alias="baseline")
    confirmed: list[ConfirmedResult]
    failures: list[str]
    doubted: list[str] = []

    @property
    def winner(self) -> ConfirmedResult | None:
        """The best confirmed configuration; None if there is none."""
        return self._confirmed(self.winner_recipe)

    @property
    def baseline(self) -> ConfirmedResult | None:
        """The first entry of `start_from`, confirmed; it may be the winner."""
        return self._confirmed(self.baseline_recipe)

    @property
    def rival(self) -> ConfirmedResult | None:
        """The baseline to compare the winner with; None if the winner is the baseline."""
        return self.baseline if self.baseline_recipe != self.winner_recipe else None

    @property
    def samples_per_class(self) -> Sequence[int]:
        """The training images by class, as a confirmation recorded them; empty without one."""
        counts = (one.samples_per_class for one in self.confirmed)
        return next((one for one in counts if one), ())

    def _confirmed(self, recipe: str | None) -> ConfirmedResult | None:
        return next((one for one in self.confirmed if one.recipe == recipe), None)

    def contenders(self, metric: str) -> list[ConfirmedResult]:
        """Return the search's best that were confirmed and have a score, best first."""
        tried = [one for one in self.confirmed if one.is_winner and one.val.get(metric)]
        tried.sort(key=lambda one: standing(one.val[metric]), reverse=True)
        return sorted(tried, key=lambda one: bool(one.doubt))


def standing(scores: Sequence[float]) -> tuple[int, float]:
    """Return (number of trained seeds, mean score), by which confirmed configurations rank.

    The number comes first. Otherwise a configuration that diverges with its bad seeds would win by
    its good ones.
    """
    return len(scores), statistics.fmean(scores)


class ConfirmSettings(FileModel):
    """`confirm` of the space file."""

    top: int
    seeds: list[int]
    attacks: list[str]
    sentinel: bool = False
    test_images: int | None = None


def robust_attack(attacks: Sequence[str]) -> str | None:
    """Return the first PGD attack of `confirm.attacks`, else the first attack but clean."""
    robust = [attack for attack in attacks if attack != "clean"]
    return next((a for a in robust if a.startswith("pgd")), robust[0] if robust else None)


def verdict_metric(objective: str, attacks: Sequence[str]) -> str:
    """Return the test metric that the verdict is about, such as `test/pgd20_balanced_acc`.

    It is the objective's own if its attack is one of `confirm.attacks`. Otherwise it is the
    objective's accuracy under the first PGD attack of these, or under the first attack.
    """
    attack, group = attack_of(objective), group_of(objective)
    if attack not in attacks:
        attack = robust_attack(attacks) or attacks[0]
    return f"test/{attack}_{group}_acc" if group else f"test/{attack}_acc"


class SearchedOn(FileModel):
    """A search that went on after test numbers were shown.

    Attributes:
        at: when, ISO 8601.
        trials: trials of each scenario when the numbers were shown.
        winners: scenario -> the winner's recipe then; None if there was none.
    """

    at: str
    trials: dict[str, int]
    winners: dict[str, str | None]


class StudyResults(FileModel):
    """The results of a study.

    Attributes:
        study: its name.
        objective: the metric that was maximised.
        selected_on_test: whether validation images are the test images.
        smoke: whether it was a smoke run, whose numbers mean nothing.
        searched_on: each search that went on after the test numbers were shown.
    """

    study: str
    objective: str
    selected_on_test: bool
    smoke: bool = False
    searched_on: list[SearchedOn] = []
    confirm: ConfirmSettings
    scenarios: list[ScenarioResults]

    @property
    def verdict_metric(self) -> str:
        """The test metric that the verdict is about."""
        return verdict_metric(self.objective, self.confirm.attacks)


_RESULTS = TypeAdapter(StudyResults)


def write_results(folder: StudyFolder, results: StudyResults) -> None:
    """Write the results of a finished study."""
    # parameters stay in the order of the space file
    write_versioned(folder.results, results, _VERSION, is_sorted=False)


def read_results(folder: StudyFolder) -> StudyResults | None:
    """Return the results of a finished study; None before its end.

    Raises:
        StudyError: the file is of a later version, or holds no results.
    """
    return read_versioned(folder.results, _RESULTS, _VERSION)
