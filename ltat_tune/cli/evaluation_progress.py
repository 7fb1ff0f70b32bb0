"""Shows how far `ltat-tune evaluate` has come: the attack that runs, and the time left for all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ltat_tune.config.attack_names import is_slow, read_name
from ltat_tune.config.config_file import load_config
from ltat_tune.errors import LtatError
from ltat_tune.planning.cost import passes, sentinel_passes
from ltat_tune.presentation.units import clock, percent

if TYPE_CHECKING:
    from ltat_tune.evaluation.request import Request
    from ltat_tune.evaluation.targets import Target

_SENTINEL = " sentinel"
_READING_S = 1.0  # in which what an earlier run has measured is read
_LEAST_SHARE = 0.01  # of the work, before its speed says anything


class EvaluationWork:
    """The work of an evaluation in passes (planning/cost.py), as far as it is known before it.

    Args:
        targets: the models.
        request: what is measured of each.
    """

    def __init__(self, targets: Sequence[Target], request: Request) -> None:
        self._models = len(targets) * len(request.scales or (1.0,))
        self._radii, self._attacks = len(request.eps or (0.0,)), request.attacks
        self._sentinel = request.sentinel
        self._part: int | None = None  # of slow attacks
        if request.images is None:
            with suppress(LtatError):  # the model's own error comes when it is loaded
                self._part = load_config(targets[0].config)[0].evaluation.aa_images
        self._images = 0
        self._done: dict[str, float] = {}  # by title

    def add(self, title: str, done: int, total: int) -> None:
        """Note how far an attack on a model has come; its title ends with what is measured."""
        name, sentinel, _ = title.partition(_SENTINEL)
        if sentinel:
            self._done[name + sentinel] = self._of_sentinel() * done / max(1, total)
            return
        attack = next(word for word in reversed(title.split()) if read_name(word))
        self._images = max(self._images, total)  # that of clean, which is the first
        self._done[title] = passes(attack) * done

    @property
    def total(self) -> float:
        """The passes of all models, attacks and radii."""
        names = [name for name in self._attacks if name != "clean"]
        each = sum(passes(name) * self._count(name) for name in names)
        one = passes("clean") * self._images + self._radii * each
        return self._models * (one + self._sentinel * self._of_sentinel())

    @property
    def done(self) -> float:
        """The passes that are done."""
        return sum(self._done.values())

    def _count(self, attack: str) -> int:
        part = self._part if is_slow(attack) else None
        return min(part or self._images, self._images)

    def _of_sentinel(self) -> float:
        return sentinel_passes(self._images)


class _Clock:
    """Estimates the time that is left from the share of the work that is done."""

    def __init__(self) -> None:
        self._began, self._from = 0.0, -1.0

    def left(self, share: float) -> str:
        """Return `about 1:20 left`; empty until a share of some weight is done.

        What an earlier run has finished is read within moments, and says nothing of the speed.
        """
        now = time.monotonic()
        if self._from < 0 or now - self._began < _READING_S:
            self._began, self._from = self._began or now, share
        gained = share - self._from
        if gained < _LEAST_SHARE:
            return ""
        return f"about {clock((now - self._began) * (1 - share) / gained)} left"


class EvaluationBars:
    """A bar with the time left for everything, and one for the attack that runs.

    Args:
        notes: where they are drawn, if it is a terminal.
        targets: the models.
        request: what is measured of each.
    """

    def __init__(self, notes: Console, targets: Sequence[Target], request: Request) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(20),
                   TextColumn("{task.fields[text]}"))  # fmt: skip
        # without a terminal, a bar would print only an empty line
        self._is_shown = notes.is_terminal and not notes.quiet
        self._progress = Progress(
            *columns, console=notes, transient=True, disable=not self._is_shown
        )
        self._work, self._clock = EvaluationWork(targets, request), _Clock()
        self._names = [target.name for target in targets]
        self._every = self._progress.add_task("all", total=1.0, text="")
        self._title, self._bar = "", self._every

    def __enter__(self) -> EvaluationBars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Take the bars away while something is printed, which would mix with them."""
        if not self._is_shown:
            yield
            return
        self._progress.stop()
        yield
        self._progress.start()

    def on_progress(self, title: str, done: int, total: int, right: int) -> None:
        """Show how far an attack has come: images done, images in all, right answers or -1."""
        progress = self._progress
        if title != self._title:
            if self._bar != self._every:
                progress.remove_task(self._bar)
            self._title = title
            self._bar = progress.add_task(_short(title, self._names), total=total, text="")
        accuracy = "" if right < 0 or not done else f" {percent(right / done)} %"
        progress.update(self._bar, completed=done, text=f"{done}/{total}{accuracy}")
        if title == "models":  # in parallel nothing is known of the attacks
            progress.update(self._every, visible=False)
            return
        self._work.add(title, done, total)
        share = self._work.done / max(1.0, self._work.total)
        text = f"{share:.0%} {self._clock.left(share)}".strip()
        progress.update(self._every, completed=min(1.0, share), text=text)


def _short(title: str, names: Sequence[str]) -> str:
    """Return what is measured, and of which of several models, so that 80 columns hold it."""
    for place, name in enumerate(names, start=1):
        if title.startswith(f"{name} "):
            which = f"model {place} of {len(names)}: " if len(names) > 1 else ""
            return which + title.removeprefix(f"{name} ")
    return title
