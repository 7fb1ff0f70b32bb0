"""Writes a first space file for a data set and methods, for `ltat-tune init`."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.scalars import shown
from ltat_tune.config.sections import DataConfig
from ltat_tune.data.sources import Source, open_source
from ltat_tune.errors import DataError
from ltat_tune.presentation.names import METHOD_SYMBOLS
from ltat_tune.space.protocols import (
    FOLDER,
    METHOD_DOMAINS,
    METHOD_STARTS,
    PLAIN_LOSSES,
    PROTOCOLS,
    TRADES_LOSSES,
    WITH_LOSSES,
    DataProtocol,
)
from ltat_tune.space.resources import parse_budget
from ltat_tune.space.spec import STUDY_NAME
from ltat_tune.yaml_lines import YamlProblem, read_value

DATASETS = tuple(PROTOCOLS)
_FILES = {".npz": "npz", ".csv": "csv"}
_COMMENT_AT = 43  # the column of comments behind short lines


@dataclass(frozen=True)
class FirstQuestion:
    """The question of a new space file.

    Attributes:
        data: a data set's name, a folder of images, or an .npz or CSV file.
        methods: the methods to compare, the baseline first.
        ratios: imbalance ratios; one search each.
        budget: written as in a space file; None is no budget.
    """

    data: str
    methods: tuple[str, ...]
    ratios: tuple[float, ...]
    budget: str | None = None

    @property
    def protocol(self) -> DataProtocol:
        """The protocol by which the data set is trained and measured."""
        return PROTOCOLS.get(self.data, FOLDER)


def read_data(text: str) -> str:
    """Return a data set's name, a folder of images, or an .npz or CSV file.

    Raises:
        ValueError: the text is none of them, or images are missing.
    """
    data = text.strip()
    if data in PROTOCOLS:
        return data
    place = Path(data).expanduser()
    if not data or not (place.is_dir() or (place.is_file() and place.suffix in _FILES)):
        close = difflib.get_close_matches(data, DATASETS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"must be one of {', '.join(DATASETS)}, a folder that holds train/ and test/, or an "
            f".npz or .csv file, got {shown(data)}{hint}"
        )
    try:
        _own_images(data).train_counts()
    except DataError as error:
        raise ValueError(f"{data}: {error}") from None
    return data


def read_methods(text: str) -> tuple[str, ...]:
    """Return the methods of a comma-separated list; PGD-AT, the usual baseline, comes first.

    Raises:
        ValueError: a method is unknown or named twice, or there is none.
    """
    methods = _parts(text)
    strange = [method for method in methods if method not in METHOD_STARTS]
    if strange or not methods or len(set(methods)) != len(methods):
        close = difflib.get_close_matches(strange[0], METHOD_STARTS, n=1) if strange else []
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"must be different methods out of {', '.join(METHOD_STARTS)}, got {shown(text)}{hint}"
        )
    return tuple(sorted(methods, key=lambda method: method != "pgd_at"))


def read_ratios(text: str) -> tuple[float, ...]:
    """Return the imbalance ratios of a comma-separated list.

    Raises:
        ValueError: a ratio is invalid or repeated, or there is none.
    """
    ratios: list[float] = []
    for part in _parts(text):
        try:
            written = read_value(part)
        except YamlProblem as problem:
            raise ValueError(problem.problems[0][1]) from None
        value, broken = PARAMETERS["data.imbalance_ratio"].check(written)
        if broken:
            raise ValueError(broken)
        ratios.append(value)
    if not ratios or len(set(ratios)) != len(ratios):
        raise ValueError(f"must be different imbalance ratios such as 10,50, got {shown(text)}")
    return tuple(ratios)


def read_budget(text: str) -> str | None:
    """Return a budget as a space file writes it; None for an empty text.

    Raises:
        ValueError: the text is no budget.
    """
    if not text.strip():
        return None
    try:
        parse_budget(text)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("budget ")) from None
    return text.strip()


# what reads each part of a first question, by the option's name
READERS: dict[str, Callable[[str], object]] = {
    "data": read_data, "methods": read_methods, "ratios": read_ratios, "budget": read_budget,
}  # fmt: skip


def usual_answers(data: str) -> dict[str, str]:
    """Return the defaults of `methods`, `ratios` and `budget` for a data set."""
    ratios = PROTOCOLS.get(data, FOLDER).ratios
    return {"methods": "pgd_at,srat", "ratios": ratios, "budget": ""}


def file_for(data: str) -> Path:
    """Return the default path of a new space file, named after the data set."""
    place = Path(data).expanduser().resolve()
    return Path(f"{_study_name(place.stem if place.is_file() else place.name)}.yaml")


def write_template(question: FirstQuestion, file: Path) -> str:
    """Return the text of a commented space file.

    Args:
        question: the question that the file asks.
        file: the file's path; it names the study and stands in the command that runs it.
    """
    protocol = question.protocol
    lines = [
        *_head(question, file),
        f"name: {_study_name(file.stem)}",
        *_objective(question),
        *_fixed(question),
        _commented("scenarios:", "what changes the problem: one search and one winner each"),
        f"  data.imbalance_ratio: [{', '.join(f'{ratio:g}' for ratio in question.ratios)}]",
        _commented("tuned:", "what the searcher chooses; `ltat-tune params` has more"),
        *_tuned(question),
        _commented("start_from:", "tried first: published values; the first is the baseline"),
        *_start_from(question),
        _commented(f"searcher: {{name: tpe, trials: {8 + 4 * len(question.methods)}}}",
                   "trials of each scenario"),
        _commented("scheduler: {name: asha}", "stops weak trials early"),
        _commented(f"confirm: {{top: {protocol.top}, seeds: [1, 2, 3], attacks: "
                   f"[{', '.join(_attacks(question))}]}}", "then the test images"),
        _commented(f"resources: {protocol.resources}", protocol.resources_note),
    ]  # fmt: skip
    if question.budget:
        lines.append(
            _commented(
                f"budget: {question.budget}", "the search ends in time for the confirmations"
            )
        )
    return "\n".join([*lines, "", f"# Run it: ltat-tune run {file}", ""])


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _study_name(stem: str) -> str:
    """Return a valid study name made from the stem."""
    if re.fullmatch(STUDY_NAME, stem):
        return stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).lstrip("-_.")[:100] or "study"


def _own_images(root: str) -> Source:
    """Return the user's own images: a folder or a file."""
    return open_source(DataConfig.model_validate({"name": _own_name(root), "root": root}))


