"""The errors that `ltat_tune` raises on purpose. A message states rule, value and remedy."""

from __future__ import annotations

from collections.abc import Sequence


class LtatError(Exception):
    """Base class of the package's own errors. Catching it catches no other errors."""


class ConfigError(LtatError, ValueError):
    """A configuration breaks a rule. `problems` lists all broken rules."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class SpaceError(ConfigError):
    """A space file breaks a rule. Each problem begins with `file:line:`."""


class DataError(LtatError):
    """Images or labels are missing, unreadable or not what the configuration says."""


class ImagesChangedError(DataError):
    """The images are not those that other trainings of the study used."""


class CheckpointError(LtatError):
    """A checkpoint is torn, belongs to another configuration, or has an unknown format."""


class StudyError(LtatError):
    """A study cannot start, resume or be read."""


class TrainingDiverged(LtatError):
    """The loss or a weight became non-finite. The trial ends as `diverged`, without a score."""


class GPULost(LtatError):
    """The GPU refuses everything that this process asks of it. Another process may be served."""


class MissingData(LtatError):
    """The targets lack data that a figure shows. The message names the data, not the remedy.

    Args:
        what: the missing data.
        command: the command that makes the data; if empty, the command of the figure.
    """

    def __init__(self, what: str, *, command: str = "") -> None:
        super().__init__(what)
        self.command = command
