"""`results.json`, typed: what a study found, scenario by scenario."""

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
    """How many trials ended in which way."""

    complete: int
    pruned: int
    failed: int
    diverged: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.complete + self.pruned + self.failed + self.diverged


class EpochCounts(FileModel):
    """Epochs of a scenario's search.

    Attributes:
        full: of one trial that trains to its end, with all its seeds.
        planned: had all trials been trained so.
        trained: of all trials.
        saved: of those that were judged; negative where copies and probes cost more.
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
    """A winner's value on the edge of what was searched.

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
        number: the other's trial.
        gain: a fraction.
        p: two-sided; None where no test applies.
        test: its name, or why there is none.
        n: pairs of a paired test.
        seeds: the winner's, the other's.
    """

    number: int
    gain: float
    p: float | None
    test: str
    n: int | None = None
    seeds: list[int]


class Leads(FileModel):
    """The winner's leads over those that it is compared with."""

    runner_up: Lead | None = None
    baseline: Lead | None = None


class ConfirmedResult(FileModel):
    """A configuration that was trained again with every seed of `confirm.seeds`.

    Attributes:
        recipe: the configuration without its seed, 8 hex digits.
        number: of its trial.
        search_score: of that trial.
        is_winner: whether it is one of the `confirm.top` best of the search.
        is_baseline: whether it is the first entry of `start_from`.
        seeds: that trained to their end.
        val: metric -> values over the seeds.
        test: the same, empty until all seeds are measured.
        samples_per_class: training images, (K,); empty where no seed trained to its end.
        subset_hash: of the training images.
        test_images: attack -> images.
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
    subset_hash: str = ""
    test_images: dict[str, int] = {}

    def scores(self, split: str, metric: str) -> list[float]:
        """Return a metric's values over the seeds, empty where it was not measured."""
        return (self.val if split == "val" else self.test).get(metric, [])


class ScenarioResults(FileModel):
    """One scenario of a study.

    Attributes:
        norm: `linf` or `l2`, in which robustness is measured.
        eps: its radius, pixel units in [0, 1].
        exhausted: why the search ended before its trials, or empty.
        infeasible: why nothing can win although trials were completed, or empty.
        front: trials that no other beats in every objective, where there are several.
        rungs: how well they predicted the end.
        best_trials: complete trials, best first, at most ten.
        winner_recipe: of the winner among `confirmed`.
        edges: the winner's values on the edge of their ranges.
        sentinel: of the winner's first seed.
        baseline_recipe: of the baseline among `confirmed`.
        failures: causes.
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
        """The best confirmed configuration, if there is one."""
        return self._confirmed(self.winner_recipe)

    @property
    def baseline(self) -> ConfirmedResult | None:
        """The first entry of `start_from`, confirmed; it may be the winner."""
        return self._confirmed(self.baseline_recipe)

    @property
    def rival(self) -> ConfirmedResult | None:
        """The baseline, unless it is the winner itself: what stands beside the winner."""
        return self.baseline if self.baseline_recipe != self.winner_recipe else None

    def _confirmed(self, recipe: str | None) -> ConfirmedResult | None:
        return next((one for one in self.confirmed if one.recipe == recipe), None)

    def contenders(self, metric: str) -> list[ConfirmedResult]:
        """Return the confirmed of the search's best that have a score, best first."""
        tried = [one for one in self.confirmed if one.is_winner and one.val.get(metric)]
        return sorted(tried, key=lambda one: standing(one.val[metric]), reverse=True)


def standing(scores: Sequence[float]) -> tuple[int, float]:
    """Return what confirmed configurations are ranked by: seeds that trained, then their mean.

    Seeds first, or one that diverges on its bad seeds would win by the good ones that are left.
    """
    return len(scores), statistics.fmean(scores)


class ConfirmSettings(FileModel):
    """`confirm` of the space file."""

    top: int
    seeds: list[int]
    attacks: list[str]
    sentinel: bool = False


class StudyResults(FileModel):
    """What a study found.

    Attributes:
        study: its name.
        objective: the metric that was maximised.
        selected_on_test: whether validation images are the test images.
        smoke: whether its numbers mean nothing.
    """

    study: str
    objective: str
    selected_on_test: bool
    smoke: bool = False
    confirm: ConfirmSettings
    scenarios: list[ScenarioResults]


_RESULTS = TypeAdapter(StudyResults)


def write_results(folder: StudyFolder, results: StudyResults) -> None:
    """Write what a finished study found."""
    write_versioned(folder.results, results, _VERSION)


def read_results(folder: StudyFolder) -> StudyResults | None:
    """Return what a study found, or None before its end.

    Raises:
        StudyError: they are of a later version, or not results.
    """
    return read_versioned(folder.results, _RESULTS, _VERSION)
