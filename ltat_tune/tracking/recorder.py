"""What happens in a study, as writes to MLflow that may be said twice."""

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

_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "diverged": "FAILED"}
_OPEN_STATES = ("running", "interrupted")
_PARAMS, _METRICS = 100, 1000  # as many as MLflow takes at once


@dataclass(frozen=True)
class RunImages:
    """What a run was trained on, as MLflow's pages show a dataset.

    Attributes:
        name: of the data set and its cut.
        digest: hash of all training and validation images and labels.
        source: where the images come from.
        profile: counts by class and how they came about; plain values.
    """

    name: str
    digest: str
    source: dict[str, Any]
    profile: dict[str, Any]


@dataclass
class _Run:
    """What a run has, or will have once all that waits is written."""

    last_step: int = -1
    names: set[str] = field(default_factory=set)  # of its metrics
    closed: bool = False  # by an earlier process
    open: bool = False
    rows: list[tuple[str, float, int, int]] = field(default_factory=list)  # not yet a write


class Writes:
    """Knows what every run has, so that nothing is written twice; asks the store nothing.

    Times are milliseconds since 1970, those of the event: a late delivery changes no point.

    Args:
        folder: the study's folder; files inside are named by their place in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._runs: dict[str, _Run] = {}
        self._unwritten: dict[str, None] = {}  # keys with rows, in their order

    def adopt(self, found: Mapping[str, KnownRun], waiting: list[Write]) -> list[Write]:
        """Takes over what the store has, and what an earlier process could not deliver to it.

        Returns:
            What is still to be delivered of the latter.
        """
        for key, run in found.items():
            is_open = run.running and key != PARENT
            self._runs[key] = _Run(run.last_step, run.metrics, run.closed, is_open)
        for write in waiting:
            self._foresee(write)
        # the study goes on, so its own run has not ended
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
        """Whether an earlier process wrote this run to its end, or left its end waiting."""
        return key in self._runs and self._runs[key].closed

    def describe(self, tags: Mapping[str, str], files: tuple[Path, ...]) -> list[Write]:
        """Tags and files of the study itself."""
        return [Write("tags", PARENT, {"tags": _texts(tags)}), *self._files(PARENT, files)]

    def show(self, view: View) -> list[Write]:
        """Tags of the experiment, which say how its pages open."""
        return [Write("experiment", PARENT, {"tags": view.tags()})]

    def model(self, key: str, name: str, files: ModelFiles) -> list[Write]:
        """A model's files, by their places."""
        places = {"weights": str(files.weights.resolve()), "config": str(files.config.resolve())}
        about = {"hash": files.hash, "about": dict(files.about), "card": files.card}
        plugins = {module: str(file.resolve()) for module, file in files.plugins.items()}
        return [Write("model", key, {"name": name, **places, **about, "plugins": plugins})]

    def begin(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str], at: int
    ) -> list[Write]:
        """A run that begins or goes on."""
        self._runs.setdefault(key, _Run()).open = True
        writes = [Write("begin", key, {"name": name, "tags": _texts(tags), "at": at})]
        shown = [(path, _param(value)) for path, value in params.items()]
        for first in range(0, len(shown), _PARAMS):
            some = dict(shown[first : first + _PARAMS])
            writes.append(Write("params", key, {"params": some}))
        return writes

    def log(self, key: str, step: int, metrics: Mapping[str, float], at: int) -> list[Write]:
        """One epoch, which is written by the next `flush`, or at the run's end."""
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
        """The epochs of all runs that had one since."""
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
        """A run that ends, for now or for good; its metrics are written unless it has them."""
        run = self._runs.setdefault(key, _Run())
        run.open = False
        # an earlier process may have written them and died before the run was closed
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

    def finish(self, state: str, note: str, texts: Mapping[str, str], at: int) -> list[Write]:
        """The study's end; what is open then was interrupted."""
        writes = self.flush()
        for key in [key for key, run in self._runs.items() if run.open]:
            writes += self.end(key, "interrupted", {}, {}, {}, (), at)
        tags = {"mlflow.note.content": note} if note else {}
        return writes + self.end(PARENT, state, {}, tags, texts, (), at)

    def _files(self, key: str, files: tuple[Path, ...]) -> list[Write]:
        places = [path.resolve() for path in files if path.exists()]
        return [
            Write("file", key, {
                "path": str(p.relative_to(self._folder) if p.is_relative_to(self._folder) else p)
            })
            for p in places
        ]  # fmt: skip


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _param(value: Any) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(list(value))
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
