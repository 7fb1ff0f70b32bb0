"""Exported models in MLflow: on the run that trained them, and in the registry under an alias.

A model consists of plain files: weights, configuration and the code that reads them. Nothing is
pickled.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ltat_tune import provenance
from ltat_tune.errors import StudyError
from ltat_tune.tracking.store import connect, find_experiment, hidden, public_uri, reason

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from mlflow import MlflowClient


CHAMPION = "champion"
_LOADER = "ltat_tune.export.pyfunc"
_NEEDS = (
    "torch",
    "numpy",
    "pydantic",
    "pyyaml",
    "safetensors",
    "mlflow",
)  # the imports of _LOADER
_WEIGHTS_TAG, _PLUGINS_TAG = "ltat.weights", "ltat.plugins"


@dataclass(frozen=True)
class ModelFiles:
    """One exported model.

    Attributes:
        weights: the safetensors file.
        config: its configuration.
        hash: hash of the weights. A run has each model only once.
        about: human-readable tags: study, scenario, trial, selected_on_test, smoke.
        card: the model card in Markdown.
        plugins: files of the plugins that the configuration names, by the plugin's name.
    """

    weights: Path
    config: Path
    hash: str
    about: Mapping[str, str]
    card: str = ""
    plugins: Mapping[str, Path] = field(default_factory=dict)

    def tags(self) -> dict[str, str]:
        """Return the tags that distinguish the model from all others of its run."""
        code = ", ".join(sorted(self.plugins))
        return {_WEIGHTS_TAG: self.hash, **({_PLUGINS_TAG: code} if code else {})}


def log_model(client: MlflowClient, run_id: str, name: str, files: ModelFiles) -> str:
    """Log a model on a run, unless the run has it, and return the model's id."""
    from mlflow.entities import LoggedModelOutput

    run = client.get_run(run_id)
    for logged in client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    ):
        same = all(logged.tags.get(tag) == text for tag, text in files.tags().items())
        if same and logged.status == "READY":
            return str(logged.model_id)
    model = client.create_logged_model(
        run.info.experiment_id, name, run_id, model_type="classifier",
        tags={**files.about, **files.tags()},
        params={k: v for k, v in run.data.params.items() if v != "null"},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        save_model(place, files, run_id=run_id, model_id=model.model_id)
        client.log_model_artifacts(model.model_id, str(place))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def save_model(folder: Path, files: ModelFiles, *, run_id: str, model_id: str) -> None:
    """Write the folder of an MLflow model that `mlflow.pyfunc` can load and MLflow can serve."""
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    from ltat_tune.training.weights_file import CONFIG, OUTPUTS, WEIGHTS, read_weights

    exported = read_weights(files.weights)
    float32 = np.dtype(np.float32)
    signature = ModelSignature(
        Schema([TensorSpec(float32, (-1, *exported.image_shape))]),
        Schema([TensorSpec(float32, (-1, len(exported.classes)))]),
        ParamSchema([ParamSpec("output", DataType.string, OUTPUTS[0])]),
    )
    example = np.full((2, *exported.image_shape), 0.5, dtype=np.float32)
    with tempfile.TemporaryDirectory() as temporary, _quiet():
        data = Path(temporary) / "model"
        data.mkdir()
        shutil.copyfile(files.weights, data / WEIGHTS)
        shutil.copyfile(files.config, data / CONFIG)
        mlflow.pyfunc.save_model(
            str(folder), loader_module=_LOADER, data_path=str(data),
            code_paths=[str(provenance.PACKAGE), *_code(files.plugins, temporary)],
            mlflow_model=Model(run_id=run_id, model_id=model_id), signature=signature,
            input_example=(example, {}),
            pip_requirements=[
                f"{name}=={metadata.version(name)}"
                for name in (*_NEEDS, *_libraries(files.config))
            ],
            metadata={**files.about, "classes": list(exported.classes)},
        )  # fmt: skip
        if files.card:
            (folder / "README.md").write_text(files.card, encoding="utf-8")


def _libraries(config: Path) -> tuple[str, ...]:
    """Return the packages that define a configuration's network, besides those of `_NEEDS`."""
    from ltat_tune.config.config_file import load_config

    library = load_config(config)[0].model.name.partition("/")[0]
    return {"torchvision": ("torchvision",), "timm": ("torchvision", "timm")}.get(library, ())


def _code(plugins: Mapping[str, Path], temporary: str) -> list[str]:
    """Copy plugins by their names; return the files and folders to put on the loader's path.

    `load_plugins` finds them there and compares them with the hashes in the configuration.
    """
    for name, file in plugins.items():
        place = Path(temporary, "code", *name.split(".")).with_suffix(".py")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    return [str(path) for path in sorted(Path(temporary, "code").glob("*"))]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence MLflow, which warns about its own dependencies and logs every step."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class Registered:
    """A version of a model in the registry."""

    name: str
    version: str
    uri: str  # of the store, without secrets
    is_new: bool = True  # `register` made the version

    @property
    def address(self) -> str:
        """The address for `mlflow.pyfunc.load_model`, once it is published."""
        return f"models:/{self.name}@{CHAMPION}"

    @property
    def own_address(self) -> str:
        """The address of this version, published or not."""
        return f"models:/{self.name}/{self.version}"


def register(
    uri: str, experiment: str, uid: str, key: str, name: str, files: ModelFiles, *, remedy: str
) -> Registered:
    """Log a model on its run if necessary, and make it a version of a registered model.

    Nobody is led to the version until `publish`.

    Args:
        uri: URI of the store.
        experiment: name of the study.
        uid: id of the study.
        key: key of the run that trained the model.
        name: name of the registered model, which is created if it does not exist.
        files: the model.
        remedy: advice for the error if the store has no such run.

    Raises:
        StudyError: the store does not answer, or has no such run.
    """
    try:
        client = connect(uri)
        entry = find_experiment(client, experiment, uid)
        text = f"tags.`ltat.study` = '{uid}' and tags.`ltat.key` = '{key}'"
        runs = client.search_runs([entry.experiment_id], text) if entry else []
        if not runs:
            raise StudyError(
                f"{public_uri(uri)} has no run {key} of study {experiment}; it may have been "
                f"deleted; {remedy}"
            )
        run_id = runs[0].info.run_id
        model_id = log_model(client, run_id, key.partition("/")[0], files)
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name, description=f"From ltat-tune study {experiment}.")
        return _version(client, uri, run_id, model_id, name, files)
    except StudyError:
        raise
    except Exception as error:  # of any store or driver; not chained, as it may hold a password
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None


