"""The parts of plugins that a space file uses must be of plugins that it names."""

from __future__ import annotations

from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Space


def check_listed(space: Space, problems: Problems) -> None:
    """What a plugin brought must be among this file's, or no worker would have it."""
    for _, proposals in space.configurations:
        for part in (part for _, config in proposals for part in config.parts):
            if part.plugin not in space.plugins:
                name = part.plugin.name if part.plugin else "MODULE"
                problems.add_about(
                    f"{part.chosen_by} {part.name} is of {part.file}, which this file does "
                    f"not name; add plugins: [{name}]",
                    names=part.chosen_by,
                )
