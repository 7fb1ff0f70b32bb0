"""Every error that `ltat_tune` raises on purpose; each message is rule, value, remedy."""

from __future__ import annotations

from collections.abc import Sequence


class LtatError(Exception):
    """Root of the package's own errors: catching it catches nothing else."""


class ConfigError(LtatError, ValueError):
    """A configuration breaks a rule. Carries all broken rules at once in `problems`."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class SpaceError(ConfigError):
    """A space file breaks a rule; each problem begins with `file:line:`."""


class DataError(LtatError):
    """Images or labels are missing, unreadable or not what the configuration says."""


class CheckpointError(LtatError):
    """A checkpoint is torn, of another configuration, or of an unknown format."""


class StudyError(LtatError):
    """A study cannot start, resume or be read."""


class TrainingDiverged(LtatError):
    """The loss or a weight became non-finite; the trial ends as `diverged`, without a score."""


class MissingData(LtatError):
    """The targets lack what a figure shows; the message says what, not how to get it.

    Args:
        what: is missing.
        command: that makes it; empty is that of the figure.
    """

    def __init__(self, what: str, *, command: str = "") -> None:
        super().__init__(what)
        self.command = command
