"""Turns the events of a study into writes to MLflow, which may be delivered twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ltat_tune.tracking.client import PARENT, KnownRun
from ltat_tune.tracking.experiment_view import View
from ltat_tune.tracking.model_registry import ModelFiles
from ltat_tune.tracking.outbox import Write

# Stopping a weak trial early is a result, so MLflow shows no red cross; the tag `state` tells it.
_STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "diverged": "FAILED"}
_OPEN_STATES = ("running", "interrupted")
_PARAMS, _METRICS = 100, 1000  # the most that MLflow takes at once


@dataclass(frozen=True)
class RunImages:
    """The images that a run was trained on, as a dataset for MLflow's pages.

    Attributes:
        name: name of the data set and its subset.
        digest: hash of all training and validation images and labels.
        source: origin of the images.
        profile: counts by class and the settings that led to them, as plain values.
    """

    name: str
    digest: str
    source: dict[str, Any]
    profile: dict[str, Any]


@dataclass
class _Run:
    """The content of a run once all waiting writes are delivered."""

    last_step: int = -1
    names: set[str] = field(default_factory=set)  # of its metrics
    closed: bool = False  # by an earlier process
    open: bool = False
    rows: list[tuple[str, float, int, int]] = field(default_factory=list)  # not in a write yet


class Writes:
    """Makes the writes of a study. Tracks the content of every run, so that nothing repeats.

    It does not ask the store. Times are those of the event, in milliseconds since 1970, so that a
    late delivery changes no point.

    Args:
        folder: folder of the study. Files inside it are named by their relative path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._runs: dict[str, _Run] = {}
        self._unwritten: dict[str, None] = {}  # keys of runs with rows, in order

    def adopt(self, found: Mapping[str, KnownRun], waiting: list[Write]) -> list[Write]:
        """Take over the runs of the store and the writes that an earlier process left waiting.

        Returns:
            The waiting writes that must still be delivered.
        """
        for key, run in found.items():
            is_open = run.running and key != PARENT
            self._runs[key] = _Run(run.last_step, run.metrics, run.closed, is_open)
        for write in waiting:
            self._foresee(write)
        # The study continues, so its own run has not ended.
        return [w for w in waiting if (w.what, w.key) != ("end", PARENT)]

    def _foresee(self, write: Write) -> None:
        run = self._runs.setdefault(write.key, _Run())
        if write.what == "begin":
            run.closed, run.open = False, True
        elif write.what == "metrics":
            rows = write.data["rows"]
            run.names |= {name for name, _, _, _ in rows}
            epochs = [step for name, _, _, step in rows if name == "epoch"]
            run.last_step = max([run.last_step, *epochs])
        elif write.what == "end":
            run.closed, run.open = write.data["tags"].get("state") not in _OPEN_STATES, False

    def closed(self, key: str) -> bool:
        """Return whether an earlier process wrote this run completely, or left its end waiting."""
        return key in self._runs and self._runs[key].closed

    def describe(self, tags: Mapping[str, str], files: tuple[Path, ...]) -> list[Write]:
        """Make the writes of the study's own tags and files."""
        return [Write("tags", PARENT, {"tags": _texts(tags)}), *self._files(PARENT, files)]

    def show(self, view: View) -> list[Write]:
        """Make the write of the experiment's tags, which define how its pages open."""
        return [Write("experiment", PARENT, {"tags": view.tags()})]

    def model(self, key: str, name: str, files: ModelFiles) -> list[Write]:
        """Make the write of a model, with the paths of its files."""
        places = {"weights": self._inside(files.weights), "config": self._inside(files.config)}
        about = {"hash": files.hash, "about": dict(files.about), "card": files.card}
        plugins = {module: self._inside(file) for module, file in files.plugins.items()}
        return [Write("model", key, {"name": name, **places, **about, "plugins": plugins})]

    def begin(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str], at: int
    ) -> list[Write]:
        """Make the writes of a run that begins or continues."""
        self._runs.setdefault(key, _Run()).open = True
        writes = [Write("begin", key, {"name": name, "tags": _texts(tags), "at": at})]
        pairs = [(path, _param(value)) for path, value in params.items()]
        for first in range(0, len(pairs), _PARAMS):
            some = dict(pairs[first : first + _PARAMS])
            writes.append(Write("params", key, {"params": some}))
        return writes

    def log(self, key: str, step: int, metrics: Mapping[str, float], at: int) -> list[Write]:
        """Note the metrics of one epoch. The next `flush` or the end of the run writes them."""
        run = self._runs.setdefault(key, _Run())
        if step > run.last_step:
            run.last_step = step
            self._add(key, {**metrics, "epoch": float(step)}, at, step)
        return []

    def _add(self, key: str, metrics: Mapping[str, float], at: int, step: int) -> None:
        run = self._runs[key]
        run.rows += [(name, float(value), at, step) for name, value in metrics.items()]
        run.names |= metrics.keys()
        self._unwritten[key] = None

    @property
    def unwritten(self) -> tuple[str, ...]:
        """Keys of the runs that a flush will go through, oldest first."""
        return tuple(self._unwritten)

    def flush(self) -> list[Write]:
        """Make the writes of all epochs since the last flush."""
        return [write for key in list(self._unwritten) for write in self._flush(key)]

    def _flush(self, key: str) -> list[Write]:
        if key not in self._unwritten:
            return []
        del self._unwritten[key]
        rows, self._runs[key].rows = self._runs[key].rows, []
        return [
            Write("metrics", key, {"rows": rows[first : first + _METRICS]})
            for first in range(0, len(rows), _METRICS)
        ]

    def end(
        self,
        key: str,
        state: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        texts: Mapping[str, str],
        files: tuple[Path, ...],
        at: int,
        images: RunImages | None = None,
    ) -> list[Write]:
        """Make the writes of a run that ends or is interrupted, without metrics that it has."""
        run = self._runs.setdefault(key, _Run())
        run.open = False
        # An earlier process may have written them and died before it closed the run.
        new = {name: value for name, value in metrics.items() if name not in run.names}
        if new:
            self._add(key, new, at, max(run.last_step, 0))
        last = {"tags": {**_texts(tags), "state": state}, "at": at}
        return [
            *self._flush(key),
            *[Write("text", key, {"name": n, "text": text}) for n, text in texts.items()],
            *self._files(key, files),
            *([Write("images", key, asdict(images))] if images else []),
            Write("end", key, {**last, "status": _STATUS.get(state, "KILLED")}),
        ]

    def finish(
        self, state: str, note: str, texts: Mapping[str, str], at: int,
        metrics: Mapping[str, float] | None = None,
    ) -> list[Write]:  # fmt: skip
        """Make the writes of the study's end. Runs that are open then were interrupted.

        `metrics` are those of the winners, which a resume may change: the newest ones count.
        """
        if metrics:
            self._runs.setdefault(PARENT, _Run())
            self._add(PARENT, metrics, at, 0)
        writes = self.flush()
        for key in [key for key, run in self._runs.items() if run.open]:
            writes += self.end(key, "interrupted", {}, {}, {}, (), at)
        tags = {"mlflow.note.content": note} if note else {}
        return writes + self.end(PARENT, state, {}, tags, texts, (), at)

    def _files(self, key: str, files: tuple[Path, ...]) -> list[Write]:
        return [Write("file", key, {"path": self._inside(p)}) for p in files if p.exists()]

    def _inside(self, path: Path) -> str:
        """Return a file's path inside the study's folder, which may move before the write."""
        place = path.resolve()
        inside = place.is_relative_to(self._folder)
        return str(place.relative_to(self._folder) if inside else place)


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _param(value: Any) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(list(value))
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
