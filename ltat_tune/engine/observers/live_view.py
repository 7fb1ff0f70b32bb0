"""Shows a study's progress: a live screen on a terminal, elsewhere a plain line for each event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from ltat_tune.engine.observers.observer import Observer
from ltat_tune.engine.observers.screen import (
    RunningTask,
    ScenarioProgress,
    ScreenState,
    changed_params,
    draw_screen,
    short_params,
)
from ltat_tune.engine.observers.time_left import TimeLeft
from ltat_tune.presentation.names import as_the_script_says
from ltat_tune.presentation.units import percent
from ltat_tune.results.wording import masking_line
from ltat_tune.search.predict.outlook import Outlook
from ltat_tune.search.stopping_rules import RungStanding
from ltat_tune.space.space import Space
from ltat_tune.storage.task import SEARCH, Outcome, Task
from ltat_tune.storage.training_files import read_masking, read_test

_SYMBOLS = {"complete": "✓", "pruned": "■", "failed": "✗", "diverged": "✗"}
Standings = Callable[[str], Sequence[RungStanding]]  # of a scenario's rungs


class LiveView(Observer):
    """Shows a study's progress on stderr.

    Events stay above the live screen, in the terminal's scrollback.

    Args:
        space: the study's space.
        console: where to write; a terminal gets the live screen.
        quiet: show nothing.
        slots: how many tasks run at once, to estimate the time left.
        plain: print a line for each event on a terminal too, so that a debugger can use it.
    """

    def __init__(
        self, space: Space, console: Console, *, quiet: bool, slots: int, plain: bool = False
    ) -> None:
        self._plain = plain
        self._space, self._console, self._quiet, self._slots = space, console, quiet, slots
        self._progress = {s.name: ScenarioProgress() for s in space.scenarios}
        self._running: dict[str, RunningTask] = {}
        self._said: dict[str, bool] = {}  # task -> whether its last number is its script's own
        self._time = TimeLeft(space)
        self._began = time.monotonic()
        self._live: Live | None = None
        self._phase = "starting"
        self._standings: Standings = lambda scenario: ()

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
            self._console.print(Text(text), soft_wrap=self._live is None)

    def phase(self, text: str) -> None:
        """Show what the study does now, before its first trial and after its last."""
        self._phase = text
        if self._live is None:
            self.say(text)

    def stop(self) -> None:
        """Show that the study stops; a signal handler may call this, so it prints nothing."""
        self._phase = "stopping; a resume goes on from the last checkpoints"

    def follow(self, standings: Standings) -> None:
        """Show the rungs from now on; the function returns those of a scenario."""
        self._standings = standings

    def restore(self, task: Task, state: str, epochs: int, score: float | None) -> None:
        """Count a trial that an earlier start finished; a doubted one has no score."""
        progress = self._progress[task.scenario]
        progress.states[state] += 1
        progress.epochs += epochs
        self._time.restore_trial(task.scenario, epochs)
        if state == "complete":
            self._see(task, score)

    def restore_look(self, task: Task, kind: str) -> None:
        """Count a confirmation, a test or a sentinel that an earlier start finished."""
        progress = self._progress[task.scenario]
        progress.confirmed += kind == "confirmation"
        progress.tested += kind == "test"
        self._time.restore(task.scenario, kind)

    def resize(self, slots: int) -> None:
        """Set how many tasks run at once from now on, to estimate the time left."""
        self._slots = max(1, slots)

    # -- Observer -------------------------------------------------------------------------------

    def on_start(self, task: Task) -> None:
        """Show a running task, and announce a trial's first."""
        self._phase = ""
        progress = self._progress[task.scenario]
        begins = task.number not in progress.begun and task.kind in SEARCH
        if self._live is not None:
            self._time.start(task)
        self._running[task.key] = RunningTask(task, time.monotonic())
        if begins:
            progress.begun.add(task.number)
            tuned = self._space.tuned  # in the order of the space file
            chosen = {p: task.config[p] for p, d in tuned.items() if d.active(task.config)}
            self.say(f"{task.trial} started: {short_params(chosen)}")

    def on_epoch(self, task: Task, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        """Count an epoch that a task finished."""
        self._time.epoch(task, seconds)
        running = self._running.setdefault(task.key, RunningTask(task, time.monotonic()))
        running.epoch, running.epochs = epoch, running.epochs + 1
        running.seconds += seconds
        running.score = metrics.get(self._space.objective.metric, running.score)
        if self._space.objective.metric in metrics:
            self._said[task.key] = as_the_script_says(metrics)
        if task.kind in SEARCH:
            self._progress[task.scenario].epochs += 1

    def on_look(self, task: Task, what: str, done: int, total: int) -> None:
        """Show how far a test or a sentinel has come."""
        self._time.look(task, what, done, total)
        if (running := self._running.get(task.key)) is not None:
            unit = "attacks" if task.kind == "sentinel" else "images"
            running.look = f"{what} {done} of {total} {unit}".strip()

    def on_retry(self, task: Task, why: str) -> None:
        """Show why a task's worker stopped or is stopped."""
        self.say(f"{task.title}: {why}")

    def on_stage_end(self, task: Task, outcome: Outcome) -> None:
        """Show the score of a trial's copy or seed that ended."""
        self._running.pop(task.key, None)
        score = (outcome.metrics or {}).get(self._space.objective.metric)
        if score is not None and task.kind == "copy":
            self._progress[task.scenario].copies.setdefault(task.epochs, []).append(score)
        if score is not None:
            self.say(f"{task.title}: {percent(score)} % {self._space.objective.metric}")

    def on_note(self, text: str) -> None:
        """Show a note."""
        self.say(f"note: {text}")

    def on_end(self, task: Task, outcome: Outcome) -> None:
        """Count and show the end of a task."""
        progress = self._progress[task.scenario]
        self._running.pop(task.key, None)
        self._time.end(task, outcome)
        symbol = _SYMBOLS[outcome.state]
        if task.kind == "trial":
            progress.states[outcome.state] += 1
            score = (outcome.metrics or {}).get(self._space.objective.metric)
            if outcome.state == "complete" and score is not None:
                doubt = f", behind every credible trial: its score is {outcome.cause}"
                if not outcome.reason:
                    self._see(task, score)
                self.say(
                    f"{symbol} {task.title} complete: {percent(score)} % "
                    f"{self._space.objective.metric}{doubt if outcome.reason else ''}"
                )
            elif outcome.state == "pruned":
                why = f": {outcome.reason}" if outcome.reason else f" after epoch {outcome.epoch}"
                said = ", as the script says" if self._said.get(task.key) else ""
                self.say(f"{symbol} {task.title} stopped early{why}{said}")
            else:
                self.say(f"{symbol} {task.title} {outcome.state}: {outcome.cause}")
            return
        if outcome.state != "complete":
            self.say(f"{symbol} {task.title} {outcome.state}: {outcome.cause}")
        elif task.kind == "part":
            self.say(f"{symbol} {task.title} measured ({outcome.seconds:.0f} s)")
        elif task.kind == "confirmation":
            progress.confirmed += 1
            score = (outcome.metrics or {}).get(self._space.objective.metric, 0.0)
            self.say(
                f"{symbol} {task.title} confirmed: {percent(score)} % "
                f"{self._space.objective.metric}"
            )
        elif task.kind == "sentinel":
            report = read_masking(task.path)
            line = masking_line(report) if report is not None else "not checked"
            self.say(f"{symbol} {task.title}: gradient masking {line} ({outcome.seconds:.0f} s)")
        else:
            progress.tested += 1
            measured = read_test(task.path)
            images = {} if measured is None else measured.images
            accuracies = ", ".join(
                f"{a} {percent((outcome.metrics or {}).get(f'test/{a}_acc', 0.0))} %"
                + (f" of {images[a]}" if a in images else "")
                for a in task.attacks
            )
            self.say(
                f"{symbol} {task.title} tested: {accuracies} images ({outcome.seconds:.0f} s)"
            )

    def on_outlook(self, scenario: str, outlook: Outlook) -> None:
        """Show what the rest of a search is expected to bring."""
        self._progress[scenario].outlook = outlook
        where = "" if len(self._progress) == 1 else f"{self._space.scenario(scenario).title}: "
        self.say(f"{where}{outlook.sentence}")

    # -- drawing --------------------------------------------------------------------------------

    def render(self) -> RenderableType:
        """Return the live screen for the terminal's present size."""
        running = dict(self._running)  # the driver's thread changes it
        state = ScreenState(
            space=self._space,
            progress=self._progress,
            running=running,
            rungs={name: self._standings(name) for name in self._progress},
            left=self._time.parts(self._slots),
            looks={key: self._time.left_of(one.task) for key, one in running.items()},
            elapsed=time.monotonic() - self._began,
            phase=self._phase,
        )
        return draw_screen(state, *self._console.size)

    def _see(self, task: Task, score: float | None) -> None:
        progress = self._progress[task.scenario]
        if score is not None and (progress.best is None or score > progress.best):
            progress.best, progress.best_trial = score, f"t{task.number:04d}"
            progress.best_params = changed_params(self._space, task.config)