def _version(
    client: MlflowClient, uri: str, run_id: str, model_id: str, name: str, files: ModelFiles
) -> Registered:
    logged = client.get_logged_model(model_id)
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.source == logged.artifact_location:  # MLflow does not keep its model_id
            return Registered(name, str(version.version), public_uri(uri), is_new=False)
    version = client.create_model_version(
        name, logged.artifact_location, run_id, tags=dict(files.about),
        description=files.card, model_id=model_id,
    )  # fmt: skip
    return Registered(name, str(version.version), public_uri(uri))


def publish(uri: str, registered: Registered) -> None:
    """Make a version the champion of its model. Raises: StudyError."""
    try:
        connect(uri).set_registered_model_alias(registered.name, CHAMPION, registered.version)
    except Exception as error:  # of any store or driver; not chained, as it may hold a password
        raise StudyError(f"{public_uri(uri)}: {reason(error, uri)}") from None


def withdraw(uri: str, registered: Registered) -> None:
    """Delete a version that `register` made, and the model if it has no other."""
    if not registered.is_new:
        return
    with contextlib.suppress(Exception):  # the error that leads here matters more
        client = connect(uri)
        client.delete_model_version(registered.name, registered.version)
        if not client.search_model_versions(f"name = '{registered.name}'"):
            client.delete_registered_model(registered.name)


_ASK = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow, numpy
model = mlflow.pyfunc.load_model(sys.argv[1])
batches = numpy.load(sys.argv[2]).values()
answers = [model.predict(batch, {"output": "logits"}) for batch in batches]
numpy.savez(sys.argv[3], *answers)
"""


def predict_with(
    uri: str, registered: Registered, batches: Sequence[npt.NDArray[np.float32]], threads: int
) -> list[npt.NDArray[np.float32]]:
    """Compute logits by the registered model in a new process that knows only its address.

    Args:
        uri: URI of the store.
        registered: the model.
        batches: batches of images, (N, C, H, W) each.
        threads: number of CPU threads, on which the last digits depend.

    Raises:
        StudyError: the process cannot load the model. The error states the reason.
    """
    import numpy as np

    environment = {
        **os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": str(threads),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        images, answers = Path(folder) / "images.npz", Path(folder) / "answers.npz"
        np.savez(images, *batches)
        process = subprocess.run(
            [sys.executable, "-c", _ASK, registered.own_address, str(images), str(answers)],
            env=environment, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if process.returncode:
            message = (process.stderr.strip() or "it printed no reason").splitlines()[-1]
            raise StudyError(
                f"mlflow.pyfunc cannot load {registered.address}: {hidden(message, uri)}"
            )
        with np.load(answers) as logits:
            return list(logits.values())
