"""Write the files of `ltat-tune export` beside a configuration, and check them.

Each is compared with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ltat_tune.evaluation.loading import Loaded, load_target
from ltat_tune.evaluation.targets import Target
from ltat_tune.export.card import model_card
from ltat_tune.export.loading_help import onnx_help, registry_help, weights_help
from ltat_tune.export.onnx_file import OPSET, check_installed, onnx_runner, save_onnx, write_about
from ltat_tune.export.verify import Sample, compare_predictions, take_sample
from ltat_tune.files import write_text
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.identity import settled_store
from ltat_tune.tracking.model_registry import (
    ModelFiles,
    predict_with,
    publish,
    register,
    withdraw,
)
from ltat_tune.training.weights_file import SUFFIX, load_model, save_weights

if TYPE_CHECKING:
    from ltat_tune.export.winner import Winner


# Relative to the largest logit: other kernels, and other processes, may sum in another order.
_ONNX_TOLERANCE, _PROCESS_TOLERANCE = 1e-4, 1e-5


@dataclass(frozen=True)
class ExportForms:
    """The forms to write besides configuration and card."""

    checkpoint: bool = False
    onnx: bool = False
    register: str | None = None  # name of the registered model

    def check(self) -> None:
        """Raise StudyError if an extra is missing, before anything is written."""
        if self.onnx:
            check_installed()


@dataclass
class Written:
    """The files written for one winner."""

    paths: list[Path]
    checks: dict[str, str] = field(
        default_factory=dict
    )  # file or address -> agreement with the checkpoint
    loading: list[str] = field(default_factory=list)


def write_more(folder: StudyFolder, winner: Winner, wanted: ExportForms) -> Written:
    """Write weights, an ONNX file and a registered model as wanted, and a card on them.

    Raises:
        StudyError: a file answers differently from the checkpoint, or MLflow refuses the model.
        CheckpointError, DataError: the checkpoint or its images are missing or have changed.
    """
    card = winner.path.with_suffix(".md")
    written = Written([winner.path, card, *winner.plugins.values()])
    if not (wanted.checkpoint or wanted.onnx or wanted.register):
        return written
    place = winner.training.path
    loaded = load_target(Target(winner.path.stem, place / "config.yaml", place / "checkpoint.pt",
                         folder.cache, folder.root))  # fmt: skip
    sample = take_sample(loaded)
    weights = winner.path.with_suffix(SUFFIX)
    if wanted.checkpoint or wanted.register:
        _weights(weights, winner, loaded, sample, written)
    if wanted.onnx:
        _onnx(winner.path.with_suffix(".onnx"), winner, loaded, sample, written)
    if wanted.register:
        _register(folder, winner, wanted.register, weights, loaded, sample, written)
    write_text(card, model_card(winner, loading=written.loading, checks=written.checks))
    return written


def weights_file(path: Path, winner: Winner, loaded: Loaded) -> None:
    """Write the safetensors file of a winner, with its identity as metadata."""
    _, height, width = loaded.splits.train.images.shape[1:]
    save_weights(
        path, loaded.model, identity=loaded.config.identity,
        subset_hash=loaded.splits.subset_hash, epoch=loaded.epoch, classes=loaded.splits.classes,
        image_shape=(loaded.splits.train.images.shape[1], height, width), about=about(winner),
    )  # fmt: skip


def about(winner: Winner) -> dict[str, str]:
    """Return facts that identify a model found without its study."""
    return {
        "study": winner.results.study,
        "scenario": winner.scenario.name,
        "trial": str(winner.recorded["trial"]),
        "seed": str(winner.recorded["seeds"][0]),
        "selected_on_test": str(bool(winner.recorded["selected_on_test"])).lower(),
        "smoke": str(winner.results.smoke).lower(),
    }


def _weights(path: Path, winner: Winner, loaded: Loaded, sample: Sample, written: Written) -> None:
    weights_file(path, winner, loaded)
    model = load_model(path)
    _check(path, lambda: compare_predictions(sample, model, what=path.name, tolerance=0), written)
    written.loading.append(weights_help(winner, path, *sample.clean.shape[1:3]))


def _onnx(path: Path, winner: Winner, loaded: Loaded, sample: Sample, written: Written) -> None:
    channels, height, width = sample.clean.shape[1:]
    save_onnx(path, loaded.model, (channels, height, width))

    def agrees() -> str:
        agreement = compare_predictions(
            sample, onnx_runner(path), what=path.name, tolerance=_ONNX_TOLERANCE
        )
        facts = {
            **about(winner), "identity": loaded.config.identity, "opset": str(OPSET),
            "max_difference_clean": f"{agreement.clean:.3e}",
            "max_difference_attacked": f"{agreement.attacked:.3e}", "attack": agreement.attack,
        }  # fmt: skip
        write_about(path, facts)
        return f"opset {OPSET}, onnxruntime: {agreement}"

    _check(path, agrees, written)
    written.loading.append(onnx_help(path))


def _check(path: Path, agrees: Callable[[], object], written: Written) -> None:
    """Record how a file agrees with its checkpoint; delete it if it does not."""
    try:
        written.checks[path.name] = str(agrees())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    written.paths.append(path)


def _register(
    folder: StudyFolder,
    winner: Winner,
    name: str,
    weights: Path,
    loaded: Loaded,
    sample: Sample,
    written: Written,
) -> None:
    store = settled_store(folder)
    uri = store.uri
    files = ModelFiles(
        weights, winner.path, loaded.weights, about(winner), model_card(winner),
        winner.plugins,
    )  # fmt: skip
    registered = register(
        uri, store.experiment, store.uid, winner.training.key, name, files,
        remedy=f"to write the study's runs again: {folder.resume_command}",
    )  # fmt: skip

    batches = [part.numpy() for part in sample.batches()]
    what = f"{registered.address} (version {registered.version})"
    try:
        answers = map(
            torch.from_numpy, predict_with(uri, registered, batches, torch.get_num_threads())
        )
        agreement = compare_predictions(
            sample, lambda _: next(answers), what=what, tolerance=_PROCESS_TOLERANCE
        )
    except BaseException:
        withdraw(uri, registered)
        raise
    publish(uri, registered)
    written.checks[what] = str(agreement)
    written.loading.append(registry_help(registered, tuple(sample.clean.shape[1:])))
