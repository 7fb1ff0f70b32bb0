"""One connection to an MLflow store, and what is added to runs of ended studies."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
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
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(name)
        text = f"tags.`ltat.study` = '{uid}' and tags.`ltat.key` = '{key}'"
        found = client.search_runs([experiment.experiment_id], text) if experiment else []
        for run in found:
            for first in range(0, len(rows), 1000):
                client.log_batch(run.info.run_id, metrics=rows[first : first + 1000])
            for file, content in files.items():
                client.log_text(run.info.run_id, content, file)
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


def attach_files(uri: str, name: str, uid: str, files: Iterable[Path], place: str) -> bool:
    """Adds files to the run of the study itself, under `place`; False without the run.

    Raises:
        StudyError: the store does not answer.
    """
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(name)
        text = f"tags.`ltat.study` = '{uid}' and tags.`ltat.key` = 'study'"
        found = client.search_runs([experiment.experiment_id], text) if experiment else []
        for run in found:
            for path in files:
                client.log_artifact(run.info.run_id, str(path), place)
    except Exception as error:  # any store, any driver
        raise StudyError(
            f"{public_uri(uri)}: {first_line(error).replace(uri, public_uri(uri))}"
        ) from error
    return bool(found)


def public_uri(uri: str) -> str:
    """The URI without user and password, as it may be printed."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if "@" in rest else uri
