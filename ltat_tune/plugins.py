"""Parts of your own, such as methods and losses, from a module that a space file names.

    # my_method.py                                  # my_study.yaml, beside it
    register_method("mine", Mine, parameters=...)   plugins: [my_method]

Naming a plugin runs its code, so no plugin is loaded without being named. The study and every
configuration that uses a plugin record the hash of its file, and refuse a file that has changed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from ltat_tune.config import fields as documented
from ltat_tune.config.catalogue import CATALOGUE, Choice
from ltat_tune.config.effects import add_rule, forget_rule
from ltat_tune.config.extensions import LOADING, PARTS, UNDO, Part
from ltat_tune.config.foreign.own_parameters import own_fields
from ltat_tune.config.parameters import add_parameter, forget_parameter, widen
from ltat_tune.errors import ConfigError

__all__ = [
    "param",
    "register_dataset",
    "register_loss",
    "register_method",
    "register_model",
    "register_trainer",
]

_KINDS = {
    "method.name": "methods",
    "loss.name": "losses",
    "model.name": "models",
    "data.name": "datasets",
}


def param(default: Any, meaning: str, *, choices: Sequence[str] = (), **more: Any) -> Any:
    """Define a parameter of your own part. Its type is that of its default.

    Args:
        default: a number, a whole number, true or false, or text.
        meaning: a phrase that explains the parameter in `ltat-tune params`.
        choices: the allowed texts; an empty sequence allows every text.
        more: the bounds `ge`, `gt`, `le` and `lt`, and the documentation `symbol`, `unit` and
            `source`.
    """
    field = documented.documented(default, meaning, **more)
    field.json_schema_extra["choices"] = tuple(choices)
    return field


def register_method(
    name: str, method: type, *, parameters: Mapping[str, Any] | None = None, what: str = ""
) -> None:
    """Register a training method: `method.name: NAME` in a space file.

    Args:
        name: lower-case letters, digits and underscores.
        method: a class with the `training_step` of `ltat_tune.methods.Method`. In every epoch it
            is constructed as `method(loss, attack, *, <parameters>)`. If it also has the argument
            `samples_per_class`, it gets the training images of every class, shape (K,).
        parameters: its own parameters by name: `param(default, meaning, ge=..., le=...)`, or with
            `choices=(...)`. They are `method.<name>` in space files.
        what: one line for `ltat-tune ls methods`; if empty, the first line of the docstring.

    Raises:
        ConfigError: the name or a parameter is taken, or the class does not take these arguments.
    """
    from ltat_tune.methods import METHODS

    fields = own_fields("method.name", name, parameters)
    _takes("method", name, method, ("loss", "attack"), fields)
    step = getattr(method, "training_step", None)
    _takes_call(
        f"{method.__name__}.training_step", step, "(self, model, images, targets, *, "
        "class_weights, generator)", (None,) * 4, ("class_weights", "generator"),
    )  # fmt: skip
    takes_counts = "samples_per_class" in inspect.signature(method).parameters

    def build(config: Any, counts: Any, loss: Any, factors: Any) -> Callable[[Any], Any]:
        own = _values(config.method, fields)
        own |= {"samples_per_class": counts} if takes_counts else {}
        return lambda attack: method(loss, attack, **own)

    _register("method.name", name, method, METHODS, build, fields, what)


def register_trainer(
    name: str,
    train: Callable[..., None],
    *,
    parameters: Mapping[str, Any] | None = None,
    what: str = "",
) -> None:
    """Register a training function, which takes the place of our training: `method.name: NAME`.

    Args:
        name: lower-case letters, digits and underscores.
        train: a function `train(run, *, <parameters>)` that trains `run.model`, or a network of
            its own with the same layers, and calls `run.report(epoch, metrics)` after each epoch
            of `run.epochs`. See `ltat_tune.training.own_loop.OwnTraining`.
        parameters: its own parameters by name, as for a method; `method.<name>` in space files.
        what: one line for `ltat-tune ls methods`; if empty, the first line of the docstring.

    Raises:
        ConfigError: see `register_method`.
    """
    from ltat_tune.methods import METHODS
    from ltat_tune.methods.trainers import TRAINERS

    fields = own_fields("method.name", name, parameters)
    _takes("trainer", name, train, ("run",), fields)

    def build(config: Any) -> Callable[[Any], None]:
        own = _values(config.method, fields)
        return lambda run: train(run, **own)

    _register(
        "method.name", name, train, TRAINERS, build, fields, what, taken=METHODS, trains=True
    )


def register_loss(
    name: str, loss: type, *, parameters: Mapping[str, Any] | None = None, what: str = ""
) -> None:
    """Register a prediction loss: `loss.name: NAME` in a space file.

    Args:
        name: lower-case letters, digits and underscores.
        loss: a subclass of `nn.Module` with `forward(logits, targets, class_weights=None)`:
            (N, K), (N,), (K,) or None -> (). It is constructed as
            `loss(samples_per_class, *, <parameters>)`.
        parameters: its own parameters by name, as for a method; `loss.<name>` in space files.
        what: one line for `ltat-tune ls losses`; if empty, the first line of the docstring.

    Raises:
        ConfigError: see `register_method`.
    """
    from ltat_tune.losses import LOSSES

    fields = own_fields("loss.name", name, parameters)
    _takes("loss", name, loss, ("samples_per_class",), fields)
    _takes_call(
        f"{loss.__name__}.forward", getattr(loss, "forward", None),
        "(self, logits, targets, class_weights=None)", (None,) * 4, (),
    )  # fmt: skip

    def build(config: Any, counts: Any, beta: Any) -> Any:
        return loss(counts, **_values(config, fields))

    ignores = ("loss.label_smoothing",)
    _register("loss.name", name, loss, LOSSES, build, fields, what, ignores)


def register_model(
    name: str, model: type, *, parameters: Mapping[str, Any] | None = None, what: str = ""
) -> None:
    """Register a network: `model.name: NAME` in a space file.

    Args:
        name: lower-case letters, digits and underscores.
        model: a subclass of `nn.Module` that maps images (N, C, H, W) to features (N, D) and has
            D as its attribute `out_features`. It is constructed as
            `model(in_channels, *, <parameters>)`. The package adds head and normalisation. If it
            also has the argument `width`, it gets `model.width`.
        parameters: its own parameters by name, as for a method; `model.<name>` in space files.
        what: one line for `ltat-tune ls models`; if empty, the first line of the docstring.

    Raises:
        ConfigError: see `register_method`.
    """
    from ltat_tune.models import MODELS

    fields = own_fields("model.name", name, parameters)
    _takes("model", name, model, ("in_channels",), fields)
    takes_width = "width" in inspect.signature(model).parameters

    def build(config: Any, channels: int) -> Any:
        own = _values(config, fields)
        network = model(channels, **own, **({"width": config.width} if takes_width else {}))
        if not isinstance(getattr(network, "out_features", None), int):
            raise ConfigError(
                f"model {name} must have the attribute out_features, the D of its features (N, D)"
            )
        return network

    ignores = () if takes_width else ("model.width",)
    _register("model.name", name, model, MODELS, build, fields, what, ignores)


def register_dataset(
    name: str,
    dataset: Callable[..., Any],
    *,
    parameters: Mapping[str, Any] | None = None,
    what: str = "",
) -> None:
    """Register a data set: `data.name: NAME` in a space file.

    Args:
        name: lower-case letters, digits and underscores.
        dataset: a function `dataset(root, *, <parameters>)` that returns a
            `ltat_tune.data.sources.Source`; `root` is `data.root`, or None.
        parameters: its own parameters by name, as for a method; `data.<name>` in space files.
        what: one line for `ltat-tune ls datasets`; if empty, the first line of the docstring.

    Raises:
        ConfigError: see `register_method`.
    """
    from ltat_tune.data.sources import SOURCES

    fields = own_fields("data.name", name, parameters)
    _takes("dataset", name, dataset, ("root",), fields)

    def build(config: Any) -> Any:
        return dataset(config.root, **_values(config, fields))

    _register("data.name", name, dataset, SOURCES, build, fields, what)


def _register(
    chosen_by: str,
    name: str,
    made_by: Any,
    table: dict[str, Any],
    build: Any,
    fields: Mapping[str, FieldInfo],
    what: str,
    ignores: tuple[str, ...] = (),
    *,
    taken: Collection[str] = (),
    trains: bool = False,
) -> None:
    """Add a part to the tables of parts, of parameters, of rules and of descriptions."""
    file = LOADING[-1].file if LOADING else "this process"
    section, kind = chosen_by.partition(".")[0], _KINDS[chosen_by]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"the name of a part must consist of lower-case letters, digits and _, got {name!r}"
        )
    previous = PARTS.get((chosen_by, name))
    if previous is not None and previous.file == file:
        UNDO[chosen_by, name]()  # the same file was read again
    elif previous is not None or name in table or name in taken:
        owner = previous.file if previous else "ltat-tune itself"
        raise ConfigError(f"{chosen_by} {name} is taken by {owner}; choose another name")
    for field, info in fields.items():
        add_parameter(f"{section}.{field}", info)
        add_rule(f"{section}.{field}", chosen_by, name)
    defaults = {f"{section}.{field}": info.default for field, info in fields.items()}
    plugin = LOADING[-1] if LOADING else None
    part = Part(chosen_by, name, file, plugin, defaults, ignores, trains)
    PARTS[chosen_by, name] = part
    UNDO[chosen_by, name] = lambda: _take_out(part, table)
    widen(chosen_by)
    description = what or (inspect.getdoc(made_by) or "").partition("\n")[0]
    source = f"plugin {plugin.name} ({plugin.file})" if plugin else file
    entry = Choice(name, description, source, chosen_by, tuple(defaults))
    CATALOGUE[kind] = (*CATALOGUE[kind], entry)
    table[name] = build


def _take_out(part: Part, table: dict[str, Any]) -> None:
    """Undo the registration of a part."""
    del PARTS[part.chosen_by, part.name], UNDO[part.chosen_by, part.name]
    for path in part.defaults:
        forget_parameter(path)
        forget_rule(path)
    widen(part.chosen_by)
    kind = _KINDS[part.chosen_by]
    CATALOGUE[kind] = tuple(e for e in CATALOGUE[kind] if e.name != part.name)
    del table[part.name]


def _values(section: Any, fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the values of a part's own parameters."""
    return {field: getattr(section, field) for field in fields}


