"""Reads YAML as plain values with their lines. Refuses anything that could hide a value or run."""

from __future__ import annotations

from typing import Any

import yaml

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
        raise YamlProblem([(line, f"must be valid YAML: {problem}")]) from None
    except yaml.reader.ReaderError as error:
        line = _line(text, error.position)
        raise YamlProblem([(line, f"must be valid YAML text: {error.reason}")]) from None
    except RecursionError:
        raise YamlProblem([(1, "must be valid YAML: it is nested too deeply")]) from None
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
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # such as the date 2026-13-45
        problems.append((node.start_mark.line + 1, f"must be valid YAML: {error}"))
        return None
