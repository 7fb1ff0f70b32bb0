"""One finished training, read from its folder."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from ltat_tune.config.config_file import load_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import DataError, MissingData
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.training_files import read_complete, read_test
from ltat_tune.training.metrics import ClassGroups

RunKind = Literal["trial", "confirmation", "training"]
Split = Literal["test", "val"]
RunT = TypeVar("RunT")


@dataclass(frozen=True)
class PastEpoch:
    """One epoch as the checkpoint records it; `epoch` counts completed epochs, from 1."""

    epoch: int
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Run:
    """One finished training and what it left in its folder."""

    path: Path
    kind: RunKind
    study: str  # empty for a single training
    scenario: str
    config: TrialConfig
    cache: Path | None  # decoded images
    epoch: int  # the epoch of the kept weights
    metrics: dict[str, float]  # val/ of the kept epoch, and test/ if it was tested
    per_class: dict[str, list[float | None]]  # `val/<attack>`, `test/<attack>` -> recalls, (K,)
    samples_per_class: list[int]  # (K,)
    predicted: list[list[int]]  # training images by predicted class, (epochs, K)
    ae_distances: list[list[float | None]]  # (epochs, K); empty if not recorded
    classes: list[str] | None = None  # their names as recorded, (K,)

    @property
    def name(self) -> str:
        """The name with its study: `quickstart/imbalance_ratio_50/t0003`."""
        return "/".join(part for part in (self.study, self.scenario, self.path.name) if part)

    @property
    def seed(self) -> int:
        """The training seed."""
        return self.config.seeds.seed

    @property
    def groups(self) -> ClassGroups:
        """The class groups head, body, tail, well and under."""
        return ClassGroups.from_counts(self.samples_per_class)

    @cached_property
    def history(self) -> list[PastEpoch]:
        """Every epoch, from the checkpoint.

        Raises:
            MissingData: the checkpoint was deleted.
            CheckpointError: it cannot be read.
        """
        from ltat_tune.training.checkpoint import read_history

        if not self.checkpoint.exists():
            train = ["ltat-tune", "train", str(self.path / "config.yaml")]
            command = shlex.join([*train, "--checkpoint", str(self.checkpoint)])
            raise MissingData(f"{self.name} has no checkpoint.pt any more", command=command)
        return [PastEpoch(*past) for past in read_history(self.checkpoint)]

    @property
    def checkpoint(self) -> Path:
        """The file of the weights, which may have been deleted."""
        return self.path / "checkpoint.pt"

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the K classes, or their indices if nothing tells them."""
        from ltat_tune.data.cache import open_cached

        if self.classes:
            return self.classes
        try:
            return list(open_cached(self.config.data, self.cache).classes)
        except DataError:
            return [str(c) for c in range(len(self.samples_per_class))]

    def recall(self, attack: str, split: Split) -> list[float | None]:
        """Return the recalls by class, (K,).

        Raises:
            MissingData: not measured on these images.
        """
        return self._measured(self.per_class, attack, split)

    def metric(self, name: str, split: Split) -> float:
        """Return a metric such as `pgd20_tail_acc`, in [0, 1].

        Raises:
            MissingData: not measured on these images.
        """
        return self._measured(self.metrics, name, split)

    def _measured(self, values: dict[str, RunT], name: str, split: Split) -> RunT:
        if f"{split}/{name}" not in values:
            images = "test" if split == "test" else "validation"
            raise MissingData(f"{name} of {self.name} on the {images} images")
        return values[f"{split}/{name}"]

    @property
    def attack(self) -> str:
        """The attack pgd20 if the run was measured under it, else its validation attack."""
        measured = {name.partition("/")[2] for name in self.per_class}
        return "pgd20" if "pgd20" in measured else self.config.evaluation.val_attack


def read_run(path: Path) -> Run | None:
    """Read the training in a folder. Return None if it is not complete.

    Raises:
        ConfigError: its configuration cannot be read.
        StudyError: its results cannot.
    """
    trained = read_complete(path)
    if trained is None or not (path / "config.yaml").exists():
        return None
    config, _ = load_config(path / "config.yaml")
    tested = read_test(path)
    kind, study, scenario, cache = _place(path.resolve())
    return Run(
        path=path,
        kind=kind,
        study=study,
        scenario=scenario,
        config=config,
        cache=cache,
        epoch=trained.epoch,
        metrics={**trained.metrics, **(tested.metrics if tested else {})},
        per_class={**trained.per_class, **(tested.per_class if tested else {})},
        samples_per_class=trained.samples_per_class,
        predicted=trained.predicted,
        ae_distances=trained.ae_distances,
        classes=trained.classes,
    )


def _place(path: Path) -> tuple[RunKind, str, str, Path | None]:
    """Return kind, study, scenario and cache, by where the folder lies."""
    if len(path.parts) > 3 and (path.parents[2] / "study.json").exists():
        folder = StudyFolder(path.parents[2])
        kind: RunKind = "trial" if path.parents[1].name == "trials" else "confirmation"
        return kind, folder.root.name, path.parent.name, folder.cache
    return "training", "", "", None
