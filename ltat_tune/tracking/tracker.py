"""The study in MLflow: one parent run, one child run per trial and per confirmation.

The driver alone talks to MLflow. What it says is put into a queue; one thread writes it in
batches. Everything can be said twice: runs are found again by tag, metric points by step, so a
study that died is brought up to date on resume, and nothing stays RUNNING. While the store does
not answer the study goes on: what is to be written waits in a file of the study's folder.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ltat_tune.errors import StudyError
from ltat_tune.tracking.client import Runs, fate
from ltat_tune.tracking.experiment_view import View
from ltat_tune.tracking.model_registry import ModelFiles
from ltat_tune.tracking.outbox import Spool, Write
from ltat_tune.tracking.recorder import RunImages, Writes
from ltat_tune.tracking.store import public_uri, reason, tracking_uri

_FLUSH_S = 2.0  # at most so long an epoch waits to be written
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _PAUSE_AT_THE_END_S = 1.0, 30.0, 2.0
_SERVER_WAIT_S, _FILE_WAIT_S = 60.0, 5.0
_STUCK_S = 600.0  # for one write to a store that answers; a large file takes its time


class Tracker:
    """Writes one study into MLflow.

    Args:
        uri: tracking URI; None is a SQLite file beside the study.
        name: experiment name, the study's.
        folder: the study's folder.
        uid: the study's own id: runs of another study of this name are not touched.
        start_wait_s: how long a store that does not answer is waited for at the start. There is
            no start without it, of a resume neither: who does not know what the store has may
            write a point twice. But a resume may have nobody to try it again, so it waits.
        end_wait_s: how long it is waited for at the end, after its last answer; None is 60, and
            5 for a SQLite file.
        flush_s: how long an epoch waits at most, so that several are written at once.
        longest_pause_s: between two tries of a store that does not answer.
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
        self._said: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._wake = threading.Event()
        # The lock is for these four, and never held while the store is asked.
        self._lock = threading.Lock()
        self._writes = Writes(folder)
        self._waiting: list[Write] = []  # oldest first; the first may be on its way
        self._spool = Spool(folder)
        self._out = False  # the store failed: what waits is in the spool too
        self._ended = False  # nothing more will be said
        self._flush_at = self._retry_at = self._progress = 0.0  # time.monotonic()
        self._pause_s = _FIRST_PAUSE_S
        self._refused: set[str] = set()  # runs of which a refusal was said
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._ready, self._done = threading.Event(), threading.Event()
        self._failure: str | None = None
        self._opened = False
        self._runs: Runs
        self._thread = threading.Thread(target=self._serve, name="mlflow", daemon=True)

    # -- called by the driver -------------------------------------------------------------------

    def start(self) -> None:
        """Begins to make the store, in the background."""
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Waits for the store. Raises: StudyError if it cannot be made or reached."""
        self._ready.wait()
        if self._failure is not None:
            count = len(self._spool.read())
            kept = f"; {_counted(count)} stay in {self._spool.path}" if count else ""
            raise StudyError(
                f"cannot use the MLflow store {public_uri(self.uri)}: {self._failure}{kept}"
            )

    def closed(self, key: str) -> bool:
        """Whether an earlier process wrote this run to its end, or left its end in the spool."""
        return self._writes.closed(key)

    def describe(self, tags: Mapping[str, str], files: tuple[Path, ...]) -> None:
        """Tags and files of the study itself."""
        self._say("describe", dict(tags), files)

    def show(self, view: View) -> None:
        """How MLflow's pages open on the study."""
        self._say("show", view)

    def model(self, key: str, name: str, files: ModelFiles) -> None:
        """Logs a trained model on its run; a run that has it is left alone."""
        self._say("model", key, name, files)

    def begin(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Makes or re-opens the run of `key`, a child of the study's run."""
        self._say("begin", key, name, dict(params), dict(tags), self._now())

    def log(self, key: str, step: int, metrics: Mapping[str, float]) -> None:
        """One epoch's metrics; a step that the run has already is left alone."""
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
        """Closes a run as complete, pruned, failed or diverged.

        `metrics` are of the whole run, logged once at its last step; `files` are name -> text;
        `images` are what it was trained on.
        """
        last = dict(metrics or {}), dict(tags or {}), dict(files or {}), artifacts
        self._say("end", key, state, *last, self._now(), images)

    def finish(
        self, state: str, *, note: str = "", files: Mapping[str, str] | None = None
    ) -> None:
        """Closes the parent, and as interrupted every child that is still open; then waits."""
        self._say("finish", state, note, dict(files or {}), self._now())
        self.close()

    def close(self) -> None:
        """Waits until all is written; for a store that does not answer only a while.

        Ctrl-C ends the waiting. What is not written by then is kept for the next resume.
        """
        self._said.put(None)
        self._ending.set()
        self._wake.set()
        if self._thread.ident is None:
            return
        try:
            self._wait()
        except KeyboardInterrupt:
            warn("no longer waiting for MLflow")
        self._given_up.set()
        if not self._opened:
            return
        with self._lock:
            self._turn()
            if self._waiting and self._keep(self._waiting):
                warn(
                    f"{_counted(len(self._waiting))} to MLflow are kept in {self._spool.path}; "
                    f"`ltat-tune resume {self._folder.name}` delivers them"
                )

    def _wait(self) -> None:
        began, announced = time.monotonic(), False
        while not self._done.wait(0.2):  # an interrupted `join` takes a thread for ended
            if not self._ready.is_set():
                continue  # a store that is being made is not left half made
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
        self._said.put((name, arguments))
        self._wake.set()

    # -- in the writing thread ------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._runs = self._open()
            self._waiting = self._writes.adopt(self._runs.found, self._spool.read())
            self._out, self._opened = bool(self._waiting), True
            self._ready.set()
            self._write()
        except Exception as error:  # any store, any driver: said once, where the study starts
            self._failure = reason(error, self.uri)
            if self._ready.is_set():
                warn(
                    f"nothing more is written to MLflow ({type(error).__name__}: {self._failure})"
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

    def _open(self) -> Runs:
        until, told = time.monotonic() + self._start_wait_s, False
        while True:
            try:
                return Runs(self.uri, self._name, self._folder, self._uid)
            except Exception as error:
                late = time.monotonic() >= until or self._ending.is_set()
                if late or fate(error, 1) != "gone":
                    raise
                if not told:
                    warn(
                        f"the MLflow store {public_uri(self.uri)} does not answer "
                        f"({reason(error, self.uri)}); waiting up to {self._start_wait_s:.0f} s"
                    )
                told = True
                self._ending.wait(1.0)

    def _now(self) -> int:
        """Return the time of day in milliseconds, as MLflow keeps it."""
        return int(self._clock() * 1000)

    def _take(self) -> None:
        """Turns into writes what was said since."""
        with self._lock:
            before = len(self._waiting)
            self._turn()
            if self._out:
                self._keep(self._waiting[before:], add=True)

    def _turn(self) -> None:
        self._wake.clear()
        while not self._said.empty():
            item = self._said.get()
            if item is None:
                self._ended = True
            else:
                self._waiting += getattr(self._writes, item[0])(*item[1])
        if self._ended or self._given_up.is_set() or time.monotonic() >= self._flush_at:
            self._waiting += self._writes.flush()
            self._flush_at = time.monotonic() + self._flush_s

    def _deliver(self) -> None:
        """Says what waits, oldest first; what failed holds up the writes of its own run."""
        held: set[str] = set()
        place = 0
        while place < len(self._waiting) and not self._given_up.is_set():
            write = self._waiting[place]
            if write.key in held:
                place += 1
                continue
            try:
                self._runs.deliver(write)
            except Exception as error:  # tracking never ends a study
                write.tries += 1
                means = fate(error, write.tries)
                if means == "refused":
                    self._refuse(write, error)
                else:
                    held.add(write.key)
                    self._fail(error)
                if means == "gone":
                    break
                if means == "later":
                    continue
            with self._lock:
                del self._waiting[place]
            self._progress = time.monotonic()
            self._take()
        if held:
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
            kept = self._keep(self._waiting)
        where = f"kept in {self._spool.path} and " if kept else ""
        warn(
            f"MLflow does not take what is written ({reason(error, self.uri)}); the study goes "
            f"on, and the writes are {where}tried again"
        )

    def _recover(self) -> None:
        self._out, self._pause_s = False, _FIRST_PAUSE_S
        with self._lock:
            self._keep([])
        warn("MLflow has all that waited")

    def _refuse(self, write: Write, error: Exception) -> None:
        if write.key not in self._refused:
            self._refused.add(write.key)
            warn(f"MLflow refused {write.what} of {write.key} ({reason(error, self.uri)})")

    def _keep(self, writes: list[Write], *, add: bool = False) -> bool:
        """Writes the spool; False where the disk does not take it, and a resume must mend it."""
        try:
            if add:
                self._spool.add(writes)
            else:
                self._spool.replace(writes)
        except OSError as error:
            warn(f"cannot keep what MLflow does not take in {self._spool.path}: {error.strerror}")
            return False
        return True


def warn(text: str) -> None:
    """One line on stderr, also where nobody set up logging."""
    logging.getLogger("ltat_tune").warning(text)


def _counted(count: int) -> str:
    return f"{count} write{'' if count == 1 else 's'}"
