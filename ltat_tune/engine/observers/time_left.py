"""Estimates how long a study still takes, from what its epochs and tests took so far."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from ltat_tune.planning.estimate import confirmation_epochs
from ltat_tune.planning.looks import LookCost, look_costs
from ltat_tune.space.space import Space
from ltat_tune.storage.task import LOOKS, SEARCH, Outcome, Task

_LEAST_EPOCHS = 5  # of the study, before an estimate says anything
_TRUSTED = 0.05  # of a test, after which its own speed counts


@dataclass
class _Look:
    """A test, a part of one or a sentinel that runs."""

    task: Task
    began: float
    share: float = 0.0  # of its work that is done


@dataclass
class _Counts:
    """What one scenario has done."""

    trials: int = 0
    search_epochs: int = 0
    confirmation_epochs: int = 0
    is_searched: bool = False
    ended: Counter[str] = field(default_factory=Counter)  # kind of look -> how many
    measured: dict[str, float] = field(default_factory=dict)  # test -> share done by ended parts


class TimeLeft:
    """Counts the work of a study that is done, and estimates the time for the rest.

    An epoch counts as long as those so far did on average. A test counts as long as those so far,
    or, before the first, as the rule of thumb says in epochs.

    Args:
        space: the study's space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._counts = {scenario.name: _Counts() for scenario in space.scenarios}
        self._seconds, self._epochs = 0.0, 0  # of all epochs in this start
        self._whole_s, self._whole = 0.0, 0  # of those with the whole attack
        self._looks: dict[str, _Look] = {}  # by task key
        self._took: dict[str, list[float]] = {"test": [], "sentinel": []}
        self._costs: dict[str, LookCost] | None = None

    def restore_trial(self, scenario: str, epochs: int) -> None:
        """Count a trial that an earlier start finished."""
        self._counts[scenario].trials += 1
        self._counts[scenario].search_epochs += epochs

    def restore(self, scenario: str, kind: str) -> None:
        """Count a confirmation, a test or a sentinel that an earlier start finished."""
        self._counts[scenario].is_searched = True
        if kind == "confirmation":
            self._counts[scenario].confirmation_epochs += self._space.max_epochs
        else:
            self._counts[scenario].ended[kind] += 1

    def start(self, task: Task) -> None:
        """Note that a task starts."""
        self._learn_costs()
        if task.kind in SEARCH:
            return
        self._counts[task.scenario].is_searched = True
        if task.kind in LOOKS:
            self._looks[task.key] = _Look(task, time.monotonic())

    def epoch(self, task: Task, seconds: float) -> None:
        """Count an epoch."""
        self._seconds += seconds
        self._epochs += 1
        if not task.fidelity:
            self._whole_s += seconds
            self._whole += 1
        counts = self._counts[task.scenario]
        if task.kind in SEARCH:
            counts.search_epochs += 1
        else:
            counts.confirmation_epochs += 1

    def look(self, task: Task, what: str, done: int, total: int) -> None:
        """Note how far a test, a part of one or a sentinel has come."""
        if (look := self._looks.get(task.key)) is None:
            return
        share = done / max(1, total)
        if task.kind in ("part", "test"):
            weights = self._weights(task)
            every, place = sum(weights.values()), list(weights).index(what)
            before = sum(list(weights.values())[:place])
            share = (before + share * weights[what]) / every
        look.share = share

    def end(self, task: Task, outcome: Outcome) -> None:
        """Count the end of a task."""
        counts = self._counts[task.scenario]
        if task.kind == "trial":
            counts.trials += 1
        elif task.kind == "part":
            self._looks.pop(task.key, None)
            done = counts.measured.get(task.start_from, 0.0)
            counts.measured[task.start_from] = done + 1 / task.parts
        elif task.kind in LOOKS:
            self._looks.pop(task.key, None)
            counts.ended[task.kind] += 1
            if task.kind == "test":
                counts.measured.pop(task.folder, None)
            if outcome.state == "complete":
                self._took[task.kind].append(outcome.seconds + outcome.lent_s)

    def parts(self, slots: int) -> dict[str, float]:
        """Return the seconds left of search, confirmations and tests; empty if nobody knows yet.

        Args:
            slots: how many tasks run at once.
        """
        if self._epochs < _LEAST_EPOCHS and not self._looks and not any(self._took.values()):
            return {}
        epochs = self._search_epochs_left()
        if epochs is None:
            return {}
        trainings, confirming, _ = confirmation_epochs(self._space)
        epoch_s = self._seconds / max(1, self._epochs)
        whole_s = self._whole_s / self._whole if self._whole else epoch_s
        work: dict[str, float] = {"search": 0.0, "confirmations": 0.0, "tests": 0.0}
        longest = 0.0  # of one scenario, whose kinds of task follow each other
        looking = list(self._looks.values())  # the driver's thread changes it
        for name, counts in self._counts.items():
            search = epochs[name] * epoch_s
            training = whole_s * max(0, confirming - counts.confirmation_epochs)
            here = [look for look in looking if look.task.scenario == name]
            looks = [self.left_of(look.task) for look in here if look.task.kind != "part"]
            running = Counter(look.task.kind for look in here)
            tests = max(0, trainings - counts.ended["test"] - running["test"])
            test_s = self._usual_s(name, "test", whole_s)
            watched = trainings > 0 and self._space.confirm.sentinel
            if watched and not counts.ended["sentinel"] and not running["sentinel"]:
                looks.append(self._usual_s(name, "sentinel", whole_s))
            work["search"] += search
            work["confirmations"] += training
            undone = max(0.0, tests - _done_by_parts(counts, here))
            work["tests"] += sum(looks) + test_s * undone
            at_once = min(slots, max(1, trainings))
            chain = search / slots + training / at_once
            cost = (self._costs or {}).get(name)
            sharing = None if cost is None else cost.sharing(tests, slots)
            if sharing is not None and sharing.parts > 1:
                tested = sum(looks) / slots + test_s * undone * sharing.rounds / tests
            else:
                looks += [test_s] * tests
                tested = sum(looks) / at_once
            longest = max(longest, chain + max(max(looks, default=0.0), tested))
        total = sum(work.values())
        scale = max(total / slots, longest) / total if total else 0.0
        return {part: seconds * scale for part, seconds in work.items()}

    def left_of(self, task: Task) -> float:
        """Return the seconds left of a look that runs; 0 if it does not run."""
        look = self._looks.get(task.key)
        if look is None:
            return 0.0
        elapsed = time.monotonic() - look.began
        if look.share >= _TRUSTED:
            return elapsed * (1 - look.share) / look.share
        whole_s = self._whole_s / self._whole if self._whole else 0.0
        share = 1 - self._counts[task.scenario].measured.get(task.folder, 0.0)
        if task.kind == "part":
            share = 1 / task.parts
        kind = "sentinel" if task.kind == "sentinel" else "test"
        return max(0.0, share * self._usual_s(task.scenario, kind, whole_s) - elapsed)

    def _learn_costs(self) -> None:
        """Count images, in the thread that reports events and not in the one that draws."""
        if self._costs is None:
            self._costs = look_costs(self._space)

    def _search_epochs_left(self) -> dict[str, float] | None:
        """Return the epochs of the search that are left, by scenario; None if nobody knows."""
        spec, total = self._space.searcher, self._space.max_epochs
        done = sum(counts.trials for counts in self._counts.values())
        trained = sum(counts.search_epochs for counts in self._counts.values())
        left = {}
        for name, counts in self._counts.items():
            if counts.is_searched:
                left[name] = 0.0
            elif spec.name == "predict":  # it spends the epochs of so many whole trainings
                left[name] = max(0.0, spec.trials * spec.seeds_per_trial * total
                                 - counts.search_epochs)  # fmt: skip
            elif not done:
                return None
            else:
                left[name] = max(0.0, spec.trials * trained / done - counts.search_epochs)
        return left

    def _usual_s(self, scenario: str, kind: str, epoch_s: float) -> float:
        """Return the seconds of a test or a sentinel."""
        if self._took[kind]:
            return statistics.fmean(self._took[kind])
        cost = (self._costs or {}).get(scenario)
        if cost is None or not cost.epoch:
            return 0.0
        return epoch_s * (cost.test if kind == "test" else cost.sentinel) / cost.epoch

    def _weights(self, task: Task) -> dict[str, float]:
        """Return attack -> its share of a test's work, in any unit."""
        cost = (self._costs or {}).get(task.scenario)
        known = {} if cost is None else cost.attacks
        return {attack: known.get(attack, 1.0) for attack in task.attacks}


def _done_by_parts(counts: _Counts, running: list[_Look]) -> float:
    """Return how many tests' work parts have done, of tests that do not run yet."""
    tested = {look.task.folder for look in running if look.task.kind == "test"}
    ended = (share for test, share in counts.measured.copy().items() if test not in tested)
    shares = (look.share / look.task.parts for look in running if look.task.kind == "part")
    return sum(ended) + sum(shares)
