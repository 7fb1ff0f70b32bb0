"""Opens the images of a study before the study starts a process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ltat_tune.config.sections import DataConfig
from ltat_tune.data.cache import prepare_cache
from ltat_tune.data.sources import class_counts, ensure_available
from ltat_tune.errors import DataError
from ltat_tune.space.space import Space


def open_images(space: Space, cache: Path, say: Callable[[str], None]) -> list[DataConfig]:
    """Download, check and decode the images of every scenario.

    Args:
        space: the study's space.
        cache: folder for the decoded images.
        say: called with each note for the user.

    Returns:
        The different data sets.

    Raises:
        DataError: names every missing or unreadable image of every split and scenario.
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
            class_counts(config)  # a data set downloaded only now could not be counted before
        except DataError as error:
            problems[str(error)] = None
    if problems:
        raise DataError("\n".join(problems))
    return list(opened)
