"""The parts that plugins have added to the package's tables in this process.

The tables are empty until a plugin is loaded. The package never searches for plugins by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_args

from pydantic import (
    ConfigDict,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from ltat_tune.config.fields import Section, check_value


@dataclass(frozen=True)
class Plugin:
    """A user's module: its name, its file, and the hash of the file's content."""

    name: str
    file: str
    sha256: str  # the first 16 digits

    def as_data(self) -> dict[str, str]:
        """Return name, file and sha256, as a study and an exported configuration record them."""
        return dict(vars(self))

    @property
    def note(self) -> str:
        """A notice that the plugin's code runs."""
        return f"plugin {self.name} runs code of {self.file} (sha256 {self.sha256})"


@dataclass(frozen=True)
class Part:
    """A method, loss, model or data set from outside the package.

    Attributes:
        chosen_by: the parameter that chooses the part, such as `method.name`.
        name: the value that chooses it.
        file: the file that defines it.
        plugin: the plugin that registered it; None if a notebook's cell registered it by hand.
        defaults: the defaults of its own parameters by dotted path.
        ignores: parameters of its section that other parts of its kind read and this one does not.
        trains: whether it is a training function, which takes the place of our training.
    """

    chosen_by: str
    name: str
    file: str
    plugin: Plugin | None
    defaults: Mapping[str, Any]
    ignores: tuple[str, ...] = ()
    trains: bool = False


_FUNCTION = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"  # MODULE:FUNCTION

PARTS: dict[tuple[str, str], Part] = {}  # by chosen_by and name
FIELDS: dict[str, TypeAdapter[Any]] = {}  # checks of plugins' parameters, by dotted path
UNDO: dict[tuple[str, str], Callable[[], None]] = {}  # functions that remove a part everywhere
LOADING: list[Plugin] = []  # the plugin whose code runs now, if any


def extension_names(chosen_by: str) -> list[str]:
    """Return the values that plugins have added to `method.name`, `loss.name` and so on."""
    return [name for path, name in PARTS if path == chosen_by]


class Extensible:
    """Marks a `Literal` whose values plugins may add to: `Annotated[Literal[...], Extensible(p)]`.

    Args:
        path: the parameter's dotted path.
        also: pattern of further values, which another library or a user's module defines.
        unlisted: sentence about such a value that is not known here, with the place `{value}`.
    """

    def __init__(self, path: str, *, also: str = "", unlisted: str = "") -> None:
        self._path = path
        self._also = also
        self._unlisted = unlisted

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        own = get_args(source)

        def check(value: Any) -> str:
            choices = [*own, *extension_names(self._path)]
            if isinstance(value, str) and value in choices:
                return value
            if self._also and isinstance(value, str) and re.fullmatch(self._also, value):
                return value
            if self._unlisted and isinstance(value, str) and re.search("[/:]", value):
                reason = self._unlisted.format(value=value, module=value.partition(":")[0])
                raise PydanticCustomError("value_error", "{error}", {"error": reason})
            expected = ", ".join(choices)
            raise PydanticCustomError(
                "literal_error", "must be one of {expected}", {"expected": expected}
            )

        listed: CoreSchema = core_schema.literal_schema(list(own))
        if self._also:
            # an editor cannot know the functions of a user's module
            others = core_schema.str_schema(pattern=f"^({self._also}|{_FUNCTION})$")
            listed = core_schema.union_schema([listed, others])
        return core_schema.no_info_plain_validator_function(check, json_schema_input_schema=listed)


class OpenSection(Section):
    """A section that may hold, besides its own parameters, those of plugins, and no others."""

    model_config = ConfigDict(extra="allow")

    section: ClassVar[str]

    @classmethod
    def prepared(cls, values: Any) -> Any:
        """Return the values as they are checked; a section may fill in what depends on others."""
        return values

    @model_validator(mode="wrap")
    @classmethod
    def _knows_all(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        values = cls.prepared(values)
        if not isinstance(values, Mapping) or not set(values) - set(cls.model_fields):
            return handler(values)
        checked, problems = dict(values), []
        for name in [name for name in values if name not in cls.model_fields]:
            checked[name], problem = cls._check(name, checked.pop(name))
            problems += [problem] if problem else []
        try:
            section = handler(checked)
        except ValidationError as error:
            # Repeated in one error, so that the user sees all problems together.
            own_problems = [
                InitErrorDetails(
                    type=e["type"], loc=e["loc"], input=e["input"], ctx=e.get("ctx", {})
                )
                for e in error.errors()
            ]
            raise ValidationError.from_exception_data(
                cls.__name__, own_problems + problems
            ) from None
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return section

    @classmethod
    def _check(cls, name: str, value: Any) -> tuple[Any, InitErrorDetails | None]:
        """Return a plugin's parameter as the configuration holds it, and its problem, if any."""
        adapter = FIELDS.get(f"{cls.section}.{name}")
        if adapter is None:
            return value, InitErrorDetails(type="extra_forbidden", loc=(name,), input=value)
        checked, broken = check_value(adapter, value)
        if broken is None:
            return checked, None
        context = {"error": broken}
        return value, InitErrorDetails(type="value_error", loc=(name,), input=value, ctx=context)
