"""Shows a study's progress: a live table on a terminal, elsewhere a plain line for each event."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ltat_tune.presentation.units import clock, percent
from ltat_tune.results.wording import masking_line
from ltat_tune.search.predict.outlook import Outlook
from ltat_tune.space.space import Space, text_of
from ltat_tune.storage.task import SEARCH, Outcome, Task
from ltat_tune.storage.training_files import read_masking

_SYMBOLS = {"complete": "✓", "pruned": "■", "failed": "✗", "diverged": "✗"}


@dataclass
class _Progress:
    """The counts of one scenario; `epochs` are those of the search."""

    states: Counter[str] = field(default_factory=Counter)
    running: dict[str, str] = field(default_factory=dict)  # task key -> kind
    begun: set[int] = field(default_factory=set)
    epochs: int = 0
    best: float | None = None
    best_trial: str = ""
    outlook: Outlook | None = None
    confirmed: int = 0
    tested: int = 0


class LiveView:
    """Shows a study's progress on stderr.

    Args:
        space: the study's space.
        console: where to write; a terminal gets the live table.
        quiet: show nothing.
        slots: how many tasks run at once, to estimate the time left.
        plain: print a line for each event on a terminal too, so that a debugger can use it.
    """

    def __init__(
        self, space: Space, console: Console, *, quiet: bool, slots: int, plain: bool = False
    ) -> None:
        self._plain = plain
        self._space, self._console, self._quiet, self._slots = space, console, quiet, slots
        self._progress = {s.name: _Progress() for s in space.scenarios}
        self._live_epoch: dict[str, int] = {}
        self._events: deque[str] = deque(maxlen=6)
        self._seconds, self._epochs = 0.0, 0
        self._began = time.monotonic()
        self._live: Live | None = None
        self._phase = "starting"

    def __enter__(self) -> LiveView:
        if self._console.is_terminal and not self._quiet and not self._plain:
            self._live = Live(
                get_renderable=self.render,
                console=self._console,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Print one line that stays."""
        if not self._quiet:
            self._console.print(Text(text), soft_wrap=True)

    def phase(self, text: str) -> None:
        """Show what the study does now, before its first trial and after its last."""
        self._phase = text
        if self._live is None:
            self.say(text)

    def restore(
        self, scenario: str, state: str, epochs: int, score: float | None, name: str
    ) -> None:
        """Count a trial that an earlier start finished."""
        progress = self._progress[scenario]
        progress.states[state] += 1
        progress.epochs += epochs
        if state == "complete":
            self._see(progress, score, name)

    def resize(self, slots: int) -> None:
        """Set how many tasks run at once from now on, to estimate the time left."""
        self._slots = max(1, slots)

    # -- Observer -------------------------------------------------------------------------------

    def on_start(self, task: Task) -> None:
        """Count a running task, and announce a trial's first."""
        self._phase = ""
        progress = self._progress[task.scenario]
        begins = task.number not in progress.begun and task.kind in SEARCH
        progress.running[task.key] = task.kind
        if begins:
            progress.begun.add(task.number)
            tuned = self._space.tuned  # in the order of the space file
            chosen = {p: task.config[p] for p, d in tuned.items() if d.active(task.config)}
            self._event(f"{task.trial} started: {_short(chosen)}")

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Count an epoch that a task finished."""
        self._seconds += seconds
        self._epochs += 1
        self._live_epoch[task.key] = epoch
        if task.kind in SEARCH:
            self._progress[task.scenario].epochs += 1

    def on_retry(self, task: Task, why: str) -> None:
        """Show why a task's worker stopped or is stopped."""
        self._event(f"{task.title}: {why}")

    def on_stage_end(self, task: Task, outcome: Outcome) -> None:
        """Show the score of a trial's copy or seed that ended."""
        self._progress[task.scenario].running.pop(task.key, None)
        self._live_epoch.pop(task.key, None)
        score = (outcome.metrics or {}).get(self._space.objective.metric)
        if score is not None:
            self._event(f"{task.title}: {percent(score)} % {self._space.objective.metric}")

    def on_note(self, text: str) -> None:
        """Show a note."""
        self._event(f"note: {text}")

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """Count and show the end of a task."""
        progress = self._progress[task.scenario]
        progress.running.pop(task.key, None)
        self._live_epoch.pop(task.key, None)
        symbol = _SYMBOLS[outcome.state]
        if task.kind == "trial":
            progress.states[outcome.state] += 1
            score = (outcome.metrics or {}).get(self._space.objective.metric)
            if outcome.state == "complete" and score is not None:
                doubt = f", behind every credible trial: its score is {outcome.cause}"
                if not outcome.reason:
                    self._see(progress, score, task.key.rpartition("/")[2])
                self._event(
                    f"{symbol} {task.title} complete: {percent(score)} % "
                    f"{self._space.objective.metric}{doubt if outcome.reason else ''}"
                )
            elif outcome.state == "pruned":
                why = f": {outcome.reason}" if outcome.reason else f" after epoch {outcome.epoch}"
                self._event(f"{symbol} {task.title} stopped early{why}")
            else:
                self._event(f"{symbol} {task.title} {outcome.state}: {outcome.cause}")
            return
        if outcome.state != "complete":
            self._event(f"{symbol} {task.title} {outcome.state}: {outcome.cause}")
        elif task.kind == "confirmation":
            progress.confirmed += 1
            score = (outcome.metrics or {}).get(self._space.objective.metric, 0.0)
            self._event(
                f"{symbol} {task.title} confirmed: {percent(score)} % "
                f"{self._space.objective.metric}"
            )
        elif task.kind == "sentinel":
            report = read_masking(task.path)
            line = masking_line(report) if report is not None else "not checked"
            self._event(
                f"{symbol} {task.title}: gradient masking {line} ({outcome.seconds:.0f} s)"
            )
        else:
            progress.tested += 1
            accuracies = ", ".join(
                f"{a} {percent((outcome.metrics or {}).get(f'test/{a}_acc', 0.0))} %"
                for a in task.attacks
            )
            self._event(f"{symbol} {task.title} tested: {accuracies} ({outcome.seconds:.0f} s)")

    def on_outlook(self, scenario: str, outlook: Outlook) -> None:
        """Show what the rest of a search is expected to bring."""
        self._progress[scenario].outlook = outlook
        where = "" if len(self._progress) == 1 else f"{self._space.scenario(scenario).title}: "
        self._event(f"{where}{outlook.sentence}")

    # -- drawing --------------------------------------------------------------------------------

    def render(self) -> RenderableType:
        """Return the live table, the newest events and the time left."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in (
            "scenario",
            "best so far",
            "running",
            "complete",
            "stopped early",
            "failed",
            "epochs",
            "to come",
        ):
            table.add_column(title, justify="left" if title == "scenario" else "right")
        planned = self._space.searcher.trials * self._space.max_epochs
        for scenario in self._space.scenarios:
            progress = self._progress[scenario.name]
            best = (
                "-"
                if progress.best is None
                else f"{percent(progress.best)} % ({progress.best_trial})"
            )
            kinds = Counter(progress.running.values())
            running = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "0"
            bad = progress.states["failed"] + progress.states["diverged"]
            table.add_row(
                scenario.title, best, running, str(progress.states["complete"]),
                str(progress.states["pruned"]), str(bad), f"{progress.epochs} of {planned}",
                "" if progress.outlook is None else f"+{percent(progress.outlook.gain)}",
            )  # fmt: skip
        elapsed = time.monotonic() - self._began
        tail = Text(f"{clock(elapsed)} elapsed{self._time_left()}", style="dim")
        if self._phase:
            tail = Text(f"{self._phase} ({clock(elapsed)})", style="dim")
        newest = [
            Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._events
        ]
        return Group(Text(), table, Text(), *newest, Text(), tail)

    def _time_left(self) -> str:
        """Return an upper bound on the time left of search and confirmations, as text."""
        done = sum(sum(p.states.values()) for p in self._progress.values())
        if self._epochs < 5 or not done:
            return ""
        mean_epochs = sum(p.epochs for p in self._progress.values()) / done
        trials = self._space.searcher.trials * len(self._progress) - done
        confirm = self._space.confirm
        trainings = (confirm.top + 1) * len(self._space.confirm_seeds) * len(self._progress)
        trainings -= sum(p.confirmed for p in self._progress.values())
        epochs = trials * mean_epochs + max(0, trainings) * self._space.max_epochs
        left = epochs * self._seconds / self._epochs / self._slots
        return f", about {clock(left)} of training left" if left > 1 else ", testing the winners"

    def _see(self, progress: _Progress, score: float | None, name: str) -> None:
        if score is not None and (progress.best is None or score > progress.best):
            progress.best, progress.best_trial = score, name

    def _event(self, text: str) -> None:
        self._events.append(text)
        if self._live is None:
            self.say(text)


def _short(params: dict[str, object]) -> str:
    names = {
        path: path.partition(".")[0] if path.endswith(".name") else path.rpartition(".")[2]
        for path in params
    }
    return ", ".join(f"{names[path]} {text_of(value)}" for path, value in params.items())
