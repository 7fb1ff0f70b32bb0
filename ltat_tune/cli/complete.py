"""Shell completion of studies, trials, parameter paths and space files; it never fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _quietly(
    find: Callable[[Path, str], Iterable[CompletionItem]],
) -> Completer:
    """Return a completer that proposes nothing if a folder or file cannot be read."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        out: Any = ctx.params.get("out") or Path("studies")
        try:
            return list(find(Path(out), incomplete))
        except Exception:  # a traceback in the middle of a command line helps nobody
            return []

    return complete


def _studies(out: Path, begun: str) -> Iterable[CompletionItem]:
    from ltat_tune.storage.folder import list_studies

    return [CompletionItem(name) for name in list_studies(out) if name.startswith(begun)]


def _trials(out: Path, begun: str) -> Iterable[CompletionItem]:
    """Return `study/`, then `study/scenario/`, then `study/scenario/t0003`."""
    parts = begun.split("/")
    if len(parts) == 1:
        return [CompletionItem(f"{item.value}/") for item in _studies(out, begun)]
    place = out / parts[0] / "trials"
    if len(parts) == 2:
        names = [f"{parts[0]}/{path.name}/" for path in sorted(place.iterdir())]
    else:
        folders = sorted((place / parts[1]).iterdir())
        names = [f"{parts[0]}/{parts[1]}/{path.name}" for path in folders]
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def _paths(out: Path, begun: str) -> Iterable[CompletionItem]:
    from ltat_tune.config.parameters import PARAMETERS

    return [
        CompletionItem(path, help=parameter.meaning[:60])
        for path, parameter in PARAMETERS.items()
        if path.startswith(begun)
    ]


def _terms(out: Path, begun: str) -> Iterable[CompletionItem]:
    """Return sections, then parameters and keys of a space file, for `params`."""
    from ltat_tune.config.parameters import PARAMETERS
    from ltat_tune.space.reference import SPACE_KEYS, space_sections

    sections = dict.fromkeys([*(p.partition(".")[0] for p in PARAMETERS), *space_sections()])
    keys = [(path, p.meaning[:60]) for path, p in {**PARAMETERS, **SPACE_KEYS}.items()]
    terms = [(section, "section") for section in sections]
    terms += [(path, meaning) for path, meaning in keys if path not in sections]
    return [CompletionItem(text, help=help) for text, help in terms if text.startswith(begun)]


def _by(out: Path, begun: str) -> Iterable[CompletionItem]:
    words = ("method", "loss", "model", "reweight", "data", "scenario", "study")
    items = [CompletionItem(word) for word in words if word.startswith(begun)]
    return [*items, *_paths(out, begun)]


def _settings(out: Path, begun: str) -> Iterable[CompletionItem]:
    """Return `path=` for each path that --set takes."""
    from ltat_tune.config.parameters import PARAMETERS
    from ltat_tune.space.reference import SPACE_KEYS
    from ltat_tune.space.spec import SECTIONS

    keys = [path for path in SPACE_KEYS if path.partition(".")[0] in SECTIONS]
    paths = [*PARAMETERS, "name", "budget", *keys]
    return [CompletionItem(f"{path}=") for path in paths if path.startswith(begun)]


def _spaces(out: Path, begun: str) -> Iterable[CompletionItem]:
    """Return space files, and folders that may hold them."""
    typed = Path(begun)
    place = typed if begun.endswith("/") else typed.parent
    rest = "" if begun.endswith("/") else typed.name
    items = [
        CompletionItem(f"{path}/" if path.is_dir() else str(path))
        for path in sorted(place.iterdir())
        if path.name.startswith(rest) and (rest or not path.name.startswith("."))
        and (path.is_dir() or path.suffix in (".yaml", ".yml"))
    ]  # fmt: skip
    if begun:
        return items
    here = sorted(Path("search_spaces").glob("*.yaml"))
    return [*[CompletionItem(str(path)) for path in here], *items]


def _data(out: Path, begun: str) -> Iterable[CompletionItem]:
    """Return data sets, then folders."""
    from ltat_tune.space.protocols import PROTOCOLS

    items = [CompletionItem(name) for name in PROTOCOLS if name.startswith(begun)]
    return [*items, CompletionItem(begun, type="dir")]


def _methods(out: Path, begun: str) -> Iterable[CompletionItem]:
    """Return the methods that may follow in a comma-separated list."""
    from ltat_tune.space.protocols import METHOD_STARTS

    before, comma, last = begun.rpartition(",")
    present = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{name}") for name in METHOD_STARTS
        if name.startswith(last) and name not in present
    ]  # fmt: skip


STUDY = _quietly(_studies)
TRIAL = _quietly(_trials)
TERM = _quietly(_terms)
BY = _quietly(_by)
SETTING = _quietly(_settings)
SPACE = _quietly(_spaces)
DATA = _quietly(_data)
METHOD_NAMES = _quietly(_methods)
