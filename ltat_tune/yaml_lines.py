"""Reads YAML as plain values with their lines. Refuses anything that could hide a value or run."""

from __future__ import annotations

import re
from typing import Any

import yaml

_SYNTAX = "must be valid YAML"
Key = tuple[str, ...]


class YamlProblem(Exception):
    """The text is not allowed in a space file. `problems` holds (line, sentence) pairs."""

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        self.problems = problems
        super().__init__(str(problems))


def read_yaml(text: str) -> tuple[Any, dict[Key, int]]:
    """Return the document, and the line (from 1) of every key and list item by its path.

    Raises:
        YamlProblem: the text has tags, aliases or repeated keys, or a syntax error.
    """
    try:
        problems = [
            (event.start_mark.line + 1 if event.start_mark else 1, sentence)
            for event in yaml.parse(text, Loader=yaml.SafeLoader)
            if (sentence := _refused(event)) is not None
        ]
        if problems:
            raise YamlProblem(problems)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines: dict[Key, int] = {}
        document = _build(loader, node, (), lines, problems)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = _line(text, mark.index) if mark else 1
        problem = error.problem or error.context or "it cannot be read"
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        if "escape" in problem:  # "C:\\images"
            problem += "; put a path with backslashes into single quotes"
        raise YamlProblem([(line, f"{_SYNTAX}: {problem}")]) from None
    except yaml.reader.ReaderError as error:
        line = _line(text, error.position)
        raise YamlProblem([(line, f"must be valid YAML text: {error.reason}")]) from None
    except RecursionError:
        raise YamlProblem([(1, f"{_SYNTAX}: it is nested too deeply")]) from None
    if problems:
        raise YamlProblem(problems)
    return document, lines


def _line(text: str, position: int) -> int:
    """Return the line, from 1. A position after the last character is on the last text line."""
    before = text[:position]
    return (before if before.strip() != text.strip() else before.rstrip()).count("\n") + 1


def _refused(event: yaml.Event) -> str | None:
    if isinstance(event, yaml.AliasEvent):
        return f"YAML aliases are not allowed, got *{event.anchor}; write the value out"
    tag = getattr(event, "tag", None)
    if tag is not None:
        short = str(tag).replace("tag:yaml.org,2002:", "!!")
        return (
            f"YAML tags are not allowed (nothing here runs code), got {short}; write a plain value"
        )
    return None


_OCTAL = re.compile(r"([-+]?)0[0-7_]+")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def _misread(node: yaml.Node) -> str | None:
    """Return what is wrong with a number that YAML 1.1 reads as another than people mean."""
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _NUMBER_TAGS:
        return None
    text = str(node.value)
    if _OCTAL.fullmatch(text):
        plain = text.replace("_", "").lstrip("+-").lstrip("0") or "0"
        sign = "-" if text.startswith("-") else ""
        value = int(text.replace("_", ""), 8)
        return f"YAML 1.1 reads {text} as the octal number {value}; write {sign}{plain}"
    if ":" in text:
        return f"YAML 1.1 reads {text} as a number to base 60; write it out, or in quotes as text"
    if "_" in text:
        return f"numbers must have no underscores, got {text}; write {text.replace('_', '')}"
    return None


def read_value(text: str) -> Any:
    """Return one value that is given on the command line; what is no YAML is text.

    Raises:
        YamlProblem: it is YAML that a space file may not hold.
    """
    try:
        yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text
    except RecursionError:
        pass
    return read_yaml(text)[0]


def _build(
    loader: yaml.SafeLoader,
    node: yaml.Node,
    path: Key,
    lines: dict[Key, int],
    problems: list[tuple[int, str]],
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = loader.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, str):
                # The only useful key of this kind is a number or true, as a choice's name in
                # `when`.
                key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else repr(key)
            if key in mapping:
                first = lines[(*path, key)]
                problems.append((line, f"{key} is written twice, first on line {first}; keep one"))
                continue
            lines[(*path, key)] = line
            mapping[key] = _build(loader, value_node, (*path, key), lines, problems)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(loader, item, (*path, str(i)), lines, problems)
            for i, item in enumerate(node.value)
        ]
    if (sentence := _misread(node)) is not None:
        problems.append((node.start_mark.line + 1, sentence))
        return None
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # such as the date 2026-13-45
        problems.append((node.start_mark.line + 1, f"must be valid YAML: {error}"))
        return None
