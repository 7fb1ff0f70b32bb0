"""When a training saves its state, and that it does not wait for a slow disk."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from ltat_tune.training.checkpoint import earlier, save_checkpoint

QUICK_S = 0.1  # a state that is written in less is written after each epoch
LONGEST_S = 60.0  # between two states, if an epoch is not longer
_SHARE = 20  # states are at least this many times their own writing apart


class Saver:
    """Writes a training's checkpoint.

    A state that is written quickly is written after each epoch, before the epoch is reported. A
    slower one is written by a thread, at most one minute after the one before, and at most one
    twentieth of the time goes into it. Some states are always written, and waited for: those of
    rungs, of the end of a stem and of the training, and of an epoch whose report stops the
    training. So `kill -9` costs an epoch, or the minute since the last state, and no score of a
    rung is known without its state.

    Args:
        path: the checkpoint; None saves nothing.
        state: returns the present state.
        epochs: that the checkpoint holds already.
        write: writes a state to a path.
        clock: seconds.
    """

    def __init__(
        self,
        path: Path | None,
        state: Callable[[], dict[str, Any]],
        *,
        epochs: int = 0,
        write: Callable[[Path, dict[str, Any]], None] = save_checkpoint,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._state, self._write, self._clock = path, state, write, clock
        self.folder = None if path is None else path.parent
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._seconds = 0.0  # that the last writing took
        self._began = clock()  # with the last state
        self._saved = self._done = epochs

    @property
    def writing(self) -> bool:
        """Whether the thread writes a state now."""
        return self._pending is not None and not self._pending.done()

    def after_epoch(self, epoch: int, *, must: bool) -> None:
        """Save the state after an epoch, if it is time; with `must`, wait until it is written.

        Raises:
            OSError: this state, or one before it, cannot be written.
        """
        self._done = epoch
        if must or self._seconds < QUICK_S:
            self.finish()
        elif self._path is not None and not self.writing:
            self._wait()
            if self._clock() - self._began >= min(LONGEST_S, _SHARE * self._seconds):
                self._began, self._saved = self._clock(), epoch
                self._pending = self._pool.submit(self._save, self._path, _copied(self._state()))

    def finish(self) -> None:
        """Save the state of the last epoch, if it is not saved yet, and wait for it.

        Raises:
            OSError: this state, or one before it, cannot be written.
        """
        self._wait()
        if self._path is None or self._saved == self._done:
            return
        self._began, self._saved = self._clock(), self._done
        self._save(self._path, _copied(self._state(), only_from_devices=True))

    @contextmanager
    def saved_if_stopped(self) -> Iterator[None]:
        """Save the last epoch if its report stops the training, as a rung or Ctrl-C does."""
        try:
            yield
        except Exception:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self.finish()
            raise
        except BaseException:
            self.finish()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._pool.shutdown()
        if kind is None and self._path is not None:
            earlier(self._path).unlink(missing_ok=True)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _save(self, path: Path, state: dict[str, Any]) -> None:
        began = self._clock()
        self._write(path, state)
        self._seconds = self._clock() - began


def _copied(value: Any, *, only_from_devices: bool = False) -> Any:
    """Return a copy on the CPU, which the training does not change while it is written."""
    if isinstance(value, Tensor):
        if only_from_devices and value.device.type == "cpu":
            return value
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {k: _copied(v, only_from_devices=only_from_devices) for k, v in value.items()}
    if isinstance(value, list):
        return [_copied(item, only_from_devices=only_from_devices) for item in value]
    return value
