"""The files of plugins: found, compared with what was recorded, run once in a process."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltat_tune.config.extensions import LOADING, PARTS, UNDO, Plugin
from ltat_tune.errors import ConfigError, StudyError
from ltat_tune.files import copy_file

_loaded: dict[str, Plugin] = {}  # by name


def forget(plugin: Plugin) -> None:
    """Take everything of a plugin out of the tables again."""
    for key in [key for key, part in PARTS.items() if part.plugin == plugin]:
        UNDO[key]()
    _loaded.pop(plugin.name, None)


def load_plugins(entries: Any, *, beside: Path | None = None) -> tuple[Plugin, ...]:
    """Runs the plugins that a file names, unless this process has them already.

    Args:
        entries: a list of module names, or of mappings with name, file and sha256.
        beside: folder of the file that names them, where they are looked for first.

    Raises:
        ConfigError: with every plugin that is missing, changed, or fails, and why.
    """
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple):
        raise ConfigError(f"plugins must be a list of module names, got {entries!r}")
    found, problems = [], []
    for entry in entries:
        try:
            found.append(_load(*_read(entry), beside))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return tuple(dict.fromkeys(found))


def place_in(folder: Path, name: str) -> Path:
    """Where a plugin lies beside the file in `folder` that names it."""
    return folder / f"{name.replace('.', '/')}.py"


def copy_plugins(plugins: Iterable[Mapping[str, str]], folder: Path) -> dict[str, Path]:
    """Puts the files of plugins beside a configuration, where `load_plugins` looks first.

    Args:
        plugins: as `ConfigValues.plugins` has them.
        folder: of the configuration.

    Returns:
        The copies, by the plugin's name.

    Raises:
        ConfigError: a file is gone or not what it was.
        StudyError: `folder` has another file of this name.
    """
    copies = {}
    for plugin in plugins:
        name, file, sha256 = plugin["name"], Path(plugin["file"]), plugin["sha256"]
        if not file.is_file() or _hash(file) != sha256:
            raise ConfigError(
                f"plugin {name} must be what the study ran, {file} with sha256 {sha256}, but it "
                f"{'has changed' if file.is_file() else 'is gone'}; put the file back"
            )
        copy = copies[name] = place_in(folder, name)
        if copy.is_file() and _hash(copy) != sha256:
            raise StudyError(
                f"plugin {name} has no place: {copy} is another file (sha256 {_hash(copy)}, "
                f"wanted {sha256}); export to another folder with --to, or delete it"
            )
        if not copy.is_file():
            copy_file(file, copy)
    return copies


def _read(entry: Any) -> tuple[str, str, str]:
    """Name, file and hash; the last two may be empty."""
    given = {"name": entry} if isinstance(entry, str) else entry
    known = isinstance(given, dict) and set(given) <= {"name", "file", "sha256"}
    if not known or not all(isinstance(value, str) for value in given.values()):
        raise ConfigError(f"a plugin must be a module's name such as my_method, got {entry!r}")
    name = given.get("name", "")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name) or name.endswith(".py"):
        meant = Path(name).stem
        raise ConfigError(
            f"a plugin must be a module's name without path and .py, got {name!r}"
            + (f"; did you mean {meant}?" if meant.isidentifier() else "")
        )
    return name, given.get("file", ""), given.get("sha256", "")


def _load(name: str, file: str, sha256: str, beside: Path | None) -> Plugin:
    places = [place_in(beside, name)] if beside else []
    places += [Path(file)] if file else []
    there = [place for place in places if place.is_file()]
    # also where an edited file lies in the old place: a served model has its own on the path
    sought = not there or (sha256 and sha256 not in map(_hash, there))
    if sought and (installed := _installed(name)):
        there.append(installed)
    if not there:
        looked = ", ".join(str(place) for place in places)
        raise ConfigError(
            f"plugin {name} is missing: no {looked}, and no installed module of that name; put "
            f"{name.rpartition('.')[2]}.py beside the file that names it"
        )
    hashes = {place: _hash(place) for place in there}
    place = next((p for p in there if hashes[p] == sha256), there[0])
    if sha256 and hashes[place] != sha256:
        raise ConfigError(
            f"plugin {name} is not what it was: {place} has sha256 {hashes[place]}, {sha256} was "
            "recorded; put the file back, or begin anew with the changed one"
        )
    plugin = Plugin(name, str(place.resolve()), hashes[place])
    if _loaded.get(name) != plugin:
        if name in _loaded:  # edited, or another study's
            forget(_loaded[name])
        _run(plugin)
        _loaded[name] = plugin
    return plugin


def _installed(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _hash(place: Path) -> str:
    return hashlib.sha256(place.read_bytes()).hexdigest()[:16]


def _run(plugin: Plugin) -> None:
    """Raises: ConfigError for whatever the plugin's code raises; nothing of it stays then."""
    own = f"_ltat_tune_plugin_{plugin.name.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(own, plugin.file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # where inspect and dataclasses look for it
    LOADING.append(plugin)
    try:
        # not the loader's cache: a file that was edited within its second would stay as it was
        exec(compile(Path(plugin.file).read_bytes(), plugin.file, "exec"), vars(module))
        if not any(part.plugin == plugin for part in PARTS.values()):
            raise ConfigError("it registers nothing; call register_method or one of its kind")
    except (Exception, SystemExit) as error:
        forget(plugin)
        del sys.modules[own]
        found = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in found if frame.filename == plugin.file]
        lines += [error.lineno] if isinstance(error, SyntaxError) else []
        at = f"{plugin.file}:{lines[-1]}" if lines else plugin.file
        if isinstance(error, ConfigError):
            raise ConfigError([f"plugin {at}: {text}" for text in error.problems]) from error
        said = error.msg if isinstance(error, SyntaxError) else error
        raise ConfigError(
            f"plugin {plugin.name} cannot run: {at}: {type(error).__name__}: {said}"
        ) from error
    finally:
        LOADING.pop()
