"""Who hears of a study's events in the driver."""

from __future__ import annotations

from typing import Protocol

from ltat_tune.storage.task import Outcome, Task


class Observer(Protocol):
    """Hears of a study's events in the driver: the live view, MLflow."""

    def on_start(self, task: Task) -> None:
        """A task was handed to a slot, perhaps again after its worker died."""

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """A task finished an epoch; each epoch is told once."""

    def on_retry(self, task: Task, why: str) -> None:
        """A task goes on from its checkpoint elsewhere, unless that was tried too often."""

    def on_stage_end(self, task: Task, outcome: Outcome) -> None:
        """A copy, or one of several seeds, of a trial ended; `on_end` tells of the trial."""

    def on_note(self, text: str) -> None:
        """The search changed its ways."""

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """A trial, a confirmation or a look ended for good."""
