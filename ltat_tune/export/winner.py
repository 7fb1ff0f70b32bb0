"""The type of an exported winner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltat_tune.results.model import ConfirmedResult, ScenarioResults, StudyResults
from ltat_tune.results.selection import Confirmation


@dataclass(frozen=True)
class Winner:
    """A confirmed configuration that was exported.

    Attributes:
        path: its configuration file.
        place: 1 for the winner of its scenario, 2 for the next.
        results: the results of the whole study.
        scenario: the results of its scenario.
        confirmed: its own results.
        training: its training with the first seed; the file records its digits.
        recorded: the digits and facts under `recorded` in the file.
        plugins: name -> copy of the plugin's file, beside the configuration.
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
        """The searched values, by dotted path."""
        return self.confirmed.params
