"""Records a study in MLflow: one parent run, and one child run per trial and confirmation.

Only the driver talks to MLflow. It puts events into a queue, and one thread writes them in
batches. Every write can be repeated: runs are found again by tag and metric points by step. A
resume therefore completes the record of a study that died, and no run stays RUNNING. While the
store does not answer, the study continues and the writes wait in a file of the study's folder.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ltat_tune.errors import StudyError
from ltat_tune.tracking.client import Runs, fate, opened_runs
from ltat_tune.tracking.experiment_view import View
from ltat_tune.tracking.model_registry import ModelFiles
from ltat_tune.tracking.outbox import Spool, Write, counted, warn
from ltat_tune.tracking.recorder import RunImages, Writes
from ltat_tune.tracking.store import public_uri, reason, store_remedy, tracking_uri

_FLUSH_S = 2.0  # at most so long an epoch waits to be written
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _PAUSE_AT_THE_END_S = 1.0, 30.0, 2.0
_SERVER_WAIT_S, _FILE_WAIT_S = 60.0, 5.0
_HURRY_S, _CLOSE_S = 8.0, 5.0  # after a signal: Slurm and Kubernetes kill after 30 s
_STUCK_S = 600.0  # for one write to a store that answers; a large file takes long


class Tracker:
    """Records one study in MLflow.

    Args:
        uri: tracking URI; None is a SQLite file in the study's folder.
        name: name of the experiment, which is that of the study.
        folder: folder of the study.
        uid: id of the study. Runs of another study of the same name are not touched.
        start_wait_s: how long to wait at the start for a store that does not answer. A study or a
            resume never starts without its store, because it might write points twice. A resume
            waits, because there may be nobody to start it again.
        end_wait_s: how long to wait at the end after the store's last answer; None is 60, and 5
            for a SQLite file.
        flush_s: how long an epoch waits at most, so that several are written at once.
        longest_pause_s: longest time between two attempts to reach a store that does not answer.
        clock: the time of day in seconds, which MLflow shows.
    """

    def __init__(
        self,
        uri: str | None,
        name: str,
        folder: Path,
        uid: str,
        *,
        start_wait_s: float = 0.0,
        end_wait_s: float | None = None,
        flush_s: float = _FLUSH_S,
        longest_pause_s: float = _LONGEST_PAUSE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.uri = tracking_uri(uri, folder)
        self._name, self._folder, self._uid = name, folder, uid
        usual_s = _FILE_WAIT_S if self.uri.startswith("sqlite:") else _SERVER_WAIT_S
        self._start_wait_s = start_wait_s
        self._end_wait_s = usual_s if end_wait_s is None else end_wait_s
        self._flush_s, self._longest_pause_s, self._clock = flush_s, longest_pause_s, clock
        self._events: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        # The lock protects these four. It is never held during a request to the store.
        self._lock = threading.Lock()
        self._writes = Writes(folder)
        self._waiting: list[Write] = []  # the oldest first; it may be under way
        self._spool = Spool(folder)
        self._out = False  # the store failed, so the waiting writes are in the spool too
        self._ended = False  # no more events will come
        self._flush_at = self._retry_at = self._progress = 0.0  # time.monotonic()
        self._pause_s = _FIRST_PAUSE_S
        self._refused: set[str] = set()  # runs whose refusal was reported
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._ready, self._done = threading.Event(), threading.Event()
        self._failure: str | None = None
        self.hurried, self._hurry = False, False  # a signal ended the waiting; or it may soon
        self._opened = False
        self._runs: Runs
        self._thread = threading.Thread(target=self._serve, name="mlflow", daemon=True)

    # -- called by the driver -------------------------------------------------------------------

    def start(self) -> None:
        """Begin to open the store in the background."""
        self._thread.start()

    def wait_until_ready(self, origin: str = "") -> None:
        """Wait for the store. Raise StudyError, with its address's `origin`, if it is no use."""
        self._ready.wait()
        if self._failure is not None:
            count = len(self._spool.read())
            origin = f"; its address came from {origin}" if origin else ""
            waiting = f"; {counted(count)} stay in {self._spool.path}" if count else ""
            raise StudyError(
                f"cannot use the MLflow store {public_uri(self.uri)}: {self._failure}"
                f"{waiting}{origin}; {store_remedy(self.uri, self._folder)}"
            )

    def closed(self, key: str) -> bool:
        """Return whether an earlier process wrote this run completely, or left its end waiting."""
        return self._writes.closed(key)

    def describe(self, tags: Mapping[str, str], files: tuple[Path, ...]) -> None:
        """Record the study's own tags and files."""
        self._say("describe", dict(tags), files)

    def show(self, view: View) -> None:
        """Define how MLflow's pages open on the study."""
        self._say("show", view)

    def model(self, key: str, name: str, files: ModelFiles) -> None:
        """Log a trained model on its run, unless the run has it."""
        self._say("model", key, name, files)

    def begin(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Create or reopen the run of `key`, a child of the study's run."""
        self._say("begin", key, name, dict(params), dict(tags), self._now())

    def log(self, key: str, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one epoch, unless the run has this step."""
        self._say("log", key, step, dict(metrics), self._now())

    def end(
        self,
        key: str,
        state: str,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        artifacts: tuple[Path, ...] = (),
        images: RunImages | None = None,
    ) -> None:
        """Close a run as complete, pruned, failed or diverged.

        `metrics` belong to the whole run and are logged once, at its last step. `files` are texts
        by name. `images` are the images that the run was trained on.
        """
        last = dict(metrics or {}), dict(tags or {}), dict(files or {}), artifacts
        self._say("end", key, state, *last, self._now(), images)

    def finish(
        self, state: str, *, note: str = "", files: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None, hurry: bool = False,
    ) -> None:  # fmt: skip
        """Close the parent and, as interrupted, every child that is still open; then wait.

        In a `hurry`, after a signal, a store that is slow has seconds; then its runs are closed
        as they are, and the remaining writes are kept for the next resume.
        """
        self._hurry = self._hurry or hurry
        self._say("finish", state, note, dict(files or {}), self._now(), dict(metrics or {}))
        self.close()

    def take_back(self) -> None:
        """Delete what `start` made in the store, of a study that did not start; after `finish`."""
        with contextlib.suppress(Exception):  # whatever the store says, nothing was trained
            self._runs.take_back()

    def close(self) -> None:
        """Wait until everything is written; a store that does not answer has limited time.

        Ctrl-C ends the waiting. The remaining writes are kept for the next resume.
        """
        self._events.put(None)
        self._ending.set()
        self._wake.set()
        if self._thread.ident is None:
            return
        try:
            self._wait()
        except KeyboardInterrupt:
            warn("no longer waiting for MLflow")
            self.hurried = True
        self._given_up.set()
        if self._opened and self.hurried and not self._out:
            with contextlib.suppress(KeyboardInterrupt):
                self._runs.abandon(_CLOSE_S)
        with self._lock:
            self._turn()
            if self._opened and self._waiting and self._keep(self._waiting):
                warn(
                    f"{self._spool.path} keeps {counted(len(self._waiting))} to MLflow; "
                    f"`ltat-tune resume {self._folder.name}` delivers them"
                )

    def _wait(self) -> None:
        began, announced = time.monotonic(), False
        while not self._done.wait(0.2):  # an interrupted `join` considers a thread ended
            if self._given_up.is_set():
                return
            self.hurried = self._hurry and time.monotonic() - began > _HURRY_S
            if self.hurried:
                return
            if not self._ready.is_set():
                continue  # a store must not be left half created
            if self._out and not announced:
                announced = True
                warn(
                    f"waiting up to {self._end_wait_s:.0f} s for MLflow to answer; "
                    "Ctrl-C ends the waiting"
                )
            limit_s = self._end_wait_s if self._out else _STUCK_S
            if time.monotonic() - max(began, self._progress) > limit_s:
                return

    def _say(self, name: str, *arguments: Any) -> None:
        self._events.put((name, arguments))
        self._wake.set()

    # -- in the writing thread ------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._runs = opened_runs(
                self.uri, self._name, self._folder, self._uid,
                wait_s=self._start_wait_s, ending=self._ending,
            )  # fmt: skip
            self._waiting = self._writes.adopt(self._runs.found, self._spool.read())
            self._out, self._opened = bool(self._waiting), True
            self._ready.set()
            self._write()
        except Exception as error:  # of any store or driver; reported once, when the study starts
            self._failure = reason(error, self.uri)
            if self._ready.is_set():
                warn(
                    f"the study writes nothing more to MLflow ({type(error).__name__}: "
                    f"{self._failure})"
                )
        finally:
            self._ready.set()
            self._done.set()

    def _write(self) -> None:
        while not self._given_up.is_set():
            due = min(self._flush_at, self._retry_at) if self._waiting else self._flush_at
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._take()
            if self._waiting and time.monotonic() >= self._retry_at:
                self._deliver()
            if self._ended and not self._waiting:
                return

    def _now(self) -> int:
        """Return the time of day in milliseconds, as MLflow keeps it."""
        return int(self._clock() * 1000)

    def _take(self) -> None:
        """Turn the queued events into writes."""
        with self._lock:
            count = len(self._waiting)
            self._turn()
            if self._out:
                self._keep(self._waiting[count:], add=True)

    def _turn(self) -> None:
        self._wake.clear()
        while not self._events.empty():
            item = self._events.get()
            if item is None:
                self._ended = True
            else:
                self._waiting += getattr(self._writes, item[0])(*item[1])
        if self._ended or self._given_up.is_set() or time.monotonic() >= self._flush_at:
            self._waiting += self._writes.flush()
            self._flush_at = time.monotonic() + self._flush_s

    def _deliver(self) -> None:
        """Deliver the waiting writes, oldest first. A failure delays the writes of its run."""
        delayed: set[str] = set()
        place = 0
        while place < len(self._waiting) and not self._given_up.is_set():
            write = self._waiting[place]
            if write.key in delayed:
                place += 1
                continue
            try:
                self._runs.deliver(write)
            except Exception as error:  # tracking never ends a study
                write.tries += 1
                verdict = fate(error, write.tries)
                if verdict == "refused":
                    self._refuse(write, error)
                else:
                    delayed.add(write.key)
                    self._fail(error)
                if verdict == "gone":
                    break
                if verdict == "later":
                    continue
            with self._lock:
                del self._waiting[place]
            self._progress = time.monotonic()
            self._take()
        if delayed:
            longest_s = _PAUSE_AT_THE_END_S if self._ending.is_set() else self._longest_pause_s
            self._retry_at = time.monotonic() + min(self._pause_s, longest_s)
            self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
        elif self._out and not self._waiting:
            self._recover()

    def _fail(self, error: Exception) -> None:
        if self._out:
            return
        self._out = True
        with self._lock:
            is_kept = self._keep(self._waiting)
        where = f"kept in {self._spool.path} and " if is_kept else ""
        warn(
            f"MLflow does not accept writes ({reason(error, self.uri)}); the study continues, and "
            f"the writes are {where}tried again"
        )

    def _recover(self) -> None:
        self._out, self._pause_s = False, _FIRST_PAUSE_S
        with self._lock:
            self._keep([])
        warn("MLflow has received all waiting writes")

    def _refuse(self, write: Write, error: Exception) -> None:
        if write.key not in self._refused:
            self._refused.add(write.key)
            warn(
                f"MLflow refused to write {write.what} of {write.key} ({reason(error, self.uri)})"
            )

    def _keep(self, writes: list[Write], *, add: bool = False) -> bool:
        """Write the spool. Return whether the disk took it; if not, a resume must repair it."""
        try:
            if add:
                self._spool.add(writes)
            else:
                self._spool.replace(writes)
        except OSError as error:
            warn(f"cannot keep waiting writes in {self._spool.path}: {error.strerror}")
            return False
        return True
