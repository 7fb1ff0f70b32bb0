"""Finds the trained models that a word of the command line names."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ltat_tune.config.config_file import load_config
from ltat_tune.errors import CheckpointError, ConfigError, LtatError, StudyError
from ltat_tune.results.model import read_results
from ltat_tune.results.trial_view import find_trial
from ltat_tune.space.reader import read_document
from ltat_tune.space.resources import ResourcesSpec
from ltat_tune.space.spec import ConfirmSpec
from ltat_tune.storage.folder import StudyFolder, list_studies
from ltat_tune.training.weights_file import SUFFIX

_TRIAL = re.compile(r"/t\d+$")


@dataclass(frozen=True)
class Target:
    """The files of a trained model, and the study that they come from."""

    name: str
    config: Path
    checkpoint: Path
    cache: Path | None = None  # decoded images of its study
    study: Path | None = None

    @property
    def scenario(self) -> str:
        """The scenario of its study; empty if it is no training of a study."""
        if self.study is None:
            return ""
        place = self.checkpoint.resolve().parent.relative_to(self.study.resolve()).parts
        return place[1] if len(place) > 2 else ""


def find_targets(text: str, studies: Path, *, config: Path | None = None) -> list[Target]:
    """Return the models that one argument of the command line names.

    Args:
        text: a study's name or folder (the winner of every scenario, all seeds), the folder of a
            trial or confirmation, a configuration with a checkpoint beside it, or a checkpoint.
        studies: folder that holds the studies.
        config: configuration of a checkpoint that has none beside it.

    Raises:
        StudyError: nothing has this name, or the study has no results.
        CheckpointError, ConfigError: a part is missing; the message says how to create it.
    """
    path = Path(text)
    for folder in (path, studies / text):
        if (folder / "study.json").exists():
            return _winners(folder)
    if path.is_dir():
        if not (path / "config.yaml").exists():
            raise StudyError(
                f"{path} must hold config.yaml and checkpoint.pt, or be a study; it holds neither"
            )
        return [_beside(path / "config.yaml", path / "checkpoint.pt")]
    if not path.exists() and _TRIAL.search(text):
        return find_targets(str(find_trial((text,), studies)[1].folder), studies)
    if not path.exists():
        names = ", ".join(list_studies(studies)) or "none"
        raise StudyError(
            f"{text} is not a study, folder or file; studies in {studies}: {names}; or give a "
            "folder of a trial, a configuration or a checkpoint"
        )
    if path.suffix in (".yaml", ".yml"):
        own, shared = path.with_suffix(".pt"), path.with_name("checkpoint.pt")
        if not own.exists() and path.with_suffix(SUFFIX).exists():
            own = path.with_suffix(SUFFIX)
        use_shared = shared.exists() and path.name == "config.yaml" and not own.exists()
        return [_beside(path, shared if use_shared else own)]
    beside = [path.with_suffix(".yaml"), path.with_name("config.yaml")]
    own_config = config or next((file for file in beside if file.exists()), None)
    if own_config is None:
        raise ConfigError(
            f"{path} needs the configuration it was trained with: put it beside the file as "
            f"{beside[1].name}, or name it with --config"
        )
    return [_beside(own_config, path)]


def _beside(config: Path, checkpoint: Path) -> Target:
    if not checkpoint.exists():
        raise CheckpointError(
            f"{config} has no trained model beside it ({checkpoint.name}); make one: "
            f"ltat-tune train {config} --checkpoint {checkpoint}"
        )
    study = next((p for p in checkpoint.resolve().parents if (p / "study.json").exists()), None)
    if study is None:
        place = checkpoint.resolve().parent.name
        name = place if checkpoint.name == "checkpoint.pt" else f"{place}-{checkpoint.stem}"
        return Target(name, config, checkpoint)
    rest = checkpoint.resolve().parent.relative_to(study).parts[1:]
    # files that share a folder, such as those of best/, differ by their own names
    own = () if rest and checkpoint.name == "checkpoint.pt" else (checkpoint.stem,)
    return Target(
        "-".join((study.name, *rest, *own)), config, checkpoint, StudyFolder(study).cache, study
    )


def _winners(root: Path) -> list[Target]:
    folder = StudyFolder.open(root)
    results = read_results(folder)
    if results is None:
        raise StudyError(
            f"{root.name} has no results yet; finish it: ltat-tune resume {root.name}, or give "
            "the folder of one trial"
        )
    targets = []
    for scenario in results.scenarios:
        if scenario.winner is None:
            continue
        for seed in scenario.winner.seeds:
            place = folder.confirmation(scenario.name, scenario.winner.recipe, seed)
            targets.append(_beside(place / "config.yaml", place / "checkpoint.pt"))
    if not targets:
        raise StudyError(f"{root.name} has confirmed nothing; give the folder of one trial")
    return targets


def part_of_study(target: Target) -> int | None:
    """Return the `confirm.test_images` of the model's study; None if that is all, or no study."""
    if target.study is None:
        return None
    with suppress(LtatError):  # the study's own error comes when its images are loaded
        document, _ = read_document(StudyFolder(target.study).space)
        return ConfirmSpec(**(document.get("confirm") or {})).test_images
    return None


def threads_of(target: Target) -> int:
    """Return the CPU threads of the model's study or export; 1 if neither can be read."""
    with suppress(LtatError):  # the model's own error comes when it is loaded
        if target.study is not None:
            document, _ = read_document(StudyFolder(target.study).space)
            return ResourcesSpec(**(document.get("resources") or {})).cpus_per_trial
        _, recorded = load_config(target.config)
        return int((recorded or {}).get("threads", 1))
    return 1
