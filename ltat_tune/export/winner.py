"""A winner as it was exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltat_tune.results.model import ConfirmedResult, ScenarioResults, StudyResults
from ltat_tune.results.selection import Confirmation


@dataclass(frozen=True)
class Winner:
    """A confirmed configuration as it was exported.

    Attributes:
        path: its configuration file.
        place: 1 for the winner of its scenario, 2 for the next.
        results: of the whole study.
        scenario: its scenario's part of them.
        confirmed: its own part of those.
        training: its training with the first seed, whose weights and digits the file has.
        recorded: those digits, as in the file.
        plugins: by name, the files of code that it needs, beside its own.
    """

    path: Path
    place: int
    results: StudyResults
    scenario: ScenarioResults
    confirmed: ConfirmedResult
    training: Confirmation
    recorded: Mapping[str, Any]
    plugins: Mapping[str, Path] = field(default_factory=dict)

    @property
    def params(self) -> Mapping[str, Any]:
        """What was searched, by dotted path."""
        return self.confirmed.params
