"""What trainings left on disk, as plain dataclasses: no figure reads a file itself."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from ltat_tune.config import TrialConfig
from ltat_tune.config_file import load_config
from ltat_tune.errors import DataError, StudyError
from ltat_tune.figures.spec import MissingData
from ltat_tune.study.folder import StudyFolder, read_json
from ltat_tune.training.metrics import ClassGroups

Kind = Literal["trial", "confirmation", "training"]
Split = Literal["test", "val"]
T = TypeVar("T")


@dataclass(frozen=True)
class PastEpoch:
    """One epoch as the checkpoint remembers it; `epoch` counts completed epochs, from 1."""

    epoch: int
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Run:
    """One finished training and what it left in its folder."""

    path: Path
    kind: Kind
    study: str  # empty for a training of its own
    scenario: str
    config: TrialConfig
    cache: Path | None  # decoded images
    epoch: int  # that the kept weights are from
    metrics: dict[str, float]  # val/ of the kept epoch, and test/ where it was tested
    per_class: dict[str, list[float | None]]  # `val/<attack>`, `test/<attack>` -> recalls, (K,)
    samples_per_class: list[int]  # (K,)
    predicted: list[list[int]]  # training images by predicted class, (epochs, K)
    ae_distances: list[list[float | None]]  # (epochs, K), or empty: not recorded

    @property
    def name(self) -> str:
        """`quickstart/imbalance_ratio_50/t0003`."""
        return "/".join(part for part in (self.study, self.scenario, self.path.name) if part)

    @property
    def seed(self) -> int:
        """The training seed."""
        return self.config.seeds.seed

    @property
    def groups(self) -> ClassGroups:
        """Head, body, tail, well and under."""
        return ClassGroups.from_counts(self.samples_per_class)

    @cached_property
    def history(self) -> list[PastEpoch]:
        """Every epoch, from the checkpoint. Raises: MissingData, CheckpointError."""
        from ltat_tune.training.checkpoint import read_history

        if not self.checkpoint.exists():
            train = ["ltat-tune", "train", str(self.path / "config.yaml")]
            command = shlex.join([*train, "--checkpoint", str(self.checkpoint)])
            raise MissingData(f"{self.name} has no checkpoint.pt any more", command=command)
        return [PastEpoch(*past) for past in read_history(self.checkpoint)]

    @property
    def checkpoint(self) -> Path:
        """Where the weights lie, if they were kept."""
        return self.path / "checkpoint.pt"

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the K classes; their indices where the data set is not at hand."""
        from ltat_tune.data.cache import open_cached

        try:
            return list(open_cached(self.config.data, self.cache).classes)
        except DataError:
            return [str(c) for c in range(len(self.samples_per_class))]

    def recall(self, attack: str, split: Split) -> list[float | None]:
        """Recalls by class (K,).

        Raises:
            MissingData: not measured on these images.
        """
        return self._measured(self.per_class, attack, split)

    def metric(self, name: str, split: Split) -> float:
        """`pgd20_tail_acc`: [0, 1].

        Raises:
            MissingData: not measured on these images.
        """
        return self._measured(self.metrics, name, split)

    def _measured(self, known: dict[str, T], name: str, split: Split) -> T:
        if f"{split}/{name}" not in known:
            images = "test" if split == "test" else "validation"
            raise MissingData(f"{name} of {self.name} on the {images} images")
        return known[f"{split}/{name}"]

    @property
    def attack(self) -> str:
        """PGD-20 if the run was measured under it, else its validation attack."""
        measured = {name.partition("/")[2] for name in self.per_class}
        return "pgd20" if "pgd20" in measured else self.config.evaluation.val_attack


@dataclass(frozen=True)
class Recipe:
    """One configuration with all its seeds: the confirmations, or else the trials."""

    runs: tuple[Run, ...]  # by seed; not empty

    @property
    def config(self) -> TrialConfig:
        """The first seed's."""
        return self.runs[0].config

    @property
    def first(self) -> Run:
        """The run of the lowest seed: what is drawn for one model alone."""
        return self.runs[0]

    def over_seeds(self, value: Callable[[Run], float]) -> tuple[float, float]:
        """Mean, and sample standard deviation over the seeds (0 for one seed)."""
        values = [value(run) for run in self.runs]
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    @property
    def score(self) -> float:
        """Balanced accuracy under the validation attack, mean of the seeds."""
        name = f"val/{self.config.evaluation.val_attack}_balanced_acc"
        return self.over_seeds(lambda run: run.metrics.get(name, 0.0))[0]


