"""Loads a space file to run it, and reports all of its problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltat_tune.errors import ConfigError
from ltat_tune.preflight.effects import check_space
from ltat_tune.preflight.plugins import check_listed
from ltat_tune.preflight.searcher import check_fresh_seeds, check_search
from ltat_tune.preflight.smoke import make_smoke
from ltat_tune.preflight.warm_start import with_warm_start
from ltat_tune.search.quota import with_quota
from ltat_tune.search.rungs import with_cheap_copies
from ltat_tune.space.overrides import apply_overrides
from ltat_tune.space.problems import Problems
from ltat_tune.space.reader import build_space, read_document, read_plugins
from ltat_tune.space.space import Space


def load_space(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    check_machine: bool = True,
    allow_inert: bool = False,
    smoke: bool = False,
    cluster: bool = False,
    options: Mapping[str, str] | None = None,
) -> Space:
    """Read and check a space file before anything starts.

    Args:
        path: the YAML file.
        overrides: `path=value` assignments that replace what the file says.
        check_machine: also check data and resources, which depend on this machine.
        allow_inert: for a study that exists: note tuned parameters without effect instead of
            refusing them, and accept the seeds that its confirmations have.
        smoke: check the file as written, then make it so small that it runs at once.
        cluster: trials run on a cluster's nodes, so this machine's resources are no limit.
        options: path -> the command's option that replaced it, which a problem then names.

    Raises:
        SpaceError: with every problem at once.
    """
    path = Path(path)
    document, lines = read_document(path)
    plugins = read_plugins(path, document, lines)
    overridden, unheard = apply_overrides(document, overrides)

    def checked(document: dict[str, Any], machine: bool, inert: bool) -> Space:
        problems = Problems(str(path), lines, overridden, unheard, options)
        space = with_warm_start(build_space(document, path.stem, problems), problems)
        problems.raise_if_any()
        _check_configurations(space, problems)
        space, unfair = with_quota(space)
        space = replace(with_cheap_copies(space), plugins=plugins)
        check_listed(space, problems)
        problems.raise_if_any()
        notes = [
            *(plugin.note for plugin in plugins),
            *space.notes,
            *filter(None, [unfair]),
            *check_search(space, problems),
        ]
        if not inert:
            check_fresh_seeds(space, problems)
        notes += check_space(
            space, problems, check_machine=machine, allow_inert=inert, cluster=cluster
        )
        problems.raise_if_any()
        return replace(space, notes=tuple(notes))

    if not smoke:
        return checked(document, check_machine, allow_inert)
    whole = checked(document, False, allow_inert)
    document, what = make_smoke(document, whole, overridden)
    document.pop("budget", None)
    document.pop("warm_start", None)  # two trials try out the file, not an earlier study
    small = checked(document, check_machine, True)  # two epochs may hide any effect
    return replace(small, smoke=what, notes=(what, *small.notes))


def _check_configurations(space: Space, problems: Problems) -> None:
    """Raise SpaceError with every rule that a proposed configuration breaks."""
    try:
        _ = space.configurations
        return
    except ConfigError:
        pass  # this is only the first problem; the loop below collects all of them
    for scenario in space.scenarios:
        for params in space.contexts():
            try:
                space.config(scenario, params)
            except ConfigError as error:
                for problem in error.problems:
                    problems.add_about(problem)
    problems.raise_if_any()
