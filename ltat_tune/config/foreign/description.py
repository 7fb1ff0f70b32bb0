"""The small YAML file about a checkpoint of another script: network, normalisation and names.

model: torchvision/resnet18
classes: 10
normalisation: {mean: [0.49, 0.48, 0.45], std: [0.25, 0.24, 0.26]}
keys: {encoder.: ""}
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from ltat_tune.config.fields import Section, documented, rule_sentence
from ltat_tune.config.scalars import Integer, Number
from ltat_tune.errors import ConfigError
from ltat_tune.files import read_text_file
from ltat_tune.yaml_lines import YamlProblem, read_yaml

_OTHER_FILES = ("config", "tuned")  # keys of configurations and of space files


class Normalisation(Section):
    """What a script does to images in [0, 1] before its network."""

    mean: tuple[Number, ...] = documented(..., "subtracted from each channel", min_length=1)
    std: tuple[Annotated[Number, Field(gt=0)], ...] = documented(..., "divides each channel")

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(
                "mean and std must both hold one number a channel, got "
                f"{len(self.mean)} and {len(self.std)}"
            )
        return self


class CheckpointDescription(Section):
    """A checkpoint that another script wrote.

    Attributes:
        model: `model.name`, or a mapping of `model.*` parameters such as {name: ..., width: 96}.
        classes: outputs of the network; None is those of the data.
        normalisation: outside the network; None is none.
        keys: beginnings of names in the file, and what stands in their place.
        plugins: modules that define the network.
    """

    model: dict[str, Any]
    classes: Annotated[Integer, Field(ge=2)] | None = None
    normalisation: Normalisation | None = None
    keys: dict[str, str] = {}
    plugins: tuple[str, ...] = ()

    @field_validator("model", mode="before")
    @classmethod
    def _named(cls, model: Any) -> Any:
        if isinstance(model, str):
            return {"name": model}
        if not isinstance(model, dict) or "name" not in model:
            raise ValueError(
                "must be a network such as torchvision/resnet18, or a mapping with its name, got "
                f"{model}"
            )
        return model

    @property
    def recorded(self) -> dict[str, Any]:
        """What a configuration has no parameter for, as `load_foreign` reads it."""
        data = self.model_dump(mode="json", exclude={"model", "plugins"}, exclude_defaults=True)
        return {"foreign": data} if data else {}


def description_of(model: str, mean: Any = None, std: Any = None) -> CheckpointDescription:
    """Return the description that options of a command line give.

    Raises:
        ConfigError: mean and std do not hold one number a channel each, or a std is not above 0.
    """
    values: dict[str, Any] = {"model": model}
    if mean or std:
        values["normalisation"] = {"mean": mean or (), "std": std or ()}
    try:
        return CheckpointDescription(**values)
    except ValidationError as error:
        lines = [f"--mean, --std: {rule_sentence(one)}" for one in error.errors()]
        raise ConfigError(lines) from None


def read_description(path: Path) -> CheckpointDescription | None:
    """Read a description; None if the file is a configuration or a space file of this package.

    Plugins that it names run.

    Raises:
        ConfigError: the file cannot be read, or has fields that are wrong. It lists all of them.
    """
    try:
        document, lines = read_yaml(read_text_file(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except YamlProblem as problem:
        raise ConfigError([f"{path}:{line}: {text}" for line, text in problem.problems]) from None
    if not isinstance(document, dict) or any(key in document for key in _OTHER_FILES):
        return None
    from ltat_tune.config.plugin_loader import load_plugins
    from ltat_tune.config.trial_config import TrialConfig

    problems = []
    described = None
    try:
        described = CheckpointDescription.model_validate(document)
    except ValidationError as error:
        for one in error.errors():
            at = _place(tuple(map(str, one["loc"])), lines)
            problems.append((at, _sentence(one)))
    try:
        if described is not None and described.plugins:
            load_plugins(described.plugins, beside=path.parent)
        # without its plugins, a network of a plugin is unknown
        if described is not None or not document.get("plugins"):
            TrialConfig.from_nested({"model": _model_of(document)})
    except ConfigError as error:
        at = _place(("model",), lines)
        problems += [(at, text) for text in error.problems]
    if problems:
        raise ConfigError([f"{path}:{line}: {text}" for line, text in sorted(problems)])
    return described


def keys_beside(weights: Path) -> dict[str, str]:
    """Return `keys` of the description beside a file of weights; empty if there is none.

    Raises:
        ConfigError: as `read_description`.
    """
    path = weights.with_suffix(".yaml")
    # a file of the same name need not be about names of weights at all
    if not path.is_file() or not re.search(r"(?m)^keys\s*:", path.read_text(errors="replace")):
        return {}
    described = read_description(path)
    return {} if described is None else described.keys


def _model_of(document: dict[str, Any]) -> dict[str, Any]:
    model = document.get("model")
    return model if isinstance(model, dict) else {"name": model} if isinstance(model, str) else {}


def _sentence(error: Any) -> str:
    name = ".".join(map(str, error["loc"])) or "normalisation"
    if error["type"] == "extra_forbidden":
        known = ", ".join(CheckpointDescription.model_fields)
        return f"unknown key {name}; the description of a checkpoint has {known}"
    if error["type"] == "missing":
        return f"{name} is missing; it must name the network or its numbers"
    return f"{name} {rule_sentence(error)}"


def _place(loc: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> int:
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 1)
