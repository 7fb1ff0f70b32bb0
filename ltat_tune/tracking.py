"""MLflow: a parent run per study, a child per trial, confirmation; written off the result path.

Only this module and mlflow_store import mlflow. Calls put work on a queue; one thread writes it
in batches. Everything can be said twice: runs are found again by tag, metric points by step, so a
study that died is brought up to date on resume, and nothing stays RUNNING.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.errors import StudyError
from ltat_tune.mlflow_store import connect, first_line
from ltat_tune.mlflow_store import public_uri as public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FLUSH_S = 2.0
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "diverged": "FAILED"}
_PARENT = "study"
# MLflow's pages then open on runs and their metrics, not on traces of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


@dataclass
class _Run:
    id: str
    last_step: int = -1
    closed: bool = False  # when this process found it
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)


def tracking_uri(uri: str | None, folder: Path) -> str:
    """Where a study in `folder` is tracked: as asked, else in a SQLite file beside it."""
    return uri or f"sqlite:///{(folder / 'mlflow.db').resolve()}"


class Tracker:
    """Writes one study into MLflow.

    Args:
        uri: tracking URI; None is a SQLite file beside the study.
        name: experiment name, the study's.
        folder: the study's folder.
        uid: the study's own id: runs of another study of this name are not touched.
    """

    def __init__(self, uri: str | None, name: str, folder: Path, uid: str) -> None:
        self.uri = tracking_uri(uri, folder)
        self._name, self._folder, self._uid = name, folder, uid
        self._runs: dict[str, _Run] = {}
        self._work: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._failure: str | None = None
        self._client: MlflowClient
        self._thread = threading.Thread(target=self._serve, name="mlflow", daemon=True)

    # -- called by the driver -------------------------------------------------------------------

    def start(self) -> None:
        """Begins to make the store, in the background."""
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Waits for the store. Raises: StudyError if it cannot be made or reached."""
        self._ready.wait()
        if self._failure is not None:
            raise StudyError(
                f"cannot use the MLflow store {public_uri(self.uri)}: {self._failure}"
            )

    def closed(self, key: str) -> bool:
        """Whether an earlier process wrote this run to its end."""
        return key in self._runs and self._runs[key].closed

    def describe(self, tags: Mapping[str, str], files: tuple[Path, ...]) -> None:
        """Tags and files of the study itself."""
        self._work.put(("_describe", (dict(tags), files)))

    def begin(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Makes or re-opens the run of `key`, a child of the study's run."""
        self._work.put(("_begin", (key, name, dict(params), dict(tags))))

    def log(self, key: str, step: int, metrics: Mapping[str, float]) -> None:
        """One epoch's metrics; a step that the run has already is left alone."""
        self._work.put(("_log", (key, step, dict(metrics), int(time.time() * 1000))))

    def end(
        self,
        key: str,
        state: str,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        artifacts: tuple[Path, ...] = (),
    ) -> None:
        """Closes a run as complete, pruned, failed or diverged.

        `metrics` are of the whole run, logged once at its last step; `files` are name -> text.
        """
        last = dict(metrics or {}), int(time.time() * 1000)
        self._work.put(
            ("_end", (key, state, last, dict(tags or {}), dict(files or {}), artifacts))
        )

    def finish(
        self, state: str, *, note: str = "", files: Mapping[str, str] | None = None
    ) -> None:
        """Closes the parent, and as interrupted every child that is still open; then waits."""
        self._work.put(("_finish", (state, note, dict(files or {}))))
        self.close()

    def close(self) -> None:
        """Waits until all is written."""
        self._work.put(None)
        if self._thread.is_alive():
            self._thread.join()

    # -- in the writing thread ------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._open()
        except Exception as error:  # any store, any driver: said once, where the study starts
            self._failure = first_line(error).replace(self.uri, public_uri(self.uri))
            return
        finally:
            self._ready.set()
        deadline = time.monotonic() + _FLUSH_S
        while True:
            try:
                item = self._work.get(timeout=max(0.05, deadline - time.monotonic()))
            except queue.Empty:
                item = ("_flush", ())
            if item is None:
                self._guarded("_flush")
                return
            self._guarded(item[0], *item[1])
            if time.monotonic() >= deadline:
                self._guarded("_flush")
                deadline = time.monotonic() + _FLUSH_S

    def _guarded(self, name: str, *arguments: Any) -> None:
        try:
            getattr(self, name)(*arguments)
        except Exception as error:  # tracking never ends a study; a resume writes what is missing
            first = str(error).splitlines()[0] if str(error) else ""
            logging.getLogger("ltat_tune").warning(
                "MLflow did not take %s (%s: %s); `ltat-tune resume` writes it again",
                name.strip("_"), type(error).__name__, first,
            )  # fmt: skip

    def _open(self) -> None:
        self._client = connect(self.uri)
        experiment = self._client.get_experiment_by_name(self._name)
        if experiment is None:
            local = self.uri.startswith("sqlite:")
            place = (self._folder / "mlflow-artifacts").resolve().as_uri() if local else None
            self._experiment = self._client.create_experiment(
                self._name, artifact_location=place, tags=_EXPERIMENT_TAGS
            )
        else:
            self._experiment = experiment.experiment_id
        for run in self._search(f"tags.`ltat.study` = '{self._uid}'"):
            ended = run.data.tags.get("state") not in ("running", "interrupted")
            closed = run.info.status != "RUNNING" and ended
            self._runs[run.data.tags["ltat.key"]] = _Run(run.info.run_id, _steps(run), closed)
        if _PARENT not in self._runs:
            tags = {"ltat.key": _PARENT, "ltat.study": self._uid, "kind": "study"}
            run = self._client.create_run(self._experiment, tags=tags, run_name=self._name)
            self._runs[_PARENT] = _Run(run.info.run_id)
        self._client.update_run(self._runs[_PARENT].id, status="RUNNING")

    def _describe(self, tags: dict[str, str], files: tuple[Path, ...]) -> None:
        from mlflow.entities import RunTag

        run = self._runs[_PARENT]
        self._client.log_batch(run.id, tags=[RunTag(k, v) for k, v in tags.items()])
        for path in files:
            self._client.log_artifact(run.id, str(path))

    def _search(self, text: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], text, max_results=1000, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _begin(self, key: str, name: str, params: dict[str, Any], tags: dict[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        run = self._runs.get(key)
        if run is None:
            own = {"ltat.key": key, "ltat.study": self._uid}
            parent = {"mlflow.parentRunId": self._runs[_PARENT].id}
            created = self._client.create_run(
                self._experiment, tags={**tags, **own, **parent}, run_name=name
            )
            run = self._runs[key] = _Run(created.info.run_id)
        else:
            self._client.log_batch(run.id, tags=[RunTag(k, v) for k, v in tags.items()])
            self._client.update_run(run.id, status="RUNNING")
        shown = [Param(path, _param(value)) for path, value in params.items()]
        for first in range(0, len(shown), 100):
            self._client.log_batch(run.id, params=shown[first : first + 100])

    def _log(self, key: str, step: int, metrics: dict[str, float], timestamp: int) -> None:
        run = self._runs[key]
        if step > run.last_step:
            every = {**metrics, "epoch": float(step)}
            run.metrics += [(name, value, timestamp, step) for name, value in every.items()]
            run.last_step = step

    def _flush(self) -> None:
        for key in self._runs:
            self._write(key)

    def _write(self, key: str) -> None:
        from mlflow.entities import Metric

        run = self._runs[key]
        if not run.metrics:
            return
        rows = [Metric(name, value, at, step) for name, value, at, step in run.metrics]
        for first in range(0, len(rows), 1000):
            self._client.log_batch(run.id, metrics=rows[first : first + 1000])
        run.metrics.clear()

    def _end(
        self,
        key: str,
        state: str,
        last: tuple[dict[str, float], int],
        tags: dict[str, str],
        files: dict[str, str],
        artifacts: tuple[Path, ...],
    ) -> None:
        from mlflow.entities import RunTag

        run = self._runs[key]
        if last[0]:  # an earlier process may have written them and died before the run was closed
            known = self._client.get_run(run.id).data.metrics
            step = max(run.last_step, 0)
            new = {name: value for name, value in last[0].items() if name not in known}
            run.metrics += [(name, value, last[1], step) for name, value in new.items()]
        self._write(key)
        for name, text in files.items():
            self._client.log_text(run.id, text, name)
        for path in artifacts:
            if path.exists():
                self._client.log_artifact(run.id, str(path))
        every = {**tags, "state": state}
        self._client.log_batch(run.id, tags=[RunTag(k, v) for k, v in every.items()])
        self._client.set_terminated(run.id, status=_STATUS.get(state, "KILLED"))

    def _finish(self, state: str, note: str, files: dict[str, str]) -> None:
        self._flush()
        running = f"tags.`ltat.study` = '{self._uid}' and attributes.status = 'RUNNING'"
        for run in self._search(running):
            if run.data.tags["ltat.key"] != _PARENT:
                self._end(run.data.tags["ltat.key"], "interrupted", ({}, 0), {}, {}, ())
        self._end(
            _PARENT, state, ({}, 0), {"mlflow.note.content": note} if note else {}, files, ()
        )


def _steps(run: Any) -> int:
    """The last step of a run, -1 without one; kept as a metric's own latest point."""
    return int(run.data.metrics.get("epoch", -1))


def _param(value: Any) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(list(value))
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
