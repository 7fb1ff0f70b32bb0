"""The images of a study, opened before a process is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.cache import prepare_cache
from ltat_tune.data.sources import class_counts, ensure_available
from ltat_tune.errors import DataError
from ltat_tune.space.space import Space


def open_images(space: Space, cache: Path, say: Callable[[str], None]) -> list[DataConfig]:
    """Download, check and decode what any scenario needs.

    Args:
        space: the study's.
        cache: folder for the decoded images.
        say: told of what a user should know.

    Returns:
        The different data sets.

    Raises:
        DataError: with what is missing or unreadable, of every split and every scenario.
    """
    opened: dict[DataConfig, None] = {}
    problems: dict[str, None] = {}
    for config in [space.config(scenario, {}) for scenario in space.scenarios]:
        try:
            if config.data not in opened:
                opened[config.data] = None
                ensure_available(config.data)
                for note in prepare_cache(config.data, cache):
                    say(f"note: {note}")
            class_counts(config)  # of what was downloaded only now it could not be told before
        except DataError as error:
            problems[str(error)] = None
    if problems:
        raise DataError("\n".join(problems))
    return list(opened)
