"""Early stopping: decides, scenario by scenario, which trials go on after a rung."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from ltat_tune.search.early_stop import EarlyStop, JudgedScore
from ltat_tune.search.rungs import Rungs
from ltat_tune.space.spec import SchedulerSpec


class RungStanding(NamedTuple):
    """A rung as it stands: how many trials have reached it, and what it asks of the next one.

    Attributes:
        epoch: where it lies.
        trials: that have reached it.
        threshold: the score below which it stops a trial; None while it stops none, or if it asks
            different scores of different trials.
    """

    epoch: int
    trials: int
    threshold: float | None


class Rule(Protocol):
    """Decides at rungs which trials go on."""

    def standings(self) -> list[RungStanding]:
        """Return the rungs in rising order."""

    def record(self, trial: str, epoch: int, value: float) -> EarlyStop | None:
        """Record a score. Return why the trial stops, or None if it goes on.

        A trial that reports a rung again after a restart is never judged there twice.
        """

    def threshold(self, trial: str, epoch: int) -> float | None:
        """Return the score below which a trial stops at a rung, by the scores of others so far.

        None if it would pass with any score, or if the epoch is no rung of the trial.
        """


class SuccessiveHalving:
    """The stopping rule of ASHA (Li2020System, arXiv:1810.05934) over given rungs.

    A trial goes on if it is among the best 1/reduction_factor of all trials that have reached the
    rung, itself included. Until reduction_factor trials have reached it, every trial goes on.

    Args:
        rungs: epochs, from 1, in rising order.
        reduction_factor: eta > 1.
    """

    def __init__(self, rungs: tuple[int, ...], reduction_factor: float) -> None:
        self._factor = reduction_factor
        self._values: dict[int, dict[str, float]] = {rung: {} for rung in rungs}

    def standings(self) -> list[RungStanding]:
        """Return the rungs, as `Rule` defines it."""
        newcomer = ""
        return [
            RungStanding(rung, len(values), self.threshold(newcomer, rung))
            for rung, values in self._values.items()
        ]

    def record(self, trial: str, epoch: int, value: float) -> EarlyStop | None:
        """Record a score, as `Rule` defines it."""
        values = self._values.get(epoch)
        if values is None or trial in values:
            return None
        threshold = self.threshold(trial, epoch)
        values[trial] = value
        if threshold is None or value >= threshold:
            return None
        return _stop(epoch, value, threshold, values)

    def threshold(self, trial: str, epoch: int) -> float | None:
        """Return what a trial must reach, as `Rule` defines it."""
        others = [v for one, v in self._values.get(epoch, {}).items() if one != trial]
        keep = math.ceil((len(others) + 1) / self._factor)
        if len(others) + 1 < self._factor or keep > len(others):
            return None
        return sorted(others, reverse=True)[keep - 1]


class Hyperband:
    """Brackets of successive halving with later first rungs (Li2018Hyperband, arXiv:1603.06560).

    Bracket b has no rung before the b-th; the last bracket has none. Trials go to the brackets in
    turn, by number. Each skipped rung leaves reduction_factor times fewer trials, so that all
    brackets get about the same epochs.

    Args:
        rungs: epochs, from 1, in rising order.
        reduction_factor: eta > 1.
    """

    def __init__(self, rungs: tuple[int, ...], reduction_factor: float) -> None:
        self._brackets = [
            SuccessiveHalving(rungs[first:], reduction_factor) for first in range(len(rungs) + 1)
        ]
        shares = [math.ceil(reduction_factor ** (len(rungs) - b)) for b in range(len(rungs) + 1)]
        self._turns = [b for b, share in enumerate(shares) for _ in range(share)]

    def standings(self) -> list[RungStanding]:
        """Return the rungs, as `Rule` defines it; each bracket has its own thresholds."""
        trials: dict[int, int] = {}
        for bracket in self._brackets:
            for rung in bracket.standings():
                trials[rung.epoch] = trials.get(rung.epoch, 0) + rung.trials
        return [RungStanding(epoch, trials[epoch], None) for epoch in sorted(trials)]

    def record(self, trial: str, epoch: int, value: float) -> EarlyStop | None:
        """Record a score, as `Rule` defines it."""
        stop = self._bracket(trial).record(trial, epoch, value)
        return None if stop is None else replace(stop, bracket=True)

    def threshold(self, trial: str, epoch: int) -> float | None:
        """Return what a trial must reach in its bracket, as `Rule` defines it."""
        return self._bracket(trial).threshold(trial, epoch)

    def _bracket(self, trial: str) -> SuccessiveHalving:
        number = int(trial.rpartition("t")[2])
        return self._brackets[self._turns[number % len(self._turns)]]


class MedianStopping:
    """Stops a trial whose best score is below the median of the others' (Golovin2017Vizier 3.2.1).

    At a rung, the best score of a trial so far is compared with the median of the best scores of
    the trials that have been there. Until five trials have been there, every trial goes on.

    Args:
        rungs: epochs, from 1, in rising order.
    """

    _LEAST = 5

    def __init__(self, rungs: tuple[int, ...]) -> None:
        self._values: dict[int, dict[str, float]] = {rung: {} for rung in rungs}
        self._best: dict[str, float] = {}

    def standings(self) -> list[RungStanding]:
        """Return the rungs, as `Rule` defines it."""
        return [
            RungStanding(
                rung, len(values),
                statistics.median(values.values()) if len(values) >= self._LEAST else None,
            )
            for rung, values in self._values.items()
        ]  # fmt: skip

    def record(self, trial: str, epoch: int, value: float) -> EarlyStop | None:
        """Record a score, as `Rule` defines it."""
        best = self._best[trial] = max(value, self._best.get(trial, value))
        values = self._values.get(epoch)
        if values is None or trial in values:
            return None
        threshold = self.threshold(trial, epoch)
        values[trial] = best
        if threshold is None or best >= threshold:
            return None
        return _stop(epoch, best, threshold, values, "best")

    def threshold(self, trial: str, epoch: int) -> float | None:
        """Return what a trial's best score must reach, as `Rule` defines it."""
        others = [v for one, v in self._values.get(epoch, {}).items() if one != trial]
        return statistics.median(others) if len(others) >= self._LEAST else None