def _takes(
    kind: str, name: str, made_by: Any, first: Sequence[str], fields: Mapping[str, FieldInfo]
) -> None:
    """Raise ConfigError if a part cannot be constructed from its arguments and parameters."""
    takes = ", ".join([*first, *(["*", *fields] if fields else [])])
    if kind not in ("dataset", "trainer") and not inspect.isclass(made_by):
        raise ConfigError(f"{kind} {name} must be a class, got {made_by!r}")
    try:
        inspect.signature(made_by).bind(*first, **dict.fromkeys(fields))
    except TypeError as error:
        # Arguments that the package offers and a part may take without listing them.
        offered = {"method": {"samples_per_class": 0}, "model": {"width": 0}}.get(kind, {})
        try:
            inspect.signature(made_by).bind(*first, **dict.fromkeys(fields), **offered)
        except TypeError:
            raise ConfigError(
                f"{kind} {name} is constructed as {made_by.__name__}({takes}), but it has the "
                f"arguments {inspect.signature(made_by)}: {error}"
            ) from None


def _takes_call(
    what: str, function: Any, takes: str, places: Sequence[None], keywords: Sequence[str]
) -> None:
    try:
        if function is None:
            raise TypeError("it is missing")
        inspect.signature(function).bind(*places, **dict.fromkeys(keywords))
    except TypeError as error:
        got = "" if function is None else f", got {inspect.signature(function)}"
        raise ConfigError(f"{what} must take {takes}{got}: {error}") from None
