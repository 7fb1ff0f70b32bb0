"""Read the configurations that studies trained, as entries to compare; write nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from ltat_tune.comparison.significance import Pair
from ltat_tune.config.parameters import PARAMETERS, unknown_parameter
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.results.collect import results_so_far
from ltat_tune.results.model import (
    ConfirmedResult,
    ScenarioResults,
    StudyResults,
)
from ltat_tune.results.selection import counted_test
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import (
    CompleteTraining,
    MeasuredOnTest,
    read_complete,
)
from ltat_tune.storage.trials import TrialRow, best_of, read_trials

Role = Literal["winner", "confirmed", "baseline", "trial"]
# what `--by` takes besides paths: study, scenario, and sections, each for its `name`
KEYS = ("study", "scenario", "method", "loss", "model", "reweight", "data")


@dataclass(frozen=True)
class Seed:
    """One training of a configuration: its results with one seed."""

    seed: int
    subset: str  # hash of its training images; "" if the trial left no result
    metrics: Mapping[str, float]
    epoch: int | None = None  # the epoch of the kept weights
    test_images: Mapping[str, int] | None = None  # attack -> number of images
    samples_per_class: Sequence[int] = ()  # training images, (K,); empty without a result


@dataclass(frozen=True)
class ComparedEntry:
    """One configuration of one scenario, with all its seeds.

    Attributes:
        number: its trial; None if no trial had its value.
        role: winner, confirmed or baseline, trained with the seeds of `confirm.seeds`; or trial,
            the best trial of a search without confirmation.
        params: values of the tuned parameters.
        epochs: epochs of one training.
        searched: epochs that the search spent on trials of its group.
        trials: number of trials of its group, whatever their end.
        label: the value that it represents in a grouped table.
        is_baseline: whether it is the first entry of `start_from`, confirmed or not.
        has_baseline_value: whether it represents the value that the baseline has.
        is_extra: whether it is a baseline that stands beside a better row with its value.
        state: why it has no seeds, such as `not tried`; empty if it was measured.
        so_far: its best score before its trial was stopped, in the objective.
    """

    study: str
    scenario: str
    title: str
    number: int | None
    role: Role
    config: TrialConfig
    params: Mapping[str, Any]
    seeds: tuple[Seed, ...]
    objective: str
    selected_on_test: bool
    smoke: bool
    finished: bool
    axes: Mapping[str, Any]
    searched: int = 0
    trials: int = 0
    label: str = ""
    is_baseline: bool = False
    has_baseline_value: bool = False
    is_extra: bool = False
    state: str = ""
    so_far: float | None = None

    @property
    def trial(self) -> str:
        """The name of its trial, such as `t0003`; empty if there is none."""
        return "" if self.number is None else f"t{self.number:04d}"

    @property
    def name(self) -> str:
        """Its short name, such as `quickstart t0003`."""
        return f"{self.study} {self.trial}".rstrip()

    @property
    def row(self) -> str:
        """The name of its row: its value if there is one, else its name."""
        return f"{self.label} (baseline)" if self.is_extra else self.label or self.name

    @property
    def epochs(self) -> int:
        """The epochs of one training."""
        return self.config.optim.epochs

    @property
    def samples_per_class(self) -> Sequence[int]:
        """The training images by class, (K,); empty if no seed left a result."""
        return next((s.samples_per_class for s in self.seeds if s.samples_per_class), ())

    def scores(self, metric: str) -> dict[Pair, float]:
        """Return (subset, seed) -> score in a metric, for the seeds that have it."""
        return {
            (seed.subset, seed.seed): seed.metrics[metric]
            for seed in self.seeds
            if metric in seed.metrics
        }


@dataclass(frozen=True)
class Reviewed:
    """A study that was read for a comparison."""

    folder: StudyFolder
    space: Space
    results: StudyResults
    finished: bool
    trials: Sequence[TrialRow]

    def of_scenarios(self, names: Sequence[str]) -> Reviewed:
        """Return the same study with these of its scenarios alone."""
        kept = [one for one in self.results.scenarios if one.name in names]
        return replace(
            self,
            space=replace(
                self.space, scenarios=tuple(s for s in self.space.scenarios if s.name in names)
            ),
            results=self.results.model_copy(update={"scenarios": kept}),
            trials=[row for row in self.trials if row.scenario in names],
        )

    @cached_property
    def titles(self) -> dict[str, str]:
        """Scenario -> its title, with the imbalance ratio that its images reached."""
        return {
            one.name: self.space.scenario(one.name).counted(one.samples_per_class).title
            for one in self.results.scenarios
        }


def review(folder: StudyFolder) -> Reviewed:
    """Read a study in any state. Raises: StudyError, SpaceError."""
    space = read_space(folder.space)
    results, finished = results_so_far(space, folder)
    return Reviewed(folder, space, results, finished, read_trials(folder))


def confirmed_entries(study: Reviewed) -> list[ComparedEntry]:
    """Return the winner, other confirmed configurations and baseline of every scenario.

    A scenario without a confirmed configuration gives its best trial.
    """
    all_entries = []
    for scenario in study.results.scenarios:
        rows = [row for row in study.trials if row.scenario == scenario.name]
        cost = {"searched": sum(row.epochs for row in rows), "trials": len(rows)}
        candidates = [_confirmed(study, scenario, entry) for entry in scenario.confirmed]
        entries = [replace(entry, **cost) for entry in candidates if entry.seeds]  # type: ignore[arg-type]
        if not any(entry.role != "baseline" for entry in entries):
            best = best_trial(study, rows)
            entries += [] if best is None else [replace(best, **cost)]  # type: ignore[arg-type]
        all_entries += entries
    return all_entries


def resolve_key(word: str) -> str:
    """Return the path, `study` or `scenario` that a word of `--by` means. Raises: StudyError."""
    if word in ("study", "scenario") or word in PARAMETERS:
        return word
    if word in KEYS and f"{word}.name" in PARAMETERS:
        return f"{word}.name"
    ends = [path for path in PARAMETERS if path.partition(".")[2] == word]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise StudyError(f"--by {word} can mean {', '.join(ends)}; write one of these")
    raise StudyError(f"--by: {unknown_parameter(word)}; --by also takes {', '.join(KEYS)}")


def new_entry(
    study: Reviewed, scenario: str, number: int | None, role: Role, params: Mapping[str, Any],
    seeds: Iterable[Seed] = (),
) -> ComparedEntry:  # fmt: skip
    """Return an entry with these seeds; what else it needs comes from the study."""
    space = study.space
    where = space.scenario(scenario)
    return ComparedEntry(
        study=study.folder.root.name, scenario=scenario, title=study.titles[scenario],
        number=number,
        role=role, config=space.config(where, params), params=dict(params), seeds=tuple(seeds),
        objective=space.objective.metric, selected_on_test=space.selected_on_test,
        smoke=bool(study.folder.read_facts().get("smoke")), finished=study.finished,
        axes=dict(where.values), is_baseline=number == 0 and bool(space.start_from),
    )  # fmt: skip


def _confirmed(
    study: Reviewed, scenario: ScenarioResults, result: ConfirmedResult
) -> ComparedEntry:
    name = scenario.name
    is_best = result.recipe == scenario.winner_recipe
    role: Role = "winner" if is_best else "confirmed" if result.is_winner else "baseline"
    seeds = []
    for seed in result.seeds:
        place = study.folder.confirmation(name, result.recipe, seed)
        trained = read_complete(place)
        if trained is not None:
            seeds.append(_seed(seed, trained, counted_test(study.space, place)))
    if not seeds:  # the trainings were deleted, but the results hold their numbers
        seeds = _recorded_seeds(result)
    entry = new_entry(study, name, result.number, role, result.params, seeds)
    return replace(entry, is_baseline=result.is_baseline)


def _recorded_seeds(result: ConfirmedResult) -> list[Seed]:
    columns = {**result.val, **result.test}
    return [
        Seed(
            seed, result.subset_hash, {name: column[i] for name, column in columns.items()},
            None, result.test_images or None, result.samples_per_class,
        )
        for i, seed in enumerate(result.seeds)
    ]  # fmt: skip


def _seed(seed: int, trained: CompleteTraining, tested: MeasuredOnTest | None) -> Seed:
    metrics = {**trained.credible, **(tested.metrics if tested else {})}
    images = tested.images if tested else None
    return Seed(
        seed, trained.subset_hash, metrics, trained.epoch, images, trained.samples_per_class
    )  # fmt: skip


def best_trial(study: Reviewed, rows: Iterable[TrialRow]) -> ComparedEntry | None:
    """Return the best complete trial, with the seeds that the search trained it with."""
    row = best_of(rows)
    if row is None:
        return None
    entry = new_entry(study, row.scenario, row.number, "trial", row.params)
    own = entry.config.seeds.seed
    seeds = []
    for seed, place in [(own, row.folder)] + [
        (own + i, row.folder / f"seed-{own + i}") for i in range(1, len(row.seeds))
    ]:
        trained = read_complete(place)
        if trained is not None:
            seeds.append(_seed(seed, trained, None))
    if not seeds:
        seeds = [Seed(own, "", {entry.objective: row.score or 0.0})]
    return replace(entry, seeds=tuple(seeds))
