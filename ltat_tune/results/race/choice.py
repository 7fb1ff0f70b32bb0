"""The model of what a search gave one choice, in `results.json`."""

from __future__ import annotations

from ltat_tune.storage.versioned import FileModel


class ChoiceCounts(FileModel):
    """What the search gave one choice of a method, a loss, or another race.

    Attributes:
        path: the parameter.
        choice: its value, as text.
        trials: trials that ended.
        complete: those that trained to their end.
        owed: whole trainings of `searcher.at_least` that are missing.
        epochs: epochs that its trials trained.
        best: the best final score of a trial that may win, a fraction.
        chance: of its best configuration to be truly the best of all choices that have a score;
            None if it has none, is the only one, or the noise of a score is not known.
    """

    path: str
    choice: str
    trials: int
    complete: int
    owed: int = 0
    epochs: int = 0
    best: float | None = None
    chance: float | None = None
