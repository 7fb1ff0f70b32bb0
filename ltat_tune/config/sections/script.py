"""`script.*`: a training script of the user's own, which runs as it is in place of our trainer."""

from __future__ import annotations

import re
import shlex
from typing import Any, ClassVar, Literal, Self

from pydantic import TypeAdapter, ValidationError, create_model, field_validator, model_validator
from pydantic.fields import FieldInfo

from ltat_tune.config.extensions import OpenSection
from ltat_tune.config.fields import Section, annotated, check_value, documented
from ltat_tune.config.scalars import Integer, Number

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)?)\}")
OWN_PLACES = ("folder", "checkpoint")  # placeholders that are no parameters
_GROUP = re.compile(r"\(\?P<(\w+)>")


class ScriptParameter(Section):
    """A parameter of the script, which a placeholder `{script.NAME}` hands to it."""

    default: Any = documented(..., "value where the space file gives none")
    type: Literal["float", "int"] | None = documented(
        None, "type of a number; null is float, which is written as a whole number where it is one"
    )
    meaning: str = documented("", "a phrase for `ltat-tune params`")
    flag: str | None = documented(
        None, "for true or false: what stands in the command where it is true, such as --nesterov"
    )
    choices: tuple[str, ...] = documented((), "the allowed texts; empty allows every text")
    ge: Number | None = documented(None, "smallest value")
    gt: Number | None = documented(None, "value that it must exceed")
    le: Number | None = documented(None, "largest value")
    lt: Number | None = documented(None, "value that it must stay below")

    @property
    def field(self) -> FieldInfo:
        """The parameter as a field, with the type of its default."""
        bounds = {name: getattr(self, name) for name in ("ge", "gt", "le", "lt")}
        given = {name: value for name, value in bounds.items() if value is not None}
        numeric = isinstance(self.default, int | float) and not isinstance(self.default, bool)
        more = given if numeric else {}
        info = documented(self.default, self.meaning or "a parameter of the script", **more)
        kind: Any = Literal[self.choices] if self.choices else None
        if kind is None:
            kind = bool if isinstance(self.default, bool) else str
            if numeric:
                kind = Integer if self.type == "int" else Number
        made = create_model("Own", __base__=Section, value=(kind, info))
        return made.model_fields["value"]

    @model_validator(mode="after")
    def _default_is_allowed(self) -> Self:
        if not isinstance(self.default, bool | int | float | str):
            raise ValueError(f"default must be a number, true, false or text, got {self.default}")
        _, broken = check_value(TypeAdapter(annotated(self.field)), self.default)
        if broken:
            raise ValueError(f"default {broken}")
        return self


