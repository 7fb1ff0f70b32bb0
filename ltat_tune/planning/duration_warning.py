"""A word to whoever starts a study that will take days."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from ltat_tune.errors import DataError
from ltat_tune.planning.estimate import duration, estimate
from ltat_tune.space.space import Space

LONG_HOURS = 24.0  # what takes longer says so
_TOLD_AFTER_S = 20.0  # of the study's start


def too_long(space: Space, *, slots: int | None = None) -> list[str]:
    """Notes on a study that will take longer than a day here, with what would make it shorter.

    Nothing where it takes less, or where that cannot be told before its images are here.
    """
    try:
        found = estimate(space, slots=slots)
    except DataError:
        return []
    if found.hours <= LONG_HOURS:
        return []
    where = f"{found.gpus} GPU(s)" if found.gpu else f"{found.slots} trials at once on CPUs"
    return [
        f"this study is expected to take about {duration(found.hours)} on {where} (at most "
        f"{duration(found.hours_at_most)}; a rule of thumb: `ltat-tune plan FILE --measure` "
        "measures)",
        "shorter: " + "; ".join(f"{how} about {duration(h)}" for how, h in _shorter(space))
        + "; a smaller model.name or model.width, more GPUs, or an end that you choose: "
        "--budget 24h",
    ]  # fmt: skip


@contextlib.contextmanager
def said_if_too_long(space: Space, slots: int, say: Callable[[str], None]) -> Iterator[None]:
    """Says the notes of `too_long` before the inside begins.

    To count a network's work torch is imported. A study of the small CNN alone, which starts
    within seconds, does not wait for that: there a thread says them after a while, unless the
    inside is over by then.
    """

    def tell() -> None:
        for note in too_long(space, slots=max(1, slots)):
            say(f"note: {note}")

    if not _starts_in_seconds(space):
        tell()
        yield
        return
    timer = threading.Timer(_TOLD_AFTER_S, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _starts_in_seconds(space: Space) -> bool:
    configs = [space.config(scenario, {}) for scenario in space.scenarios]
    return "model.name" not in space.tuned and all(c.model.name == "small_cnn" for c in configs)


def _shorter(space: Space) -> list[tuple[str, float]]:
    """Changes that the command line makes, and the hours with each."""
    searcher, epochs = space.searcher, space.max_epochs
    changes: dict[str, Space] = {}
    if not space.searcher.enumerates and searcher.trials > 1:
        half = searcher.model_copy(update={"trials": searcher.trials // 2})
        changes[f"--trials {half.trials}"] = replace(space, searcher=half)
    if epochs > 1:
        fewer = epochs // 2
        fixed = {**space.fixed, "optim.epochs": fewer}
        changes[f"--set optim.epochs={fewer}"] = replace(space, fixed=fixed)
    if space.scheduler.rungs != "copy" and not searcher.enumerates:
        copies = space.scheduler.model_copy(update={"name": "asha", "rungs": "copy"})
        changes["--set scheduler.rungs=copy"] = replace(space, scheduler=copies)
    if searcher.branches == 1 and not searcher.enumerates:
        branches = searcher.model_copy(update={"branches": 4})
        changes["--set searcher.branches=4"] = replace(space, searcher=branches)
    now, found = estimate(space).hours, []
    for how, changed in changes.items():
        hours = estimate(changed).hours
        if hours < 0.95 * now:
            found.append((how, hours))
    return found
