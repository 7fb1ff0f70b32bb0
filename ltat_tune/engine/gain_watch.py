"""Watches what the rest of a scenario's search would bring, and ends it where that is little."""

from __future__ import annotations

from ltat_tune.engine.budget import end_by, reopen_unless
from ltat_tune.search.predict.outlook import Outlook, outlook_of
from ltat_tune.space.space import Space
from ltat_tune.storage.ledger import Ledger

_STOPPED = "stopped_by"  # the fact of a scenario whose search this rule ended
_TOLD_EVERY = 5  # trials that end between two outlooks that are told, at least


class GainWatch:
    """Forecasts the gain of the rest of one scenario's search, from the ledger's rows alone.

    Args:
        space: the study's space.
        ledger: the trials so far.
        scenario: the scenario's name.
    """

    def __init__(self, space: Space, ledger: Ledger, scenario: str) -> None:
        self._space, self._ledger, self._scenario = space, ledger, scenario
        self._key: tuple[int, int] | None = None
        self._outlook: Outlook | None = None
        self._told = 0  # trials that had ended when `news` told the outlook last
        reopen_unless(ledger, scenario, fact=_STOPPED, rule=self._rule)

    def news(self) -> Outlook | None:
        """Return the outlook, but only now and then while the search goes on: it takes time."""
        ended = len(self._ledger.finished(self._scenario))
        seldom = ended < self._told + max(_TOLD_EVERY, ended // 20)
        if seldom or self._ledger.is_searched(self._scenario):
            return None
        self._told = ended
        return self.outlook()

    def outlook(self) -> Outlook | None:
        """Return what the trials that are left are expected to bring; None if unknown."""
        ledger, left = self._ledger, int(self._ledger.left(self._scenario) + 1e-9)
        ended = {name: len(ledger.finished(name)) for name in ledger.scenarios}
        key = sum(ended.values()), left
        if key != self._key:
            rows = {name: ledger.rows(name) for name in ledger.scenarios}
            self._key = key
            self._outlook = outlook_of(self._space, rows, self._scenario, left)
        return self._outlook

    def end_search(self) -> None:
        """End the search if `searcher.stop` asks for it; record why in the ledger."""
        least, ledger = self._space.searcher.gain_below, self._ledger
        if not least or ledger.is_searched(self._scenario):
            return
        outlook = self.outlook()
        if outlook is None or 100 * outlook.gain >= least:
            return
        left, trials = outlook.trials, self._space.searcher.trials
        title = self._space.scenario(self._scenario).title
        why = (
            f"{title}: the search ends with {left} of {trials} trials left; {outlook.sentence}, "
            f"and searcher.stop asks for {least:g}"
        )
        end_by(ledger, self._scenario, fact=_STOPPED, rule=self._rule, why=why)

    @property
    def _rule(self) -> str:
        searcher = self._space.searcher
        return f"{searcher.gain_below:g} points, {searcher.trials} trials"
