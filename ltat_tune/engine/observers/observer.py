"""The base class through which the driver reports a study's events."""

from __future__ import annotations

from ltat_tune.search.predict.outlook import Outlook
from ltat_tune.storage.task import Outcome, Task


class Observer:
    """A receiver of a study's events in the driver, such as the live view or MLflow.

    It ignores the events for which a derived class has no method.
    """

    def on_start(self, task: Task) -> None:
        """Handle the start of a task in a slot, perhaps again after its worker died."""

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Handle the end of an epoch; each epoch is reported once."""

    def on_look(self, task: Task, what: str, done: int, total: int) -> None:
        """Handle how far a test has come under an attack, or a sentinel among its attacks."""

    def on_retry(self, task: Task, why: str) -> None:
        """Handle a task that runs again from its checkpoint, if retries are left."""

    def on_stage_end(self, task: Task, outcome: Outcome) -> None:
        """Handle the end of a trial's copy or of one of its seeds; `on_end` gets the trial."""

    def on_note(self, text: str) -> None:
        """Handle a note to the user, such as that the search trains copies differently now."""

    def on_outlook(self, scenario: str, outlook: Outlook) -> None:
        """Handle what the rest of a scenario's search is expected to bring, now and then."""

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """Handle the final end of a trial, a confirmation, a test or a sentinel."""
