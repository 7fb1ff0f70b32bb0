"""Options that describe a checkpoint: its configuration, or network and normalisation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from ltat_tune.cli import words

if TYPE_CHECKING:
    from ltat_tune.config.foreign.description import CheckpointDescription

_Command = TypeVar("_Command", bound=Callable[..., Any])


def of_checkpoint(command: _Command) -> _Command:
    """Add `--config`, `--model`, `--mean` and `--std`."""
    options = (
        click.option("--config", metavar="CONFIG", type=click.Path(path_type=Path),
                     help="Configuration of CHECKPOINT, or the description of one that another "
                     "script wrote  [default: the YAML file beside it]."),
        click.option("--model", metavar="NAME", help="Network of a CHECKPOINT that another script "
                     "wrote, such as torchvision/resnet18."),
        words.listed_text("--mean", metavar="NUMBER", help="Subtracted from each channel before "
                          "its network, such as 0.49,0.48,0.45  [default: 0]."),
        words.listed_text("--std", metavar="NUMBER", help="Divides each channel before its "
                          "network  [default: 1]."),
    )  # fmt: skip
    decorated: Any = command
    for option in reversed(options):
        decorated = option(decorated)
    return cast(_Command, decorated)


def described_checkpoint(
    model: str | None, config: Path | None, mean: str | None, std: str | None
) -> tuple[CheckpointDescription | None, Path | None]:
    """Return the description that the options give, or else the configuration.

    Raises:
        ConfigError: the options contradict each other, or a value is wrong.
    """
    from ltat_tune.config.foreign.description import description_of, read_description
    from ltat_tune.errors import ConfigError

    if model is not None and config is not None:
        raise ConfigError("--model and --config describe the same, so give one of the two")
    if model is None and (mean or std):
        raise ConfigError("--mean and --std need --model; a file of --config has normalisation")
    if model is not None:
        numbers = _channels("--mean", mean), _channels("--std", std)
        return description_of(model, *numbers), None
    described = read_description(config) if config is not None and config.is_file() else None
    return described, config if described is None else None


def _channels(option: str, text: str | None) -> tuple[float, ...]:
    """Return one number for each channel; empty if none are given."""
    from ltat_tune.errors import ConfigError

    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise ConfigError(f"{option} must be numbers such as 0.49,0.48,0.45, got {text}") from None