def _own_name(root: str) -> str:
    """Return `data.name` of a folder or a file."""
    return _FILES.get(Path(root).suffix, "image_folder")


def _commented(line: str, comment: str) -> str:
    if not comment:
        return line
    return (
        f"{line}   # {comment}"
        if len(line) >= _COMMENT_AT
        else f"{line:<{_COMMENT_AT}}# {comment}"
    )


def _head(question: FirstQuestion, file: Path) -> list[str]:
    methods = [METHOD_SYMBOLS[method] for method in question.methods]
    data = question.data if question.data in PROTOCOLS else f"the images in {question.data}"
    ratios = [f"{ratio:g}" for ratio in question.ratios]
    at = f"at imbalance ratio{'s' if len(ratios) > 1 else ''} {_listed(ratios)}"
    asks = f"Which of {_listed(methods)} is most robust on {data}, {at}?"
    if len(methods) == 1:
        asks = f"With which values is {methods[0]} most robust on {data}, {at}?"
    return [
        f"# {asks}",
        f"#   ltat-tune run {file}",
        "# An editor with a YAML language server completes and checks this file if you run",
        "# `ltat-tune schema > space.schema.json` beside it and put this line first:",
        "#   # yaml-language-server: $schema=space.schema.json",
    ]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _judged_by(question: FirstQuestion) -> str:
    """Return the validation attack: C&W for RoBal, whose cosines flatter PGD, else PGD."""
    return "cw20" if "robal" in question.methods else "pgd20"


