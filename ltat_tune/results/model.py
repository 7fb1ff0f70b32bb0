"""Typed models of `results.json`, which holds a study's results scenario by scenario."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pydantic import Field, TypeAdapter

from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import MaskingReport
from ltat_tune.storage.versioned import FileModel, read_versioned, write_versioned

_VERSION = 1


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
    """How far, and how surely, the winner is ahead of another configuration.

    Attributes:
        number: the other configuration's trial.
        gain: difference of the mean scores, a fraction.
        p: two-sided; None if no test applies.
        test: the test's name, or why there is none.
        n: number of pairs in a paired test.
        seeds: number of seeds, the winner's and the other's.
    """

    number: int
    gain: float
    p: float | None
    test: str
    n: int | None = None
    seeds: list[int]


class Leads(FileModel):
    """The winner's leads over the runner-up and over the baseline."""

    runner_up: Lead | None = None
    baseline: Lead | None = None


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

    def scores(self, split: str, metric: str) -> list[float]:
        """Return a metric's values over the seeds; empty if it was not measured."""
        return (self.val if split == "val" else self.test).get(metric, [])


class ScenarioResults(FileModel):
    """One scenario of a study.

    Attributes:
        norm: `linf` or `l2`, the norm in which robustness is measured.
        eps: its radius, pixel units in [0, 1].
        exhausted: why the search ended before all its trials, or empty.
        infeasible: why no trial can win although some are complete, or empty.
        front: trials on the Pareto front, if there are several objectives.
        rungs: how well each rung predicted the end.
        best_trials: complete trials, best first, at most ten.
        winner_recipe: the recipe of the winner among `confirmed`.
        edges: the winner's values at the edge of their ranges.
        sentinel: the report on the winner's first seed.
        baseline_recipe: the recipe of the baseline among `confirmed`.
        failures: causes of failed trials.
    """

    name: str
    title: str
    values: dict[str, Any]
    trials: TrialCounts
    epochs: EpochCounts
    norm: str
    eps: float
    exhausted: str = ""
    infeasible: str = ""
    front: list[int] = []
    rungs: list[RungQuality] = []
    best_trials: list[RankedTrial]
    winner_recipe: str | None = Field(alias="winner")
    edges: list[RangeEdge] = []
    leads: Leads = Leads()
    sentinel: MaskingReport | None = None
    baseline_recipe: str | None = Field(alias="baseline")
    confirmed: list[ConfirmedResult]
    failures: list[str]

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
        return sorted(tried, key=lambda one: standing(one.val[metric]), reverse=True)


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


class StudyResults(FileModel):
    """The results of a study.

    Attributes:
        study: its name.
        objective: the metric that was maximised.
        selected_on_test: whether validation images are the test images.
        smoke: whether it was a smoke run, whose numbers mean nothing.
    """

    study: str
    objective: str
    selected_on_test: bool
    smoke: bool = False
    confirm: ConfirmSettings
    scenarios: list[ScenarioResults]


_RESULTS = TypeAdapter(StudyResults)


def write_results(folder: StudyFolder, results: StudyResults) -> None:
    """Write the results of a finished study."""
    write_versioned(folder.results, results, _VERSION)


def read_results(folder: StudyFolder) -> StudyResults | None:
    """Return the results of a finished study; None before its end.

    Raises:
        StudyError: the file is of a later version, or holds no results.
    """
    return read_versioned(folder.results, _RESULTS, _VERSION)
