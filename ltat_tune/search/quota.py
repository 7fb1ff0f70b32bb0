"""Owes each choice of a race its trials before the searcher may leave it out.

`searcher.at_least` gives the number for each choice of a parameter. A trial counts once it trained
to its end, also if it diverged. One that failed, or was stopped early, is made up for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ltat_tune.search.published import published_start
from ltat_tune.space.domains import Domain, sampling_order
from ltat_tune.space.enumeration import all_points
from ltat_tune.space.space import Scenario, Space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

OWED = "owed"  # the fact of a row that trains whole because a choice is owed trials
_RACES = ("method.name", "loss.name")  # whose choices race unless a file asks otherwise
USUAL = 2  # trials that each choice is owed by default
_ENOUGH = 4  # times what a choice is owed: with more configurations they are not counted

_Choice = tuple[str, Any]  # a parameter's path, and one of its choices


@dataclass(frozen=True)
class Racer:
    """A trial, as the race counts it.

    Attributes:
        params: its values.
        how: `whole` if it trained to its end or surely will, `open` if others decide that,
            `copied` if so far it is only copied.
    """

    params: Mapping[str, Any]
    how: Literal["whole", "open", "copied", "stopped", "failed"] = "whole"

    def holds(self, choice: _Choice) -> bool:
        """Return whether it has this choice."""
        return choice[0] in self.params and bool(self.params[choice[0]] == choice[1])


@dataclass(frozen=True)
class Owed:
    """What the next trial must have.

    Attributes:
        values: its choices.
        start: the whole configuration, if it is the first trial of its choice: published values.
    """

    values: Mapping[str, Any]
    start: Mapping[str, Any] | None

    def has(self, params: Mapping[str, Any]) -> bool:
        """Return whether a configuration has these choices."""
        return all(path in params and params[path] == v for path, v in self.values.items())


class Quota:
    """The trials that each choice of one scenario is owed, as a function of its trials alone.

    Args:
        space: the tuned parameters and the searcher.
        scenario: the scenario.
    """

    def __init__(self, space: Space, scenario: Scenario) -> None:
        self._space, self._scenario = space, scenario
        self._least: dict[_Choice, int] = {
            (path, value): least
            for path, least in (space.searcher.at_least or {}).items()
            for value in space.tuned[path].choices
            if least
        }
        self._starts: dict[_Choice, Mapping[str, Any]] = {}
        self._configurations = {choice: self._count(choice) for choice in self._least}

    def debts(self, trials: Sequence[Racer]) -> dict[_Choice, int]:
        """Return how many more trials each choice is owed, without those that are owed none."""
        debts = {}
        for choice, least in self._least.items():
            count = Counter(trial.how for trial in trials if trial.holds(choice))
            # a choice that fails each time does not take the whole search
            debt = least - count["whole"] - max(0, count["failed"] - least)
            if (every := self._configurations[choice]) is not None:
                debt = min(debt, every - sum(count.values()) + count["open"] + count["copied"])
            if debt > 0:
                debts[choice] = debt
        return debts

    def owes(self, params: Mapping[str, Any], trials: Sequence[Racer]) -> bool:
        """Return whether a trial with these values is owed, beside these other trials."""
        return any(Racer(params).holds(choice) for choice in self.debts(trials))

    def due(self, trials: Sequence[Racer], left: float) -> Owed | None:
        """Return what the next trial must have; None if the searcher is free.

        The first trial of each choice comes at once. Of the others every second one pays what is
        owed, so that a race does not hold up the search, and every one once no more are left.

        Args:
            trials: the trials so far.
            left: how many more may train whole.
        """
        owed = self.next(trials)
        begun = sum(trial.how != "copied" for trial in trials)
        waits = owed is not None and owed.start is None and begun % 2 == 1
        return None if waits and left >= self.left(trials) + 1 else owed

    def next(self, trials: Sequence[Racer]) -> Owed | None:
        """Return what is owed next; None if nothing is.

        A choice without any comes first, then the one that is furthest from its number. Its trial
        also takes a choice of each other parameter that is owed trials.
        """
        debts = self.debts(trials)
        if not debts:
            return None
        whole = [trial for trial in trials if trial.how == "whole"]
        new = {choice for choice in debts if not any(trial.holds(choice) for trial in whole)}
        first = max(debts, key=lambda choice: (choice in new, debts[choice]))
        values = _needed(self._space.tuned, first)
        if first in new:
            start = self._start(first, values)
            return Owed(values, None if any(t.params == start for t in trials) else start)
        for path in sampling_order(self._space.tuned):
            owed = {c: debt for c, debt in debts.items() if c[0] == path}
            if owed and path not in values and self._space.tuned[path].active(values):
                values[path] = max(owed, key=lambda choice: owed[choice])[1]
        return Owed(values, None)

    def left(self, trials: Iterable[Racer]) -> int:
        """Return how many more trials it takes until nothing is owed."""
        done = list(trials)
        before = len(done)
        while (owed := self.next(done)) is not None:
            done.append(Racer(owed.start or owed.values))
        return len(done) - before

    def _start(self, choice: _Choice, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if choice not in self._starts:
            self._starts[choice] = published_start(self._space, self._scenario, values)
        return self._starts[choice]

    def _count(self, choice: _Choice) -> int | None:
        """Return how many different trainings have a choice, if they are few; None if many."""
        tuned = _restricted(self._space.tuned, _needed(self._space.tuned, choice))
        points = all_points(tuned, _ENOUGH * self._least[choice])
        if points is None:
            return None
        return len({self._space.config(self._scenario, point).recipe for point in points})


def as_racer(row: FrozenTrial) -> Racer:
    """Return a row of a ledger as the race counts it."""
    from optuna.trial import TrialState  # slow to import, and a space file needs none of it

    from ltat_tune.search.predict.observed import began_with_copy

    if row.state == TrialState.COMPLETE or row.user_attrs.get("state") == "diverged":
        return Racer(row.params)
    if row.state == TrialState.RUNNING:
        if row.user_attrs.get(OWED):
            return Racer(row.params)
        promoted = not began_with_copy(row) or int(row.user_attrs.get("promoted", 0)) > 0
        return Racer(row.params, "open" if promoted else "copied")
    return Racer(row.params, "failed" if row.state == TrialState.FAIL else "stopped")


def deciding(tuned: Mapping[str, Domain]) -> list[str]:
    """Return the method and the loss, where they decide which other parameters exist."""
    parents = {parent for domain in tuned.values() for parent in domain.when}
    return [path for path in tuned if path in parents and path in _RACES]


def with_quota(space: Space) -> tuple[Space, str]:
    """Return the space with `searcher.at_least` filled in if it is left open, and a note.

    It is 2 for each method and loss, where they decide which other parameters exist; fewer if the
    trials do not pay for that.
    """
    if space.searcher.at_least is not None:
        return space, ""
    paths = [] if space.searcher.enumerates else deciding(space.tuned)
    wanted = 0
    for least in range(USUAL, 0, -1):
        filled = _with(space, dict.fromkeys(paths, least))
        takes = trials_needed(filled)
        wanted = wanted or takes
        if takes <= space.searcher.trials:
            break
    else:
        least, filled = 0, _with(space, {})
    if least == USUAL or not paths:
        return filled, ""
    fewer = "1 trial of each choice" if least else "no trial of any choice"
    return filled, (
        f"the search owes {fewer} of {', '.join(paths)}, not {USUAL}: that takes {wanted} trials, "
        f"and searcher.trials is {space.searcher.trials}; raise it for a fair race"
    )


def trials_needed(space: Space) -> int:
    """Return the trials of a scenario that its start points and `searcher.at_least` take."""
    needed = []
    for scenario in space.scenarios:
        first = [*space.start_from, *space.warm_starts.get(scenario.name, ())]
        owed = Quota(space, scenario).left([Racer(params) for params in first])
        needed.append(len(first) + owed)
    return max(needed)


def trials_owed(space: Space) -> int:
    """Return how many trials of a scenario `searcher.at_least` owes, start points among them."""
    return max(Quota(space, scenario).left([]) for scenario in space.scenarios)


def _with(space: Space, at_least: dict[str, int]) -> Space:
    return replace(space, searcher=space.searcher.model_copy(update={"at_least": at_least}))


def _needed(tuned: Mapping[str, Domain], choice: _Choice) -> dict[str, Any]:
    """Return a choice, and before it those of other parameters without which it does not exist."""
    path, value = choice
    values: dict[str, Any] = {}
    for parent, allowed in tuned[path].when.items():
        values |= _needed(tuned, (parent, allowed[0]))
    return {**values, path: value}


def _restricted(tuned: Mapping[str, Domain], values: Mapping[str, Any]) -> dict[str, Domain]:
    """Return the domains that may exist beside these choices."""
    kept: dict[str, Domain] = {}
    for path in sampling_order(tuned):
        domain = tuned[path]
        if path in values:
            domain = replace(domain, choices=(values[path],))
        if all(p in kept and set(kept[p].choices) & set(v) for p, v in domain.when.items()):
            kept[path] = domain
    return kept