def _stop(
    epoch: int,
    score: float,
    threshold: float,
    values: Mapping[str, float],
    judged: JudgedScore = "own",
) -> EarlyStop:
    """Return why a score stops its trial, with its rank among the values at the rung."""
    rank = 1 + sum(other > score for other in values.values())
    return EarlyStop(epoch, score, threshold, rank, len(values), judged)


def new_rule(spec: SchedulerSpec, rungs: tuple[int, ...]) -> Rule:
    """Return the rule that `scheduler.name` asks for."""
    if spec.name == "hyperband":
        return Hyperband(rungs, spec.reduction_factor)
    if spec.name == "median":
        return MedianStopping(rungs)
    return SuccessiveHalving(rungs, spec.reduction_factor)


class EarlyStopping:
    """The rungs of every scenario of a study, rebuilt from the ledger on resume.

    Args:
        metric: the metric that trials are judged by.
        rungs: the epochs at which they are judged.
        spec: the rule.
        scenarios: names; each scenario has rungs of its own.

    Attributes:
        stopped: why, for each trial that `goes_on` stopped in this process, by key.
        spared: keys of trials that no rung stops; they count for the ranks of others.
    """

    def __init__(
        self, metric: str, rungs: Rungs, spec: SchedulerSpec, scenarios: tuple[str, ...]
    ) -> None:
        self._metric, self._rungs = metric, rungs
        self._rules = {scenario: new_rule(spec, rungs.judged) for scenario in scenarios}
        self.stopped: dict[str, EarlyStop] = {}
        self.spared: set[str] = set()

    @property
    def judged(self) -> tuple[int, ...]:
        """The epochs at which a trial may be stopped."""
        return self._rungs.judged

    def standings(self, scenario: str) -> list[RungStanding]:
        """Return the rungs of a scenario as they stand, in rising order."""
        return self._rules[scenario].standings()

    def put_back(self, scenario: str, trial: str, values: Mapping[int, float]) -> None:
        """Put scores of a trial, epoch -> value, back on the rungs; they were judged before."""
        for epoch in sorted(values):
            self._rules[scenario].record(trial, epoch, values[epoch])

    def thresholds(self, scenario: str, trial: str) -> dict[int, float]:
        """Return rung -> the score that a trial must reach there, by the scores so far."""
        rule = self._rules[scenario]
        found = {epoch: rule.threshold(trial, epoch) for epoch in self._rungs.judged}
        return {epoch: score for epoch, score in found.items() if score is not None}

    def goes_on(
        self,
        trial: str,
        scenario: str,
        epoch: int,
        metrics: Mapping[str, float],
        *,
        last_epoch: int,
    ) -> bool:
        """Note a trial's epoch. Return whether it goes on; if not, it is `stopped`.

        A rung that the trial has passed does not judge it again, when a checkpoint is replayed.
        An epoch that a driver did not live to judge is judged at its replay.

        Args:
            trial: its key.
            scenario: its scenario's name.
            epoch: epochs that it has completed, from 1.
            metrics: its report.
            last_epoch: last epoch of the whole training, after which there is nothing to stop.
        """
        value = self._rungs.score(epoch, metrics, self._metric)
        if value is None:
            return True
        stop = self._rules[scenario].record(trial, epoch, value)
        if stop is None or epoch >= last_epoch or trial in self.spared:
            return True
        if epoch in self._rungs.probes and stop.judged == "own":
            stop = replace(stop, judged="probe")
        self.stopped[trial] = stop
        return False
