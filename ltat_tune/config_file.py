"""Configuration files: written for people, read by `ltat-tune train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ltat_tune.config import TrialConfig
from ltat_tune.errors import ConfigError
from ltat_tune.study.folder import write_text
from ltat_tune.yaml_lines import YamlProblem, read_yaml


def dump_config(
    path: Path, config: TrialConfig, *, comment: str, recorded: dict[str, Any] | None = None
) -> None:
    """Writes every value of a configuration, defaults included, and the digits it once gave."""
    document: dict[str, Any] = {"config": config.model_dump(mode="json")}
    if recorded is not None:
        document["recorded"] = recorded
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    write_text(path, lines + text)


def load_config(path: Path) -> tuple[TrialConfig, dict[str, Any] | None]:
    """Reads a configuration and, if the file has them, the recorded digits.

    Raises:
        ConfigError: with every problem, each with the file and, where it is known, the line.
    """
    try:
        document, lines = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}:1: must be UTF-8 text") from None
    except YamlProblem as problem:
        raise ConfigError([f"{path}:{line}: {text}" for line, text in problem.problems]) from None
    if not isinstance(document, dict) or "config" not in document:
        remedy = "it is a space file; run it with `ltat-tune --space`" if (
            isinstance(document, dict) and "tuned" in document
        ) else "export one with `ltat-tune export`"  # fmt: skip
        raise ConfigError(f"{path}:1: a configuration file has the key config; {remedy}")
    unknown = set(document) - {"config", "recorded"}
    if unknown:
        raise ConfigError(
            f"{path}: unknown key {min(unknown)}; a configuration file has config, recorded"
        )
    try:
        config = TrialConfig.from_nested(document["config"])
    except ConfigError as error:
        raise ConfigError([_placed(path, text, lines) for text in error.problems]) from None
    return config, document.get("recorded")


def _placed(path: Path, problem: str, lines: dict[tuple[str, ...], int]) -> str:
    words = problem.replace("unknown parameter ", "").split(" ", 1)[0].rstrip(";")
    line = lines.get(("config", *words.split(".")), lines.get(("config",), 1))
    return f"{path}:{line}: {problem}"
