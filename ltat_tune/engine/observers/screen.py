"""Draws a study's progress for a terminal, as much as its size holds, without a cut word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ltat_tune.presentation.units import clock, percent
from ltat_tune.search.predict.outlook import Outlook
from ltat_tune.search.stopping_rules import RungStanding
from ltat_tune.space.space import Space, text_of
from ltat_tune.storage.task import LOOKS, Task

_WIDE, _HIGH = 120, 30  # columns and lines from which a terminal shows every running trial in full
_FOR_EVENTS = 8  # lines of a terminal that are left to the events above
_DOING = {"trial": "trains", "copy": "trains a copy", "repeat": "trains again",
          "confirmation": "is confirmed", "test": "is tested", "part": "is tested",
          "sentinel": "is checked for masking"}  # fmt: skip


@dataclass
class RunningTask:
    """A task in a slot, as far as it has reported."""

    task: Task
    began: float  # time.monotonic()
    epoch: int = 0
    score: float | None = None  # its last
    seconds: float = 0.0  # of its epochs in this start
    epochs: int = 0  # that took these seconds
    look: str = ""  # what a test has done, `pgd20 200 of 1000 images`


@dataclass
class ScenarioProgress:
    """The counts of one scenario; `epochs` are those of the search."""

    states: Counter[str] = field(default_factory=Counter)
    begun: set[int] = field(default_factory=set)
    copies: dict[int, list[float]] = field(default_factory=dict)  # length -> scores
    epochs: int = 0
    best: float | None = None
    best_trial: str = ""
    best_params: Mapping[str, Any] = field(default_factory=dict)
    outlook: Outlook | None = None
    confirmed: int = 0
    tested: int = 0


@dataclass(frozen=True)
class ScreenState:
    """Everything that the screen shows of a study.

    Attributes:
        space: the study's space.
        progress: by scenario.
        running: by task key.
        rungs: scenario -> its rungs as they stand.
        left: seconds left of each part; empty if nobody knows yet.
        looks: task key -> seconds left of a test or sentinel that runs.
        elapsed: seconds since the start.
        phase: what the study does beside trials; empty while tasks run.
    """

    space: Space
    progress: Mapping[str, ScenarioProgress]
    running: Mapping[str, RunningTask]
    rungs: Mapping[str, Sequence[RungStanding]]
    left: Mapping[str, float]
    looks: Mapping[str, float]
    elapsed: float
    phase: str


def draw_screen(state: ScreenState, width: int, height: int) -> RenderableType:
    """Return the scenarios, the running tasks and the time left, for a terminal of this size."""
    large = width >= _WIDE and height >= _HIGH
    room = max(4, height - _FOR_EVENTS)
    parts: list[RenderableType] = [Text()]
    parts += [_scenario_table(state)] if large else _scenario_lines(state, room // 2)
    if state.running and not state.phase:
        tasks = _tasks(state, room - 6)
        parts += [Text(), _running_table(state, tasks) if large else _running_lines(state, tasks)]
    if large and not state.phase:
        parts += _best_and_rungs(state, room - len(state.progress) - len(state.running) - 6)
    return Group(*parts, Text(), _tail(state))


def changed_params(space: Space, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tuned parameters that act in a configuration and differ from the baseline's.

    Without a baseline these are all that act. The order is that of the space file.
    """
    base = space.start_from[0] if space.start_from else {}
    return {
        path: config[path] for path, domain in space.tuned.items()
        if domain.active(config) and not (path in base and base[path] == config[path])
    }  # fmt: skip


def short_params(params: Mapping[str, Any]) -> str:
    """Return parameters by their last words, such as `lr 0.1, method trades`."""
    names = {
        path: path.partition(".")[0] if path.endswith(".name") else path.rpartition(".")[2]
        for path in params
    }
    return ", ".join(f"{names[path]} {text_of(value)}" for path, value in params.items())


def _shown(state: ScreenState, most: int) -> list[str]:
    """Return the scenarios that are shown: those that run first, if there are too many."""
    names = [scenario.name for scenario in state.space.scenarios]
    if len(names) <= most:
        return names
    busy = {running.task.scenario for running in state.running.values()}
    return sorted(names, key=lambda name: name not in busy)[: max(1, most - 1)]


def _scenario_table(state: ScreenState) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    titles = ("scenario", "best so far", "running", "complete", "stopped early", "failed",
              "epochs", "confirmed", "tested", "points to come")  # fmt: skip
    for title in titles:
        table.add_column(title, justify="left" if title == "scenario" else "right", no_wrap=True)
    names = _shown(state, 12)
    for name in names:
        progress = state.progress[name]
        runs = sum(running.task.scenario == name for running in state.running.values())
        outlook = progress.outlook
        table.add_row(
            state.space.scenario(name).title, _best(progress) or "-", str(runs),
            str(progress.states["complete"]), str(progress.states["pruned"]),
            str(progress.states["failed"] + progress.states["diverged"]),
            f"{progress.epochs} of {_planned(state.space)}", str(progress.confirmed),
            str(progress.tested), "" if outlook is None else f"+{percent(outlook.gain)}",
        )  # fmt: skip
    if len(names) < len(state.progress):
        table.add_row(f"and {len(state.progress) - len(names)} more")
    return table


