"""Turns a training script into a space file, from its argparse definitions, without running it."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.errors import SpaceError

# what scripts call our parameters; the values are placeholders
_OURS = {
    "lr": "optim.lr", "learning_rate": "optim.lr", "epochs": "optim.epochs",
    "n_epochs": "optim.epochs", "num_epochs": "optim.epochs", "max_epoch": "optim.epochs",
    "batch_size": "optim.batch_size", "weight_decay": "optim.weight_decay",
    "wd": "optim.weight_decay", "momentum": "optim.momentum", "seed": "seeds.seed",
    "manual_seed": "seeds.seed", "epsilon": "attack.eps", "eps": "attack.eps",
    "step_size": "attack.step_size", "num_steps": "attack.steps",
}  # fmt: skip
_OUTPUT = re.compile(r"(out|output|save|model|log|checkpoint|ckpt)(_?(dir|path|folder))?")
_RESUME = ("resume", "checkpoint", "resume_path", "load")


@dataclass
class Adopted:
    """What a script's argparse definitions tell.

    Attributes:
        words: options in the command, with their placeholders.
        parameters: the script's own parameters, as a space file defines them.
        defaults: defaults of options that are parameters of ours, by path.
        resume: the option that continues a training.
        output: the option that names the folder of the results.
        unsure: what could not be told, a sentence each.
    """

    words: list[str] = field(default_factory=list)
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    resume: str | None = None
    output: str | None = None
    unsure: list[str] = field(default_factory=list)


def read_arguments(path: Path) -> Adopted:
    """Read the `add_argument` calls of a script. Its code is parsed, never run.

    Raises:
        SpaceError: it is missing, is no Python, or has no argparse definitions.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SpaceError(f"{path} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        raise SpaceError(f"{path} must be Python that this version reads: {error}") from None
    calls = [
        node for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and node.func.attr == "add_argument"
    ]  # fmt: skip
    if not calls:
        raise SpaceError(
            f"{path} has no `add_argument(...)`; write the section script: by hand, see "
            "search_spaces/README.md"
        )
    adopted = Adopted()
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        _read_call(call, adopted)
    return adopted


def _read_call(call: ast.Call, adopted: Adopted) -> None:
    names = [value for node in call.args if isinstance(value := _literal(node), str)]
    options = [name for name in names if name.startswith("--")] or names
    if not options:
        adopted.unsure.append(f"line {call.lineno}: the option's name is computed")
        return
    option, given = options[0], {word.arg: word.value for word in call.keywords if word.arg}
    name = str(_literal(given.get("dest")) or option.lstrip("-").replace("-", "_")).lower()
    default, action = _literal(given.get("default")), _literal(given.get("action"))
    if not option.startswith("-"):
        adopted.unsure.append(f"{option} is given by its place; add it to the command yourself")
    elif adopted.resume is None and name in _RESUME and not action:
        adopted.resume = option
    elif adopted.output is None and _OUTPUT.fullmatch(name):
        adopted.output = option
        adopted.words.append(f"{option} {{folder}}")
    elif name in _OURS:
        adopted.words.append(f"{option} {{{_OURS[name]}}}")
        kept = float(default) if _is_number(default) else default
        if kept is not None and PARAMETERS[_OURS[name]].check(kept)[1] is None:
            adopted.defaults[_OURS[name]] = kept
    elif action in ("store_true", "store_false"):
        adopted.parameters[name] = {"default": False, "flag": option}
        adopted.words.append(f"{{script.{name}}}")
    elif action is not None:
        adopted.unsure.append(f"{option} has action {action}, and keeps its default")
    else:
        _read_value(option, name, default, given, adopted)


def _read_value(
    option: str, name: str, default: Any, given: dict[str, ast.expr], adopted: Adopted
) -> None:
    kind = given.get("type")
    written = kind.id if isinstance(kind, ast.Name) else ""
    choices = _literal(given.get("choices"))
    if "nargs" in given:
        adopted.unsure.append(f"{option} takes several values, and keeps its default")
    elif default is None:
        why = "its default is computed" if "default" in given else "it has no default"
        adopted.unsure.append(f"{option}: {why}; it stays out of the command")
    elif not isinstance(default, bool | int | float | str):
        adopted.unsure.append(f"{option} has the default {default!r}, and keeps it")
    elif kind is not None and written not in ("int", "float", "str"):
        adopted.unsure.append(f"{option} has a type of its own, and keeps its default")
    elif isinstance(default, bool):
        adopted.unsure.append(f"{option} has the default {default} and no action; it keeps it")
    elif not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        adopted.unsure.append(f"{option} has a name that a placeholder cannot have")
    else:
        own: dict[str, Any] = {"default": default}
        if written == "int":
            own["type"] = "int"
        if written == "float" and _is_number(default):
            own["default"] = float(default)
        if isinstance(choices, list | tuple) and all(isinstance(c, str) for c in choices):
            own["choices"] = list(choices)
        meaning = _literal(given.get("help"))
        if isinstance(meaning, str) and meaning.strip():
            own["meaning"] = " ".join(meaning.split())
        adopted.parameters[name] = own
        adopted.words.append(f"{option} {{script.{name}}}")


def _literal(node: ast.expr | None) -> Any:
    """Return the value of a literal; None for anything that would have to be run."""
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def space_file(script: Path, adopted: Adopted, *, name: str) -> str:
    """Return the text of a space file that runs the script, with what is left to fill in."""
    lr = adopted.defaults.get("optim.lr", 0.1)
    lines = [
        f"# Which values of its parameters make {script.name} most robust?",
        "# Written by `ltat-tune adopt`, which read the script's arguments and did not run it.",
        "# CHECK: metrics and checkpoint must fit what the script prints and saves; data.* and "
        "model.* must",
        "# be what it trains on and what it trains, because ltat-tune validates and tests its "
        "weights.",
        *(f"# CHECK: {sentence}" for sentence in adopted.unsure),
        f"name: {name}",
        "script:",
        f"  command: {json.dumps(' '.join(['python', script.name, *adopted.words]))}",
        "  metrics: '(?i)epoch\\D*(?P<epoch>\\d+).*(?:robust|adv|pgd)\\D*(?P<robust>[\\d.]+)'"
        "   # CHECK",
        "  percent: true                              # CHECK: false if that is a fraction",
        f"  checkpoint: '{'{folder}/' if adopted.output else ''}last.pt'   # CHECK",
    ]
    if adopted.resume is not None:
        lines.append(f"  resume: {adopted.resume} {{checkpoint}}")
    if adopted.parameters:
        lines.append("  parameters:")
    lines += [
        f"    {own}: {json.dumps(definition, ensure_ascii=False)}"
        for own, definition in adopted.parameters.items()
    ]
    fixed = {path: value for path, value in adopted.defaults.items() if path != "optim.lr"}
    numbers = [path for path, own in adopted.parameters.items()
               if isinstance(own["default"], float) and own["default"] > 0]  # fmt: skip
    lines += [
        "objective: {metric: val/pgd20_balanced_acc}",
        "fixed:",
        "  data.name: cifar10                         # CHECK",
        "  model.name: resnet18                       # CHECK",
        *(f"  {path}: {_written(value)}" for path, value in fixed.items()),
        "tuned:",
    ]
    if "{optim.lr}" in " ".join(adopted.words):
        lines.append(f"  optim.lr: {{type: float, low: {lr / 5:g}, high: {lr * 3:g}, log: true}}")
    lines += [
        f"  script.{own}: {{type: float, low: {adopted.parameters[own]['default'] / 5:g}, "
        f"high: {adopted.parameters[own]['default'] * 3:g}, log: true}}   # CHECK"
        for own in numbers[:2]
    ]
    lines += [
        "searcher: {name: tpe, trials: 12}",
        "scheduler: {name: asha, rungs: prefix, reduction_factor: 3}",
        "confirm: {top: 1, attacks: [clean, pgd20, aa]}",
        "resources: {cpus_per_trial: 1, gpus_per_trial: 0}   # on a GPU: gpus_per_trial: 1",
    ]
    return "\n".join([*lines, ""])


def _written(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return json.dumps(value)
