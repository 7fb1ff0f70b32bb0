"""One connection to an MLflow store, and what is added to runs of ended studies."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ltat_tune.errors import StudyError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def attach(
    uri: str, name: str, uid: str, key: str, metrics: Mapping[str, float], files: Mapping[str, str]
) -> bool:
    """Adds numbers and files (name -> text) to one run of an ended study; False without the run.

    Raises:
        StudyError: the store does not answer.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [Metric(metric, value, now, 0) for metric, value in metrics.items()]

    def add(client: MlflowClient, run_id: str) -> None:
        for first in range(0, len(rows), 1000):
            client.log_batch(run_id, metrics=rows[first : first + 1000])
        for file, content in files.items():
            client.log_text(run_id, content, file)

    return _to_runs(uri, name, uid, key, add)


def attach_files(uri: str, name: str, uid: str, files: Iterable[Path], place: str) -> bool:
    """Adds files to the run of the study itself, under `place`; False without the run.

    Raises:
        StudyError: the store does not answer.
    """

    def add(client: MlflowClient, run_id: str) -> None:
        for path in files:
            client.log_artifact(run_id, str(path), place)

    return _to_runs(uri, name, uid, "study", add)


def _to_runs(
    uri: str, name: str, uid: str, key: str, add: Callable[[MlflowClient, str], None]
) -> bool:
    """Calls `add` with every run of this key in an ended study; False if there is none."""
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(name)
        text = f"tags.`ltat.study` = '{uid}' and tags.`ltat.key` = '{key}'"
        found = client.search_runs([experiment.experiment_id], text) if experiment else []
        for run in found:
            add(client, run.info.run_id)
    except Exception as error:  # any store, any driver
        raise StudyError(
            f"{public_uri(uri)}: {first_line(error).replace(uri, public_uri(uri))}"
        ) from error
    return bool(found)


def first_line(error: Exception) -> str:
    """What went wrong, without the page that follows it."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def connect(uri: str) -> MlflowClient:
    """A quiet client: what fails is said once, by the caller."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    for noisy in ("mlflow", "alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def public_uri(uri: str) -> str:
    """The URI without user and password, as it may be printed."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if "@" in rest else uri