def _scenario_lines(state: ScreenState, most: int) -> list[RenderableType]:
    lines: list[RenderableType] = []
    names = _shown(state, max(1, most // 2))
    for name in names:
        progress, title = state.progress[name], state.space.scenario(name).title
        counts = {
            "complete": progress.states["complete"],
            "stopped early": progress.states["pruned"],
            "failed": progress.states["failed"] + progress.states["diverged"],
            "confirmed": progress.confirmed,
            "tested": progress.tested,
        }
        words = [f"best {best}"] if (best := _best(progress)) else []
        words += [f"{count} {word}" for word, count in counts.items() if count]
        words.append(f"{progress.epochs} of {_planned(state.space)} epochs")
        lines.append(Text.assemble((f"{title}: ", "bold"), ", ".join(words)))
    if len(names) < len(state.progress):
        lines.append(Text(f"and {len(state.progress) - len(names)} more scenarios", "dim"))
    return lines


def _planned(space: Space) -> int:
    return space.searcher.trials * space.searcher.seeds_per_trial * space.max_epochs


def _best(progress: ScenarioProgress) -> str:
    if progress.best is None:
        return ""
    return f"{percent(progress.best)} % ({progress.best_trial})"


def _tasks(state: ScreenState, most: int) -> list[RunningTask]:
    """Return the running tasks that are shown, the oldest first."""
    return sorted(state.running.values(), key=lambda running: running.began)[: max(1, most)]


def _running_table(state: ScreenState, tasks: Sequence[RunningTask]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    than = "changed from the baseline" if state.space.start_from else "parameters"
    for title in ("running", ""):
        table.add_column(title, no_wrap=True)
    for title in ("epoch", "score, %", "s/epoch"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(than)
    for running in tasks:
        table.add_row(
            running.task.trial if len(state.progress) > 1 else _trial(running.task),
            _doing(state, running), *_numbers(running),
            short_params(changed_params(state.space, running.task.config)) or "the baseline",
        )  # fmt: skip
    if len(tasks) < len(state.running):
        table.add_row(f"and {len(state.running) - len(tasks)} more")
    return table


def _running_lines(state: ScreenState, tasks: Sequence[RunningTask]) -> RenderableType:
    lines = []
    for running in tasks:
        epoch, score, pace = _numbers(running)
        words = [f"epoch {epoch.replace('/', ' of ')}"] if epoch else []
        words += [f"{score} %"] if score else []
        words += [f"{pace} s an epoch"] if pace else []
        text = f"{running.task.trial} {_doing(state, running)}"
        lines.append(Text(", ".join([text, *words])))
    if len(tasks) < len(state.running):
        lines.append(Text(f"and {len(state.running) - len(tasks)} more run", "dim"))
    return Group(*lines)


def _trial(task: Task) -> str:
    return f"t{task.number:04d}"


def _doing(state: ScreenState, running: RunningTask) -> str:
    task = running.task
    text = _DOING[task.kind]
    if task.kind in ("confirmation", *LOOKS):
        text = f"seed {task.config['seeds.seed']} {text}"
    if task.kind == "part":
        text += f", part {task.part} of {task.parts}"
    if running.look:
        text += f": {running.look}"
    if left := state.looks.get(task.key, 0.0):
        text += f", about {clock(left)} left"
    return text


def _numbers(running: RunningTask) -> tuple[str, str, str]:
    """Return the epoch of all epochs, the last score in percent, and the seconds an epoch."""
    if running.task.kind in LOOKS:
        return "", "", ""
    score = "" if running.score is None else percent(running.score)
    pace = f"{running.seconds / running.epochs:.2g}" if running.epochs else ""
    if running.epochs and running.seconds / running.epochs >= 10:
        pace = f"{running.seconds / running.epochs:.0f}"
    return f"{running.epoch}/{running.task.epochs}", score, pace


def _best_and_rungs(state: ScreenState, most: int) -> list[RenderableType]:
    """Return the best configuration and the rungs of each scenario, as far as there is room."""
    lines: list[RenderableType] = []
    several = len(state.progress) > 1
    for name, progress in state.progress.items():
        where = f"{name}: " if several else ""
        if progress.best is not None:
            changed = short_params(progress.best_params)
            lines.append(
                Text(f"{where}best so far {_best(progress)}: {changed or 'the baseline'}")
            )
        words = [_rung(rung) for rung in state.rungs.get(name, ()) if rung.trials]
        words += [
            f"copies of {length} epochs: {len(scores)}, the best {percent(max(scores))} %"
            for length, scores in sorted(progress.copies.items())
        ]
        if words:
            lines.append(Text(f"{where}rungs: {'; '.join(words)}", style="dim"))
    return [Text(), *lines[: max(2, most)]] if lines else []


def _rung(rung: RungStanding) -> str:
    text = f"epoch {rung.epoch}: {rung.trials} trial{'s' * (rung.trials != 1)}"
    return text if rung.threshold is None else f"{text}, below {percent(rung.threshold)} % stops"


def _tail(state: ScreenState) -> Text:
    if state.phase:
        return Text(f"{state.phase} ({clock(state.elapsed)})", style="dim")
    text = f"{clock(state.elapsed)} elapsed"
    parts = {part: seconds for part, seconds in state.left.items() if seconds >= 1}
    if parts:
        text += f", about {clock(sum(parts.values()))} left"
        if len(parts) > 1 or "search" not in parts:
            text += f": {', '.join(f'{part} {clock(s)}' for part, s in parts.items())}"
    return Text(text, style="dim")
