"""Finds plugin files, compares them with recorded hashes, and runs each once per process."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltat_tune.config.extensions import LOADING, PARTS, UNDO, Plugin
from ltat_tune.config.foreign.builders import add_builders
from ltat_tune.config.foreign.operators import import_beside_torch
from ltat_tune.errors import ConfigError, StudyError
from ltat_tune.files import copy_file

_loaded: dict[str, Plugin] = {}  # by name


def loaded() -> tuple[Plugin, ...]:
    """Return the plugins that this process has run."""
    return tuple(_loaded.values())


def forget(plugin: Plugin) -> None:
    """Remove everything that a plugin has registered from the tables."""
    for key in [key for key, part in PARTS.items() if part.plugin == plugin]:
        UNDO[key]()
    _loaded.pop(plugin.name, None)


def load_plugins(entries: Any, *, beside: Path | None = None) -> tuple[Plugin, ...]:
    """Run the plugins that a file names, unless this process has loaded them already.

    Args:
        entries: a list of module names, or of mappings with name, file and sha256.
        beside: folder of the file that names them. It is searched first.

    Raises:
        ConfigError: a plugin is missing, has changed or fails. The error lists all of them.
    """
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple):
        raise ConfigError(f"plugins must be a list of module names, got {entries!r}")
    plugins, problems = [], []
    for entry in entries:
        try:
            plugins.append(_load(*_read(entry), beside))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return tuple(dict.fromkeys(plugins))


def place_in(folder: Path, name: str) -> Path:
    """Return the path of a plugin that lies beside the file in `folder` that names it."""
    return folder / f"{name.replace('.', '/')}.py"


def copy_plugins(plugins: Iterable[Mapping[str, str]], folder: Path) -> dict[str, Path]:
    """Copy the files of plugins beside a configuration, where `load_plugins` looks first.

    Args:
        plugins: plugins as `ConfigValues.plugins` returns them.
        folder: folder of the configuration.

    Returns:
        The paths of the copies by the plugin's name.

    Raises:
        ConfigError: a file is missing or has changed.
        StudyError: `folder` holds a different file of this name.
    """
    copies = {}
    for plugin in plugins:
        name, file, sha256 = plugin["name"], Path(plugin["file"]), plugin["sha256"]
        if not file.is_file() or _hash(file) != sha256:
            raise ConfigError(
                f"plugin {name} must be the file that the study ran, {file} with sha256 {sha256}, "
                f"but it {'has changed' if file.is_file() else 'is missing'}; restore the file"
            )
        copy = copies[name] = place_in(folder, name)
        if copy.is_file() and _hash(copy) != sha256:
            raise StudyError(
                f"plugin {name} cannot be copied: {copy} must have sha256 {sha256}, got another "
                f"file (sha256 {_hash(copy)}); export to another folder with --to, or delete it"
            )
        if not copy.is_file():
            copy_file(file, copy)
    return copies


_LONGEST = 200  # characters of a module's name; file systems end at 255 bytes


def _read(entry: Any) -> tuple[str, str, str]:
    """Return the name, file and hash of an entry. File and hash may be empty."""
    mapping = {"name": entry} if isinstance(entry, str) else entry
    is_entry = isinstance(mapping, dict) and set(mapping) <= {"name", "file", "sha256"}
    if not is_entry or not all(isinstance(value, str) for value in mapping.values()):
        raise ConfigError(f"a plugin must be a module's name such as my_method, got {entry!r}")
    name = mapping.get("name", "")
    is_name = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name) and len(name) <= _LONGEST
    if not is_name or name.endswith(".py"):
        name = name if len(name) <= _LONGEST else f"{name[:40]}... ({len(name)} characters)"
        meant = Path(name).stem
        raise ConfigError(
            f"a plugin must be a module's name without a path and .py, got {name!r}"
            + (f"; did you mean {meant}?" if meant.isidentifier() else "")
        )
    return name, mapping.get("file", ""), mapping.get("sha256", "")


def _load(name: str, file: str, sha256: str, beside: Path | None) -> Plugin:
    places = [place_in(beside, name)] if beside else []
    places += [Path(file)] if file else []
    candidates = [place for place in places if place.is_file()]
    # Also searched if an edited file lies in the old place: a served model has its own copy.
    unmatched = not candidates or (sha256 and sha256 not in map(_hash, candidates))
    if unmatched and (installed := _installed(name)):
        candidates.append(installed)
    if not candidates:
        searched = [*map(str, places), "installed module of that name"]
        raise ConfigError(
            f"plugin {name} is missing: there is no {' and no '.join(searched)}; put "
            f"{name.rpartition('.')[2]}.py beside the file that names it"
        )
    hashes = {place: _hash(place) for place in candidates}
    place = next((p for p in candidates if hashes[p] == sha256), candidates[0])
    if sha256 and hashes[place] != sha256:
        raise ConfigError(
            f"plugin {name} has changed: {place} must have the recorded sha256 {sha256}, got "
            f"{hashes[place]}; restore the file, or start a new study with the changed one"
        )
    plugin = Plugin(name, str(place.resolve()), hashes[place])
    if _loaded.get(name) != plugin:
        if name in _loaded:  # the file was edited, or it belongs to another study
            forget(_loaded[name])
        _run(plugin)
        _loaded[name] = plugin
    return plugin


def _make_torchvision_importable() -> None:
    """Import torchvision before a plugin does, beside a torch that it was not compiled for."""
    with suppress(ImportError, OSError, RuntimeError):  # the plugin's own import says what fails
        import_beside_torch("torchvision")


def _installed(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _hash(place: Path) -> str:
    return hashlib.sha256(place.read_bytes()).hexdigest()[:16]


def _run(plugin: Plugin) -> None:
    """Run a plugin's code.

    Raises:
        ConfigError: the code raised an exception. Everything that it registered is removed.
    """
    own = f"_ltat_tune_plugin_{plugin.name.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(own, plugin.file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # where inspect and dataclasses look for it
    LOADING.append(plugin)
    try:
        # The import system's cache would miss a file that was edited within the same second.
        code = Path(plugin.file).read_bytes()
        compiled = compile(code, plugin.file, "exec")
        if re.search(rb"\b(torchvision|timm)\b", code):
            _make_torchvision_importable()
        exec(compiled, vars(module))
        add_builders(plugin, own, vars(module))
        if not any(part.plugin == plugin for part in PARTS.values()):
            raise ConfigError(
                "it registers nothing; call register_method or a similar function, or define a "
                "function with the argument num_classes that builds a network"
            )
    except (Exception, SystemExit) as error:
        forget(plugin)
        del sys.modules[own]
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == plugin.file]
        lines += [error.lineno] if isinstance(error, SyntaxError) else []
        at = f"{plugin.file}:{lines[-1]}" if lines else plugin.file
        if isinstance(error, ConfigError):
            raise ConfigError([f"plugin {at}: {text}" for text in error.problems]) from error
        message = error.msg if isinstance(error, SyntaxError) else error
        raise ConfigError(
            f"plugin {plugin.name} cannot run: {at}: {type(error).__name__}: {message}"
        ) from error
    finally:
        LOADING.pop()
