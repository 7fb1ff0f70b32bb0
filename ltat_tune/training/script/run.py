"""Trains by the user's script: runs it, reads its epochs, and measures the weights it saves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ltat_tune.errors import CheckpointError, LtatError, TrainingDiverged
from ltat_tune.presentation.names import AS_SAID
from ltat_tune.training.fit_result import EpochMetrics, Kept
from ltat_tune.training.saving import Saver
from ltat_tune.training.script.process import (
    RunningScript,
    filled,
    filled_command,
    hash_of,
    make_folder,
    values_of,
)
from ltat_tune.training.script.reading import LineReader, is_finite
from ltat_tune.training.script.weights import load_into, read_state_dict

if TYPE_CHECKING:
    from ltat_tune.training.trainer import Trainer

_EPOCHS = "epochs.jsonl"
_WAIT_S = 30.0  # for weights that a script saves after the line about its last epoch


class ScriptFailed(LtatError):
    """The script ended before its last epoch."""


@dataclass
class _Told:
    """An epoch that the script told of."""

    epoch: int
    numbers: dict[str, float]
    seconds: float
    own: int | None = None  # the script's number of it


@dataclass
class ScriptRun:
    """One training by the script, in a folder of its own beside the checkpoint.

    Args:
        trainer: a trainer that has been started: it holds the network and measures it.
        folder: the folder of the training.
    """

    trainer: Trainer
    folder: Path
    _saves_first: bool | None = field(default=None, init=False)
    _since_ns: int = field(default=0, init=False)  # when the line of the epoch before was written

    def __post_init__(self) -> None:
        script = self.trainer.config.script.definition
        assert script is not None
        self.script = script
        self.work = self.folder.absolute() / "script"
        values = values_of(self.trainer.config, self.work)
        self.weights = self.work / filled(script.checkpoint, values)
        self.kept = self.folder / "script-kept"
        self.values = {**values, "checkpoint": str(self.weights)}

    def epochs(self) -> Iterator[tuple[_Told, bool]]:
        """Run the script and yield each epoch, with whether its weights can be read now.

        Raises:
            ScriptFailed: it ends with an error or too early.
            TrainingDiverged: one of its numbers is not finite.
            CheckpointError: the script's files have changed since the study began.
        """
        if self.script.sha256 and hash_of(self.script) != self.script.sha256:
            raise CheckpointError(
                f"the script in {self.script.folder} must be the one that the study began with "
                f"(sha256 {self.script.sha256}), got {hash_of(self.script)}; restore it"
            )
        reader, extra = self._begin()
        if reader.done >= self.last:
            return
        make_folder(self.script, self.work, self.values)
        commands = [[*filled_command(text, self.values), *extra] for text in self.script.commands]
        output = self.folder / "script.log"
        log = self.work / filled(self.script.log, self.values) if self.script.log else None
        with RunningScript(commands, self.work, output) as running:
            began, self._since_ns = time.perf_counter(), running.began_ns
            for line in running.lines(log):
                if (read := reader.read(line)) is None:
                    continue
                epoch, numbers = read
                if epoch > self.last:
                    break
                if not is_finite(numbers):
                    raise TrainingDiverged(
                        f"the script's numbers became non-finite in epoch {epoch} of {self.last}"
                    )
                now = time.perf_counter()
                told = _Told(epoch, numbers, now - began, reader.written)
                began = now
                self._note(told)
                crowded = any(reader.tells(later) for later in running.pending)
                ready = self._kept(epoch, running, crowded=crowded)
                yield told, ready
                if epoch == self.last:
                    return
            status = running.status
            if reader.done >= self.last:
                return
            ended = "ended" if status == 0 else f"failed (exit status {status})"
            raise ScriptFailed(
                f"the script {ended} after {reader.done} of {self.last} epochs that "
                f"script.metrics finds in its lines; the end of its output:\n"
                f"{running.last_lines()}"
            )

    def metrics(self, told: _Told) -> EpochMetrics:
        """Return an epoch as the script tells it: its accuracy as the score, the rest by name."""
        share = told.numbers[self.script.score_group] / (100 if self.script.percent else 1)
        others = {f"script/{name}": value for name, value in told.numbers.items()}
        said = {**others, self.trainer.score_name: share, AS_SAID: 1.0}
        return EpochMetrics(told.epoch, said, told.seconds)

    @property
    def last(self) -> int:
        """The last epoch."""
        return self.trainer.config.optim.epochs

    def _begin(self) -> tuple[LineReader, list[str]]:
        """Return the reader of lines, and the arguments that resume the script, if it can."""
        past = self.past()
        good = self.kept / self.weights.name
        if past and self.script.resume is not None and good.exists():
            told = past[-1]
            self.weights.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(good, self.weights)  # what the script saved last may be torn
            reader = LineReader(self.script, done=told.epoch)
            if told.own is not None:
                reader.resumes_at(told.own, told.epoch)
            return reader, filled_command(self.script.resume, self.values)
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.kept, ignore_errors=True)
        (self.folder / _EPOCHS).unlink(missing_ok=True)
        return LineReader(self.script), []

    def past(self) -> list[_Told]:
        """Return the epochs whose weights were kept by earlier starts."""
        try:
            lines = (self.folder / _EPOCHS).read_text(encoding="utf-8").splitlines()
            kept = int((self.kept / "epoch").read_text())
        except (OSError, ValueError):
            return []
        told = []
        for line in lines:
            try:
                told.append(_Told(**json.loads(line)))
            except (ValueError, TypeError):  # half a line of a killed worker
                break
        return [each for each in told if each.epoch <= kept]

    def _note(self, told: _Told) -> None:
        with (self.folder / _EPOCHS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(vars(told)) + "\n")

    def _kept(self, epoch: int, running: RunningScript, *, crowded: bool) -> bool:
        """Keep the weights of the epoch whose line came last. Return False if that cannot be done.

        The first epoch shows whether the script saves before its line or after it. The order of
        the two is read off the times at which the files were written. The weights of the last
        epoch are waited for.

        Args:
            epoch: the epoch, from 1.
            running: the script.
            crowded: whether it has told of a later epoch by now.
        """
        last, line = epoch == self.last, running.written_ns
        if self._saves_first is None:
            self._saves_first = running.began_ns <= self._saved_ns() <= line
        saves_first, since, self._since_ns = self._saves_first, self._since_ns, line
        if crowded and not last:
            return False
        end = time.monotonic() + (_WAIT_S if last else 0.0 if saves_first else _WAIT_S / 10)
        while True:
            ended, saved = running.status is not None, self._saved_ns()
            fits = since <= saved <= line if saves_first else saved >= line
            at_end = last and (ended or saves_first) and saved >= running.began_ns
            if (fits or at_end) and self._copy(epoch):
                return True
            if ended or time.monotonic() >= end:
                return False
            time.sleep(0.02)

    def _saved_ns(self) -> int:
        """Return when the weights were last written; 0 if they are not there."""
        try:
            return self.weights.stat().st_mtime_ns
        except OSError:
            return 0

    def _copy(self, epoch: int) -> bool:
        """Copy the weights as those of an epoch. Return False if they cannot be read now."""
        self.kept.mkdir(exist_ok=True)
        copy = self.kept / f"new-{self.weights.name}"
        before = self._saved_ns()
        try:
            shutil.copyfile(self.weights, copy)
            read_state_dict(copy)
        except (CheckpointError, OSError):
            return False
        if self._saved_ns() != before:
            return False
        (self.kept / "epoch").unlink(missing_ok=True)
        os.replace(copy, self.kept / self.weights.name)
        (self.kept / "epoch").write_text(str(epoch))
        return True


def fit_script(
    trainer: Trainer,
    saver: Saver,
    on_epoch: Callable[[EpochMetrics], None] | None,
    validate_at: Collection[int],
) -> None:
    """Train by the script to the last epoch, and measure the weights that it saves.

    Args:
        trainer: see `ScriptRun`.
        saver: writes the checkpoint after each epoch; the script runs beside it.
        on_epoch: called with each epoch, those of earlier starts first.
        validate_at: epochs, from 1, after which to validate besides those of the configuration.

    Raises:
        CheckpointError: the weights of the last epoch cannot be read, or are of another network.
    """
    with contextlib.ExitStack() as stack:
        folder = saver.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _fit(ScriptRun(trainer, folder), saver, on_epoch or (lambda done: None), validate_at)


def _fit(
    run: ScriptRun,
    saver: Saver,
    report: Callable[[EpochMetrics], None],
    validate_at: Collection[int],
) -> None:
    trainer, history = run.trainer, run.trainer.history
    if len(history) < run.last:
        past = run.past() if run.script.resume is not None else []
        known = {each.epoch: each for each in history}
        history[:] = [known.get(told.epoch) or run.metrics(told) for told in past]
        if not past:
            trainer.kept = Kept()
    for each in history:
        report(replace(each, replayed=True))
    if len(history) >= run.last:
        return
    for told, ready in run.epochs():
        if told.epoch <= len(history):  # a script that resumed further back than it was kept
            continue
        history += [EpochMetrics(n, {}, 0.0) for n in range(len(history) + 1, told.epoch)]
        began, final, metrics = time.perf_counter(), told.epoch == run.last, run.metrics(told)
        if final and not ready:
            raise CheckpointError(
                f"the script must save its weights to script.checkpoint, {run.weights}, and has "
                "not after its last epoch"
            )
        due = trainer.is_due(told.epoch, validate_at) and (final or run.script.judge == "ours")
        if due and ready:
            load_into(trainer.model, run.kept / run.weights.name)
            measured = trainer.validate_epoch(told.epoch)
            said = {n: v for n, v in metrics.metrics.items() if n.startswith("script/")}
            metrics = replace(metrics, metrics={**said, **measured, AS_SAID: 0.0})
        seconds = told.seconds + time.perf_counter() - began
        history.append(replace(metrics, seconds=seconds))
        saver.after_epoch(told.epoch, must=final or told.epoch in validate_at)
        with saver.saved_if_stopped():
            report(history[-1])
    shutil.rmtree(run.work, ignore_errors=True)
    shutil.rmtree(run.kept, ignore_errors=True)
