"""Read the configurations that studies trained, as entries to compare; write nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ltat_tune.config.parameters import PARAMETERS, unknown_parameter
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import StudyError
from ltat_tune.results.collect import results_so_far
from ltat_tune.results.model import (
    ConfirmedResult,
    ScenarioResults,
    StudyResults,
    standing,
)
from ltat_tune.results.significance import Pair
from ltat_tune.space.reader import read_space
from ltat_tune.space.space import Space, text_of
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import (
    CompleteTraining,
    MeasuredOnTest,
    read_complete,
    read_test,
)
from ltat_tune.storage.trials import TrialRow, read_trials

Role = Literal["winner", "confirmed", "baseline", "trial"]
# what `--by` takes besides paths: study, scenario, and sections, each for its `name`
KEYS = ("study", "scenario", "method", "loss", "model", "reweight", "data")
_BINS = 4  # ranges that a parameter with many values is cut into
_MANY = 8  # different values; a parameter with more is cut into ranges


@dataclass(frozen=True)
class Seed:
    """One training of a configuration: its results with one seed."""

    seed: int
    subset: str  # hash of its training images; "" if the trial left no result
    metrics: Mapping[str, float]
    epoch: int | None = None  # the epoch of the kept weights
    test_images: Mapping[str, int] | None = None  # attack -> number of images


@dataclass(frozen=True)
class ComparedEntry:
    """One configuration of one scenario, with all its seeds.

    Attributes:
        role: winner, confirmed or baseline, trained with the seeds of `confirm.seeds`; or trial,
            the best trial of a search without confirmation.
        params: values of the tuned parameters.
        epochs: epochs of one training.
        searched: epochs that the search spent on trials of its group.
        trials: number of trials of its group, whatever their end.
        label: the value that it represents in a grouped table.
    """

    study: str
    scenario: str
    title: str
    number: int
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

    @property
    def name(self) -> str:
        """Its short name, such as `quickstart t0003`."""
        return f"{self.study} t{self.number:04d}"

    @property
    def epochs(self) -> int:
        """The epochs of one training."""
        return self.config.optim.epochs

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
            best = _best(study, rows)
            entries += [] if best is None else [replace(best, **cost)]  # type: ignore[arg-type]
        all_entries += entries
    return all_entries


def grouped_entries(study: Reviewed, keys: Sequence[str]) -> list[ComparedEntry]:
    """Return, for every value of the keys, its best configuration in every scenario.

    That is the best confirmed winner with this value, or else the best complete trial of the
    search. The study's objective decides, so validation images alone do.
    """
    bins = {key: _bins(study, key) for key in keys if key in PARAMETERS}
    confirmed = [e for e in confirmed_entries(study) if e.role != "trial"]
    groups: dict[tuple[str, str], list[TrialRow]] = defaultdict(list)
    for row in study.trials:
        groups[row.scenario, _label(study, row.scenario, row.params, keys, bins)].append(row)
    entries = []
    for (scenario, label), rows in groups.items():
        confirmed_here = [
            e for e in confirmed if e.scenario == scenario
            and _label(study, scenario, e.params, keys, bins) == label
        ]  # fmt: skip
        tested = [e for e in confirmed_here if e.role != "baseline"]
        best = max(tested, key=_standing, default=None) or _best(study, rows)
        same = [e for e in confirmed_here if best is not None and e.number == best.number]
        best = same[0] if same else best
        if best is not None:
            spent = sum(row.epochs for row in rows)
            entries.append(replace(best, label=label, searched=spent, trials=len(rows)))
    return entries


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


def _standing(entry: ComparedEntry) -> tuple[int, float]:
    return standing(list(entry.scores(entry.objective).values()) or [0.0])


def _entry(
    study: Reviewed, scenario: str, number: int, role: Role, params: Mapping[str, Any],
    seeds: Iterable[Seed],
) -> ComparedEntry:  # fmt: skip
    space = study.space
    where = space.scenario(scenario)
    return ComparedEntry(
        study=study.folder.root.name, scenario=scenario, title=where.title, number=number,
        role=role, config=space.config(where, params), params=dict(params), seeds=tuple(seeds),
        objective=space.objective.metric, selected_on_test=space.selected_on_test,
        smoke=bool(study.folder.read_facts().get("smoke")), finished=study.finished,
        axes=dict(where.values),
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
            seeds.append(_seed(seed, trained, read_test(place)))
    if not seeds:  # the trainings were deleted, but the results hold their numbers
        seeds = _recorded_seeds(result)
    return _entry(study, name, result.number, role, result.params, seeds)


def _recorded_seeds(result: ConfirmedResult) -> list[Seed]:
    columns = {**result.val, **result.test}
    return [
        Seed(
            seed, result.subset_hash, {name: column[i] for name, column in columns.items()},
            None, result.test_images or None,
        )
        for i, seed in enumerate(result.seeds)
    ]  # fmt: skip


def _seed(seed: int, trained: CompleteTraining, tested: MeasuredOnTest | None) -> Seed:
    metrics = {**trained.metrics, **(tested.metrics if tested else {})}
    images = tested.images if tested else None
    return Seed(seed, trained.subset_hash, metrics, trained.epoch, images)


def _best(study: Reviewed, rows: Iterable[TrialRow]) -> ComparedEntry | None:
    """Return the best complete trial, with the seeds that the search trained it with."""
    feasible = [row for row in rows if row.score is not None and row.feasible]
    if not feasible:
        return None
    row = min(feasible, key=lambda row: (-(row.score or 0.0), row.number))
    entry = _entry(study, row.scenario, row.number, "trial", row.params, ())
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


def _label(
    study: Reviewed, scenario: str, params: Mapping[str, Any], keys: Sequence[str],
    bins: Mapping[str, Sequence[float]],
) -> str:  # fmt: skip
    words = []
    for key in keys:
        if key == "study":
            words.append(study.folder.root.name)
        elif key == "scenario":
            words.append(study.space.scenario(scenario).title)
        else:
            value = _value(study, scenario, params, key)
            words.append(_in_bin(value, bins[key]) if bins.get(key) else text_of(value))
    return ", ".join(words)


def _value(study: Reviewed, scenario: str, params: Mapping[str, Any], path: str) -> Any:
    if path in params:
        return params[path]
    return study.space.config(study.space.scenario(scenario), params).get(path)


def _bins(study: Reviewed, path: str) -> list[float]:
    """Return borders of ranges with equally many trials; none for a parameter of few values."""
    values = sorted(row.params[path] for row in study.trials if path in row.params
                    and isinstance(row.params[path], float))  # fmt: skip
    if len(set(values)) <= _MANY:
        return []
    return [values[round(i * (len(values) - 1) / _BINS)] for i in range(_BINS + 1)]


def _in_bin(value: float, borders: Sequence[float]) -> str:
    place = sum(value > border for border in borders[1:-1])
    return f"{borders[place]:.2g} to {borders[place + 1]:.2g}"
