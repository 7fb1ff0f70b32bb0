"""Reads an earlier study for a warm start, finished or not; writes nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import SpaceError, StudyError
from ltat_tune.results.model import StudyResults, read_results
from ltat_tune.results.selection import ranked
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Scenario, Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.trial_state import score_of
from ltat_tune.storage.trials import read_rows


@dataclass(frozen=True)
class PreviousTrial:
    """A configuration that the earlier study trained to its end.

    Attributes:
        number: of its trial.
        params: what was proposed.
        config: what was trained.
        confirmed: whether it was retrained as a winner.
        share: its rank among the complete trials of its scenario, from 0, the best, to 1.
        score: its final score.
    """

    number: int
    params: Mapping[str, Any]
    config: TrialConfig
    confirmed: bool
    share: float
    score: float

    @property
    def title(self) -> str:
        """The trial's name, such as `t0012` or `t0012 (confirmed)`."""
        return f"t{self.number:04d}" + (" (confirmed)" if self.confirmed else "")


@dataclass(frozen=True)
class PreviousStudy:
    """The configurations of an earlier study by scenario: the confirmed ones first, best first."""

    name: str
    space: Space
    found: Mapping[str, list[PreviousTrial]] = field(default_factory=dict)

    def best_for(self, scenario: Scenario) -> tuple[list[PreviousTrial], str]:
        """Return configurations, best first, and a text that says among which they are best."""
        same = self._same(scenario)
        if same is not None:
            return self.found[same.name], f"its scenario {same.title}" if same.values else "best"
        some = [s for s in self.space.scenarios if self.found[s.name]]
        if len(some) == 1:
            return self.found[some[0].name], f"its scenario {some[0].title}"
        return self._on_average(), f"on average over its {len(some)} scenarios"

    def complete_for(self, scenario: Scenario) -> dict[str, list[PreviousTrial]]:
        """Return trials by scenario name, best first.

        They are those of the equal scenario, or of every scenario if there is no equal one.
        """
        same = self._same(scenario)
        names = list(self.found) if same is None else [same.name]
        return {name: sorted(self.found[name], key=lambda f: f.share) for name in names}

    def _same(self, scenario: Scenario) -> Scenario | None:
        """Return the scenario with the same values that has a complete trial, or None."""
        values = dict(scenario.values)
        alike = (s for s in self.space.scenarios if dict(s.values) == values)
        return next((s for s in alike if self.found[s.name]), None)

    def _on_average(self) -> list[PreviousTrial]:
        """Return each distinct configuration once, by its mean rank over the scenarios that
        trained it.
        """
        alike: dict[str, list[PreviousTrial]] = {}
        for trials in self.found.values():
            for trial in trials:
                key = json.dumps(dict(trial.params), sort_keys=True, default=str)
                alike.setdefault(key, []).append(trial)
        groups = sorted(
            alike.values(),
            key=lambda group: (
                not any(trial.confirmed for trial in group),
                statistics.fmean(trial.share for trial in group),
                -len(group),
            ),
        )
        return [group[0] for group in groups]


def read_previous(study: str, problems: Problems) -> PreviousStudy | None:
    """Read the study in a folder, or of this name under studies/.

    If it cannot be used, the problem is reported and None is returned.
    """
    from ltat_tune.space.reader import read_space  # it imports warm starts itself

    root = Path(study).expanduser()
    if not (root / "study.json").exists() and len(root.parts) == 1:
        root = Path("studies") / root if (Path("studies") / root).is_dir() else root
    place = ("warm_start", "study")
    try:
        folder = StudyFolder.open(root)
        smoke = folder.read_facts().get("smoke")
        space = read_space(folder.space)
        results = read_results(folder)
        if smoke:
            problems.add(
                place, f"warm_start.study {study} was a smoke run, whose numbers mean nothing"
            )
            return None
        rows = read_rows(folder.ledger)
        trials = {s.name: _found(space, s, rows.get(s.name, []), results) for s in space.scenarios}
    except StudyError as error:
        problems.add(place, f"warm_start.study must be the folder of a study: {error}")
    except SpaceError as error:
        problems.add(
            place, f"warm_start.study {study} has a space file that is refused now: {error}"
        )
    except Exception as error:  # a damaged journal fails in many ways
        reason = f"{type(error).__name__}: {error}"
        problems.add(place, f"warm_start.study {study} cannot be read ({reason[:200]})")
    else:
        if not any(trials.values()):
            problems.add(place, f"warm_start.study {study} has no complete trial to start from")
            return None
        return PreviousStudy(root.name, space, trials)
    return None


def _found(
    space: Space, scenario: Scenario, rows: list[FrozenTrial], results: StudyResults | None
) -> list[PreviousTrial]:
    complete = ranked(rows)
    places = _confirmed(results, scenario.name)
    trials = []
    for rank, row in enumerate(complete):
        config = space.config(scenario, row.params)
        share = rank / max(1, len(complete) - 1)
        trials.append(
            PreviousTrial(
                row.number,
                dict(row.params),
                config,
                row.number in places,
                share,
                score_of(row) or 0.0,
            )  # fmt: skip
        )
    last = len(places)
    return sorted(trials, key=lambda f: (places.get(f.number, last), f.share))


def _confirmed(results: StudyResults | None, scenario: str) -> dict[int, int]:
    """Return, by trial number, the place among the confirmed winners of a scenario."""
    if results is None:
        return {}
    return {
        one.number: place
        for entry in results.scenarios if entry.name == scenario
        for place, one in enumerate(entry.contenders(results.objective))
    }  # fmt: skip
