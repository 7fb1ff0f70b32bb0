"""The winners of a study, as notebooks see them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.config.notebook import (
    accuracies_text,
    html_table,
    is_overall,
    settings_line,
    text_lines,
)
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.storage.folder import StudyFolder

if TYPE_CHECKING:
    from ltat_tune.results.model import ConfirmedResult
    from ltat_tune.space.space import Space


@dataclass(frozen=True, repr=False)
class Score:
    """One metric of one configuration over its seeds, as fractions."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """The sample standard deviation; 0 for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def __repr__(self) -> str:
        return f"{self} % (n = {len(self.values)})"

    def __str__(self) -> str:
        """Return the score in percent, such as `41.2 ± 0.4`."""
        from ltat_tune.results.wording import mean_std

        return mean_std(self.values)


@dataclass(frozen=True, repr=False)
class Best:
    """The confirmed winner of one scenario.

    Attributes:
        scenario: the scenario's name; `default` in a study without scenarios.
        values: the values that the scenario fixes, by dotted path.
        trial: the number of the trial that found it.
        params: the proposed values, by dotted path.
        config: the whole configuration with the first seed, as for `Trainer(best.config).fit()`.
        seeds: the seeds of its confirmations.
        val: validation metrics, by which it was chosen.
        test: test metrics, which decided nothing.
        checkpoint: the checkpoint of the first seed.
    """

    scenario: str
    values: Mapping[str, Any]
    trial: int
    params: Mapping[str, Any]
    config: TrialConfig
    seeds: tuple[int, ...]
    val: Mapping[str, Score]
    test: Mapping[str, Score]
    checkpoint: Path

    def __repr__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        return text_lines(
            f"{self.scenario}: trial t{self.trial:04d}, seeds {seeds}",
            {
                "test": accuracies_text(self.test, str),
                "chosen by": accuracies_text(self.val, str),
                "parameters": settings_line(self.params),
                "checkpoint": str(self.checkpoint),
            },
        )

    def _repr_html_(self) -> str:
        caption = f"{self.scenario}: trial t{self.trial:04d}, seeds {self.seeds}"
        accuracies = {**self.test, **self.val}
        rows = [[name, f"{accuracies[name]} %"] for name in accuracies if is_overall(name)]
        rows += [[path, str(value)] for path, value in self.params.items()]
        return html_table(caption, ["", "winner"], rows)


def best_of_scenario(
    space: Space, folder: StudyFolder, scenario: str, winner: ConfirmedResult
) -> Best:
    """Return the winner of one scenario with its configuration and its checkpoint."""
    where, seed = space.scenario(scenario), winner.seeds[0]
    place = folder.confirmation(where.name, winner.recipe, seed)
    return Best(
        scenario=where.name,
        values=dict(where.values),
        trial=winner.number,
        params=winner.params,
        config=space.config(where, winner.params, **{"seeds.seed": seed}),
        seeds=tuple(winner.seeds),
        val={name: Score(tuple(values)) for name, values in winner.val.items()},
        test={name: Score(tuple(values)) for name, values in winner.test.items()},
        checkpoint=place / "checkpoint.pt",
    )
