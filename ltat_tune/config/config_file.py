"""Human-readable configuration files, which `ltat-tune train` reads."""

from __future__ import annotations

import re
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml

from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.config.scalars import shown
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError
from ltat_tune.files import read_text_file, write_text
from ltat_tune.yaml_lines import YamlProblem, read_yaml

_KEYS = ("config", "plugins", "recorded")


def dump_config(
    path: Path, config: TrialConfig, *, comment: str, recorded: dict[str, Any] | None = None
) -> None:
    """Write every value of a configuration, including defaults, and the digits it once gave."""
    plugins = config.plugins
    document: dict[str, Any] = {"plugins": plugins} if plugins else {}
    document["config"] = config.model_dump(mode="json")
    if recorded is not None:
        document["recorded"] = recorded
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    write_text(path, lines + text)


def load_config(path: Path) -> tuple[TrialConfig, dict[str, Any] | None]:
    """Read a configuration and, if the file has them, the recorded digits.

    Raises:
        ConfigError: the file has problems. The error lists all of them, each with the file and, if
            known, the line.
    """
    try:
        document, lines = read_yaml(read_text_file(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: must be UTF-8 text: {error.reason}") from None
    except YamlProblem as problem:
        raise ConfigError([f"{path}:{line}: {text}" for line, text in problem.problems]) from None
    if not isinstance(document, dict) or "config" not in document:
        remedy = "it is a space file; run it with `ltat-tune run`" if (
            isinstance(document, dict) and "tuned" in document
        ) else "export one with `ltat-tune export`"  # fmt: skip
        raise ConfigError(f"{path}:1: a configuration file has the key config; {remedy}")
    problems = [
        f"{path}:{lines[key,]}: unknown key {key}; a configuration file has {', '.join(_KEYS)}"
        for key in document
        if key not in _KEYS
    ]
    recorded = document.get("recorded")
    if not isinstance(recorded, dict | None):
        problems.append(
            f"{path}:{lines['recorded',]}: recorded must be a mapping, got {shown(recorded)}; "
            "leave it out to train without comparing"
        )
    if problems:
        raise ConfigError(problems)
    if "plugins" in document:
        try:
            load_plugins(document["plugins"], beside=path.parent)
        except ConfigError as error:
            at = lines["plugins",]
            raise ConfigError([f"{path}:{at}: {text}" for text in error.problems]) from error
    try:
        config = TrialConfig.from_nested(document["config"])
    except ConfigError as error:
        placed = sorted(((_line(text, lines), text) for text in error.problems), key=itemgetter(0))
        raise ConfigError([f"{path}:{line}: {text}" for line, text in placed]) from None
    return config, recorded


def _line(problem: str, lines: dict[tuple[str, ...], int]) -> int:
    """Return the line of the first parameter or section in `problem` that the file contains."""
    names = [("config", *name.split(".")) for name in re.findall(r"\w+(?:\.\w+)?", problem)]
    return next((lines[name] for name in names if name in lines), lines["config",])
