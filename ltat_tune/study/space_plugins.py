"""`plugins:` of a space file: run before anything else is read, and recorded by their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.errors import ConfigError, SpaceError
from ltat_tune.registered import Plugin, parts_of
from ltat_tune.yaml_lines import Key

if TYPE_CHECKING:
    from ltat_tune.study.space import Space
    from ltat_tune.study.space_file import Report


def read_plugins(
    path: Path, document: dict[str, Any], lines: Mapping[Key, int]
) -> tuple[Plugin, ...]:
    """Runs what the space file names, and writes into `document` what was found.

    Raises:
        SpaceError: with every plugin that is missing, changed or fails.
    """
    if "plugins" not in document:
        return ()
    from ltat_tune.plugin_files import load_plugins

    try:
        plugins = load_plugins(document["plugins"], beside=path.parent)
    except ConfigError as error:
        line = lines.get(("plugins",), 1)
        raise SpaceError([f"{path}:{line}: {text}" for text in error.problems]) from error
    document["plugins"] = [plugin.as_data() for plugin in plugins]
    return plugins


def check_listed(space: Space, report: Report) -> None:
    """What a plugin brought must be among this file's, or no worker would have it."""
    for scenario in space.scenarios:
        for params in space.contexts():
            for part in parts_of(space.config(scenario, params)):
                if part.plugin not in space.plugins:
                    name = part.plugin.name if part.plugin else "MODULE"
                    report.add_about(
                        f"{part.chosen_by} {part.name} is of {part.file}, which this file does "
                        f"not name; add plugins: [{name}]",
                        names=part.chosen_by,
                    )