def common_split(recipes: Iterable[Recipe], attack: str) -> Split:
    """The images on which recipes can be compared: test if all their seeds were tested."""
    runs = [run for recipe in recipes for run in recipe.runs]
    return "test" if all(f"test/{attack}" in run.per_class for run in runs) else "val"


@dataclass(frozen=True)
class Sources:
    """Everything that the targets hold, and how models are run where a figure needs them."""

    runs: tuple[Run, ...]
    device: str = "cpu"
    images: int = 1000  # test images, class by class alike, of figures that run models
    root: str | None = None  # folder of official files, where figures count these without a run
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: tuple[object, ...], compute: Callable[[], T]) -> T:
        """What `compute` gives, computed at most once for this key: figures share models."""
        if key not in self._known:
            self._known[key] = compute()
        found: T = self._known[key]
        return found

    @cached_property
    def recipes(self) -> list[Recipe]:
        """Runs by study, scenario and configuration; confirmations stand in for their trials."""
        together: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.runs:
            together.setdefault((run.study, run.scenario, run.config.recipe), []).append(run)
        found = []
        for alike in together.values():
            confirmed = [run for run in alike if run.kind == "confirmation"]
            seeds = {run.seed: run for run in confirmed or alike}
            found.append(Recipe(tuple(seeds[seed] for seed in sorted(seeds))))
        return found

    def where(self, **values: Any) -> list[Recipe]:
        """Recipes with these values: `where(**{"method.name": "reat", "data.profile": "exp"})`."""
        return [
            recipe
            for recipe in self.recipes
            if all(recipe.config.get(path) == value for path, value in values.items())
        ]


def read_sources(
    targets: Iterable[Path], *, device: str = "cpu", images: int = 1000, root: str | None = None
) -> Sources:
    """All finished trainings in study folders, and in folders of single trainings.

    Raises:
        StudyError: a target is neither, or nothing in them is finished.
    """
    runs: list[Run] = []
    for target in targets:
        found = _of_study(target) if (target / "study.json").exists() else _of_run(target)
        runs += found
    once = {run.path.resolve(): run for run in runs}
    return Sources(tuple(once.values()), device, images, root)


def _of_study(root: Path) -> list[Run]:
    folder = StudyFolder.open(root)
    paths: Sequence[Path] = sorted(folder.root.glob("trials/*/*")) + sorted(
        folder.root.glob("confirmations/*/*")
    )
    return [run for path in paths if (run := read_run(path)) is not None]


def _of_run(path: Path) -> list[Run]:
    path = path.parent if path.is_file() else path
    if not (path / "config.yaml").exists():
        raise StudyError(
            f"{path} is neither a study (study.json) nor a training (config.yaml, result.json)"
        )
    run = read_run(path)
    if run is None:
        raise StudyError(f"the training in {path} is not finished: it has no result.json")
    return [run]


def read_run(path: Path) -> Run | None:
    """The training in a folder; None if it did not come to its end.

    Raises:
        ConfigError: its configuration cannot be read.
    """
    result = read_json(path / "result.json")
    if result is None or result["state"] != "complete" or not (path / "config.yaml").exists():
        return None
    config, _ = load_config(path / "config.yaml")
    tested = read_json(path / "test.json") or {"metrics": {}, "per_class": {}}
    kind, study, scenario, cache = _place(path.resolve())
    return Run(
        path=path,
        kind=kind,
        study=study,
        scenario=scenario,
        config=config,
        cache=cache,
        epoch=result["epoch"],
        metrics={**result["metrics"], **tested["metrics"]},
        per_class={**result["per_class"], **tested["per_class"]},
        samples_per_class=result["samples_per_class"],
        predicted=result.get("predicted", []),
        ae_distances=result.get("ae_distances", []),
    )


def _place(path: Path) -> tuple[Kind, str, str, Path | None]:
    """Kind, study, scenario and cache by where the folder lies."""
    if len(path.parts) > 3 and (path.parents[2] / "study.json").exists():
        folder = StudyFolder(path.parents[2])
        kind: Kind = "trial" if path.parents[1].name == "trials" else "confirmation"
        return kind, folder.root.name, path.parent.name, folder.cache
    return "training", "", "", None
