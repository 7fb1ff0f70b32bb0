"""Shows objects in notebooks: a few lines as text, and tables as HTML."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar


class Shown(Protocol):
    """An object that notebooks show as HTML."""

    def _repr_html_(self) -> str: ...


_WIDTH = 100
ShownT = TypeVar("ShownT", bound=Shown)


class ShownList(list[ShownT]):
    """A list that shows its members one below the other."""

    def __repr__(self) -> str:
        return "[\n" + ",\n".join(map(repr, self)) + "\n]" if self else "[]"

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self) or "<p>none</p>"


def text_lines(title: str, rows: Mapping[str, str]) -> str:
    """Return a title and, indented below it, each row that is not empty, in lines that fit."""
    lines = [title]
    for name, text in rows.items():
        if text:
            lines += textwrap.wrap(
                f"{name}: {text}", _WIDTH, initial_indent="  ", subsequent_indent="    ",
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines)


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in HTML; no cell can hold markup."""

    def cells(values: Iterable[Any], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        f"<thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    )


def accuracies_text(metrics: Mapping[str, Any], written: Callable[[Any], str]) -> str:
    """Return the accuracies over all classes, such as `val/clean_acc 88.0 %, ...`.

    Args:
        metrics: values by name.
        written: puts a value into words, in percent.
    """
    chosen = [name for name in metrics if is_overall(name)]
    return ", ".join(f"{name} {written(metrics[name])} %" for name in chosen)


def is_overall(name: str) -> bool:
    """Return whether a metric is the accuracy of an attack, or its mean recall over classes."""
    _, slash, rest = name.partition("/")
    words = rest.split("_")
    return bool(slash) and words[-1] == "acc" and (len(words) == 2 or words[1:] == [
        "balanced", "acc"
    ])  # fmt: skip


def settings_line(values: Mapping[str, Any]) -> str:
    """Return values by name on one line, such as `optim.lr 0.1, method.name trades`."""
    return ", ".join(f"{name} {value}" for name, value in values.items())
