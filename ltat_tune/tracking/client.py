"""The runs of one study in an MLflow store. Repeating a write changes nothing."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ltat_tune.errors import StudyError
from ltat_tune.tracking.model_registry import ModelFiles, log_model
from ltat_tune.tracking.outbox import Write, warn
from ltat_tune.tracking.store import (
    ARTIFACTS,
    SERVERS,
    connect,
    find_experiment,
    public_uri,
    reason,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


PARENT = "study"
OF_TRIAL = "ltat.trial"  # tag with the key of the run that a run belongs under
# With this tag MLflow's pages open with runs and metrics, not with traces of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_REFUSALS = {
    "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS",
    "NOT_FOUND", "ALREADY_EXISTS", "NOT_IMPLEMENTED",
}  # fmt: skip
# These may also come from a proxy, or from a database that drops its connections.
_DOUBTFUL = {"BAD_REQUEST", "ENDPOINT_NOT_FOUND"}
_DOUBTS = 3
_LATER_STATUSES = {401, 403, 408, 425, 429}  # a login or a limit, which may be resolved

Fate = Literal["gone", "later", "refused"]


@dataclass
class KnownRun:
    """The state of a run in the store when a process begins."""

    last_step: int
    metrics: set[str] = field(default_factory=set)
    closed: bool = False  # it was written completely
    running: bool = False  # according to its MLflow status


class Runs:
    """Connects to a store and finds the study's runs by their tags. Creates the study's own run.

    Args:
        uri: tracking URI.
        name: name of the experiment, which is that of the study.
        folder: folder of the study. It holds the files of a store without a server.
        uid: id of the study. Runs of another study of the same name are not touched.
    """

    def __init__(self, uri: str, name: str, folder: Path, uid: str) -> None:
        self._folder, self._uid = folder, uid
        self._client: MlflowClient = connect(uri)
        self._experiment_id = self._find_experiment(name, local=not uri.startswith(SERVERS))
        self.found: dict[str, KnownRun] = {}
        self._ids: dict[str, str] = {}
        self._began: dict[str, int] = {}  # run id -> milliseconds of its start
        self._unsure: set[str] = set()  # created again, because the first answer was lost
        for run in self._search(f"tags.`ltat.study` = '{uid}'"):
            self._know(run)
        if PARENT not in self._ids:
            tags = {"ltat.key": PARENT, "ltat.study": uid, "kind": "study"}
            run = self._client.create_run(self._experiment_id, tags=tags, run_name=name)
            self._ids[PARENT] = run.info.run_id
            self._began[run.info.run_id] = run.info.start_time
        self._open = {self._ids[PARENT]}  # ids of runs that are RUNNING in the store
        self._client.update_run(self._ids[PARENT], status="RUNNING")

    def deliver(self, write: Write) -> None:
        """Deliver one write. Raise what the store's client raises; see `fate`."""
        if write.what == "begin":
            self._begin(write.key, write.tries > 0, **write.data)
        elif write.key in self._ids:  # otherwise its `begin` was refused and reported
            getattr(self, f"_{write.what}")(self._ids[write.key], write.key, **write.data)

    def take_back(self) -> None:
        """Delete the study's own run, of a study that did not start."""
        self._client.delete_run(self._ids[PARENT])

    def abandon(self, seconds: float) -> None:
        """Close what is open in the store, as killed, within so many seconds; best effort.

        A resume opens these runs again: their tags still say that they are not complete.
        """

        def close(run_id: str) -> None:
            with contextlib.suppress(Exception):  # whatever the store says: it is too late
                self._client.set_terminated(run_id, status="KILLED")

        threads = [threading.Thread(target=close, args=(run_id,), daemon=True)
                   for run_id in sorted(self._open)]  # fmt: skip
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _find_experiment(self, name: str, *, local: bool) -> str:
        place = (self._folder / ARTIFACTS).resolve().as_uri() if local else None
        experiment = find_experiment(self._client, name, self._uid)
        if experiment is None:
            experiment = self._made_experiment(name, place)
            there = str(experiment.artifact_location)
            others = place not in (None, there) and _elsewhere(there)
            if others and experiment.lifecycle_stage != "deleted":
                # Another study's, perhaps the original of this copy; or its files go wherever
                # somebody stood who made it. Those of this study go into its folder.
                experiment = self._made_experiment(f"{name}-{self._uid}", place)
        if experiment.lifecycle_stage == "deleted":
            raise StudyError(
                f"the experiment {experiment.name} was deleted in MLflow; restore it: mlflow "
                f"experiments restore --experiment-id {experiment.experiment_id}"
            )
        existing: str = experiment.experiment_id
        return existing

    def _made_experiment(self, name: str, place: str | None) -> Experiment:
        """Return the experiment of this name, which is created if there is none."""
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            with contextlib.suppress(MlflowException):  # another study of this name was faster
                self._client.create_experiment(
                    name, artifact_location=place, tags=_EXPERIMENT_TAGS
                )
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            raise StudyError(f"MLflow does not create the experiment {name}")
        return experiment

    def _search(self, text: str) -> list[Any]:
        runs: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], text, max_results=1000, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _know(self, run: Any) -> None:
        key, tags = run.data.tags["ltat.key"], run.data.tags
        self._began[run.info.run_id] = run.info.start_time
        # The latest point of a metric shows how far the run came.
        new = KnownRun(
            int(run.data.metrics.get("epoch", -1)),
            set(run.data.metrics),
            run.info.status != "RUNNING" and tags.get("state") not in ("running", "interrupted"),
            run.info.status == "RUNNING",
        )
        if key in self._ids:  # a server that froze created both; keep the longer one
            other = self.found[key]
            shorter = run.info.run_id
            if (new.closed, new.last_step) > (other.closed, other.last_step):
                shorter, self._ids[key] = self._ids[key], run.info.run_id
                self.found[key] = new
            self._client.delete_run(shorter)
            return
        self._ids[key], self.found[key] = run.info.run_id, new

    def _begin(self, key: str, again: bool, *, name: str, tags: dict[str, str], at: int) -> None:
        from mlflow.entities import RunTag

        run_id = self._ids.get(key) or (self._created(key) if again else None)
        if run_id is None:
            own = {"ltat.key": key, "ltat.study": self._uid}
            parent_id = self._ids.get(tags.get(OF_TRIAL, ""), self._ids[PARENT])
            parent = {"mlflow.parentRunId": parent_id}
            run = self._client.create_run(
                self._experiment_id, start_time=at, tags={**tags, **own, **parent}, run_name=name
            )
            self._ids[key] = run.info.run_id
            self._began[run.info.run_id] = at
            self._open.add(run.info.run_id)
            if again:
                self._unsure.add(key)
            return
        self._ids[key] = run_id
        self._open.add(run_id)
        self._client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        self._client.update_run(run_id, status="RUNNING")

    def _created(self, key: str) -> str | None:
        """Return the run of a `begin` whose answer was lost, or None if there is none."""
        runs = self._search(f"tags.`ltat.study` = '{self._uid}' and tags.`ltat.key` = '{key}'")
        return str(runs[0].info.run_id) if runs else None

    def _params(self, run_id: str, key: str, *, params: dict[str, str]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run_id, params=[Param(k, v) for k, v in params.items()])

    def _metrics(self, run_id: str, key: str, *, rows: list[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        self._client.log_batch(run_id, metrics=[Metric(*row) for row in rows])

    def _text(self, run_id: str, key: str, *, name: str, text: str) -> None:
        self._client.log_text(run_id, text, name)

    def _file(self, run_id: str, key: str, *, path: str) -> None:
        place = self._folder / path  # an absolute path is unchanged
        if place.exists():
            self._client.log_artifact(run_id, str(place))

    def _experiment(self, run_id: str, key: str, *, tags: dict[str, str]) -> None:
        current = self._client.get_experiment(self._experiment_id).tags
        for name, text in tags.items():
            if current.get(name) != text:
                self._client.set_experiment_tag(self._experiment_id, name, text)

    def _images(
        self, run_id: str, key: str, *,
        name: str, digest: str, source: dict[str, Any], profile: dict[str, Any],
    ) -> None:  # fmt: skip
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest, "ltat-tune", json.dumps(source), None, json.dumps(profile))
        tags = [InputTag("mlflow.data.context", "training and validation")]
        self._client.log_inputs(run_id, [DatasetInput(dataset, tags)])

    def _model(
        self, run_id: str, key: str, *,
        name: str, weights: str, config: str, hash: str, about: dict[str, str], card: str,
        plugins: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        code = {module: self._folder / file for module, file in (plugins or {}).items()}
        places = self._folder / weights, self._folder / config
        files = ModelFiles(*places, hash, about, card, code)
        log_model(self._client, run_id, name, files)

    def _tags(self, run_id: str, key: str, *, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def _end(self, run_id: str, key: str, *, tags: dict[str, str], status: str, at: int) -> None:
        self._tags(run_id, key, tags=tags)
        if key in self._unsure:
            for run in self._search(
                f"tags.`ltat.study` = '{self._uid}' and tags.`ltat.key` = '{key}'"
            ):
                if run.info.run_id != run_id:
                    self._client.delete_run(run.info.run_id)
            self._unsure.discard(key)
        end = max(at, self._began.get(run_id, at))  # the clock may have been set back
        self._client.set_terminated(run_id, status=status, end_time=end)
        self._open.discard(run_id)


def opened_runs(
    uri: str, name: str, folder: Path, uid: str, *, wait_s: float, ending: threading.Event
) -> Runs:
    """Connect to a store as `Runs` does, and wait for one that does not answer.

    Args:
        uri: tracking URI.
        name: name of the experiment.
        folder: folder of the study.
        uid: id of the study.
        wait_s: how long to wait.
        ending: ends the waiting.
    """
    until, warned = time.monotonic() + wait_s, False
    while True:
        try:
            return Runs(uri, name, folder, uid)
        except Exception as error:
            late = time.monotonic() >= until or ending.is_set()
            if late or fate(error, 1) != "gone":
                raise
            if not warned:
                warn(
                    f"the MLflow store {public_uri(uri)} does not answer "
                    f"({reason(error, uri)}); waiting up to {wait_s:.0f} s"
                )
            warned = True
            ending.wait(1.0)


def fate(error: Exception, tries: int) -> Fate:
    """Decide what an error means for a write that has been tried `tries` times.

    Returns:
        "gone" if the store did not answer, "later" if it could not take this write now, and
        "refused" if it never will.
    """
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, MlflowException):
        if error.error_code in _REFUSALS:
            return "refused"
        if error.error_code in _DOUBTFUL:
            return "later" if tries < _DOUBTS else "refused"
        lost = error.error_code == "TEMPORARILY_UNAVAILABLE"  # a missing database
        if isinstance(error, RestException):
            return "gone" if lost else "later"
        if lost or str(error).startswith(
            "API request to"
        ):  # the client's message without an answer
            return "gone"
        return "later" if tries < _DOUBTS else "refused"
    if isinstance(error, requests.RequestException):
        status = 0 if error.response is None else error.response.status_code
        if 400 <= status < 500 and status not in _LATER_STATUSES:
            return "refused"
        return "later" if status else "gone"
    connection = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
    if isinstance(error, (*connection, sqlalchemy.exc.TimeoutError)):
        return "gone"
    if isinstance(error, OSError):  # a file that cannot be read, a full disk
        return "later"
    return "later" if tries < _DOUBTS else "refused"


def _elsewhere(place: str) -> bool:
    """Return whether an experiment's files lie in a study's folder, or where somebody stood.

    MLflow's own choice is `mlruns` in the folder in which the experiment was made.
    """
    local = "://" not in place or place.startswith("file:")
    return local and (place.endswith(f"/{ARTIFACTS}") or Path(place).parent.name == "mlruns")