class ScriptSpec(Section):
    """What runs the script, and how its output, its weights and its parameters are read."""

    command: str | tuple[str, ...] = documented(
        ..., "the command, or several that run one after another; {optim.lr}, {script.NAME}, "
        "{seeds.seed} and {folder} are replaced by values; no shell reads it",
    )  # fmt: skip
    checkpoint: str = documented(
        ..., "file of the weights that the script writes, such as '{folder}/last.pt'", unit="path"
    )
    metrics: str = documented(
        ..., "a regular expression with the groups (?P<epoch>..) and (?P<NAME>..) for each number "
        "that a line of output tells; or json, for one JSON object a line; or csv, for a log with "
        "a first line of names",
    )  # fmt: skip
    score: str | None = documented(
        None, "the group that is the script's own validation accuracy; null is the first one"
    )
    percent: bool = documented(True, "whether that accuracy is in percent, not a fraction")
    log: str | None = documented(
        None, "file that the script writes its numbers into; null reads its output", unit="path"
    )
    resume: str | None = documented(
        None, "arguments that continue from {checkpoint}; null starts over after an interruption"
    )
    parameters: dict[str, ScriptParameter] = documented({}, "the script's own parameters by name")
    folder: str = documented(
        ".", "folder of the script, beside the space file; the command sees its entries",
        unit="path",
    )  # fmt: skip
    outputs: tuple[str, ...] = documented(
        (), "entries of that folder that the script writes to; each training has its own"
    )
    templates: tuple[str, ...] = documented(
        (), "files with placeholders; each training gets its own copy with its values"
    )
    judge: Literal["ours", "script"] = documented(
        "ours", "whose validation counts in the epochs before the last: ours, of the checkpoint, "
        "or the script's own number",
    )  # fmt: skip
    sha256: str = documented("", "hash of the script's files; the study fills it in")

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands, one after another."""
        return (self.command,) if isinstance(self.command, str) else self.command

    @property
    def placeholders(self) -> set[str]:
        """Names in the braces of commands, paths and resume."""
        texts = [*self.commands, self.checkpoint, self.log or "", self.resume or ""]
        return {name for text in texts for name in PLACEHOLDER.findall(text)}

    @property
    def score_group(self) -> str:
        """The name of the script's own accuracy."""
        if self.score is not None:
            return self.score
        groups = [name for name in _GROUP.findall(self.metrics) if name != "epoch"]
        return groups[0] if groups else "accuracy"

    @field_validator("command")
    @classmethod
    def _can_be_split(cls, command: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for text in (command,) if isinstance(command, str) else command:
            try:
                words = shlex.split(text)
            except ValueError as error:
                raise ValueError(f"must be a command line ({error}), got {text}") from None
            if not words:
                raise ValueError("must be a command line, such as python train.py, got nothing")
        return command

    @field_validator("metrics")
    @classmethod
    def _finds_numbers(cls, metrics: str) -> str:
        if metrics in ("json", "csv"):
            return metrics
        try:
            pattern = re.compile(metrics)
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error}), got {metrics}") from None
        if not set(pattern.groupindex) - {"epoch"}:
            raise ValueError(
                "must name a group for a number, such as 'robust (?P<pgd>[0-9.]+)', or be json "
                f"or csv, got {metrics}"
            )
        return metrics

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.metrics not in ("json", "csv"):
            groups = set(re.compile(self.metrics).groupindex)
            if self.score_group not in groups:
                raise ValueError(
                    f"score must be a group of metrics ({', '.join(sorted(groups))}), "
                    f"got {self.score_group}"
                )
        elif self.score is None:
            raise ValueError(f"score must name a number of the {self.metrics} log, got null")
        if self.metrics == "csv" and self.log is None:
            raise ValueError("log must name the file when metrics is csv, got null")
        own = {name for name in self.placeholders if name.startswith("script.")}
        if strange := sorted(own - {f"script.{name}" for name in self.parameters}):
            raise ValueError(
                f"parameters must define what the command names, but {', '.join(strange)} "
                f"{'is' if len(strange) == 1 else 'are'} missing"
            )
        return self


class ScriptConfig(OpenSection):
    """The user's own training script and the values of its parameters."""

    section: ClassVar[str] = "script"

    definition: ScriptSpec | None = documented(
        None,
        "the section `script:` of the space file: a command that trains in place of our trainer",
        also=("command",),
    )

    @classmethod
    def prepared(cls, values: Any) -> Any:
        """Fill in the defaults of the script's parameters, which the definition describes."""
        definition = values.get("definition") if isinstance(values, dict) else None
        if isinstance(definition, dict):
            try:
                definition = ScriptSpec.model_validate(definition)
            except ValidationError:  # the field's own check reports it
                return values
        if not isinstance(definition, ScriptSpec):
            return values
        define_parameters(definition)
        defaults = {name: p.default for name, p in definition.parameters.items()}
        return {**defaults, **values}


def define_parameters(definition: ScriptSpec) -> None:
    """Add the script's parameters to those that space files may name."""
    from ltat_tune.config.parameters import PARAMETERS, add_parameter, forget_parameter

    for name, parameter in definition.parameters.items():
        path, field = f"script.{name}", parameter.field
        known = PARAMETERS.get(path)
        if known is None or repr(known.field) != repr(field):
            if known is not None:
                forget_parameter(path)
            add_parameter(path, field)
