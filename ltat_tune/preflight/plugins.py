"""Checks that a space file lists every plugin whose parts it uses."""

from __future__ import annotations

from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Space


def check_listed(space: Space, problems: Problems) -> None:
    """Refuse parts of plugins that the file does not list, which no worker would have."""
    for _, proposals in space.configurations:
        for part in (part for _, config in proposals for part in config.parts):
            if part.plugin not in space.plugins:
                name = part.plugin.name if part.plugin else "MODULE"
                problems.add_about(
                    f"{part.chosen_by} {part.name} comes from {part.file}, which this file does "
                    f"not list; add plugins: [{name}]",
                    names=part.chosen_by,
                )