def _objective(question: FirstQuestion) -> list[str]:
    attack = _judged_by(question)
    why = "validation images alone choose"
    if attack == "cw20":
        why = "the C&W margin, because RoBal's cosines flatter PGD accuracy"
    return [_commented(f"objective: {{metric: val/{attack}_balanced_acc}}", why)]


def _fixed(question: FirstQuestion) -> list[str]:
    protocol = question.protocol
    lines = [_commented("fixed:", "what every trial shares; what is left out takes its default")]
    if question.data in PROTOCOLS:
        lines.append(f"  data.name: {question.data}")
    else:
        source = _own_images(question.data)
        name, counts = _own_name(question.data), source.train_counts()
        held_out = min(50, max(1, min(counts) // 5))
        root = json.dumps(question.data, ensure_ascii=False)
        lines += [
            f"  data.name: {name}",
            _commented(f"  data.root: {root}", "relative to where the command is typed"),
            _commented("  # data.image_size: 64", "resizes them; needed if they differ in size"),
            _commented("  data.val_source: given", "the file's own validation images")
            if name != "image_folder" and source.val is not None
            else _commented(
                f"  data.val_per_class: {held_out}", "validation images of each class"
            ),
            _commented(f"  evaluation.aa_images: {10 * len(counts)}", "for AutoAttack; null: all"),
        ]
    lines += [_commented(f"  {path}: {value}", why) for path, value, why in protocol.fixed]
    if _judged_by(question) != "pgd20":
        lines.append(f"  evaluation.val_attack: {_judged_by(question)}")
    if len(question.methods) == 1:
        lines.append(f"  method.name: {question.methods[0]}")
    return lines


def _with_loss(question: FirstQuestion) -> list[str]:
    """Return the methods whose loss is tuned: those with free losses, or else TRADES."""
    methods = [method for method in question.methods if method in WITH_LOSSES]
    return methods or [method for method in question.methods if method == "trades"]


def _when(question: FirstQuestion, methods: Sequence[str]) -> str:
    """Return the `when` under which one of `methods` is chosen; empty if it always is."""
    if len(methods) == len(question.methods):
        return ""
    value = methods[0] if len(methods) == 1 else f"[{', '.join(methods)}]"
    return f", when: {{method.name: {value}}}"


def _tuned(question: FirstQuestion) -> list[str]:
    lines = []
    if len(question.methods) > 1:
        choices = ", ".join(question.methods)
        lines.append(f"  method.name: {{type: categorical, choices: [{choices}]}}")
    low, high = question.protocol.lr
    lines.append(f"  optim.lr: {{type: float, low: {low}, high: {high}, log: true}}")
    if methods := _with_loss(question):
        losses = TRADES_LOSSES if methods == ["trades"] else PLAIN_LOSSES
        choices = f"[{', '.join(losses)}]"
        line = f"{{type: categorical, choices: {choices}{_when(question, methods)}}}"
        lines.append(f"  loss.name: {line}")
    for path, (domain, of) in METHOD_DOMAINS.items():
        if methods := [method for method in question.methods if method in of]:
            line = f"  {path}: {{{domain}{_when(question, methods)}}}"
            symbol = PARAMETERS[path].symbol
            lines.append(f"{line}   # {symbol}" if symbol else line)
    return lines


def _start_from(question: FirstQuestion) -> list[str]:
    lines = []
    with_loss = _with_loss(question)
    for method in question.methods:
        values = {"method.name": method} if len(question.methods) > 1 else {}
        published = METHOD_STARTS[method]
        values |= {
            path: value for path, value in published.items()
            if path != "loss.name" or method in with_loss
        }  # fmt: skip
        values["optim.lr"] = "0.1"
        lines.append(f"  - {{{', '.join(f'{path}: {value}' for path, value in values.items())}}}")
    return lines


def _attacks(question: FirstQuestion) -> list[str]:
    attacks = [*question.protocol.attacks]
    if _judged_by(question) not in attacks:
        attacks.insert(2, _judged_by(question))
    return attacks
