"""The text of a card: nothing is cut, however narrow the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from ltat_tune.evaluation.card_text import over_seeds_text


def _printed(block: dict[str, Any], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(over_seeds_text(block))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return sorted("".join(text.split()))


@pytest.mark.parametrize("width", [80, 60, 50])
def test_a_narrow_terminal_shows_every_number(width: int) -> None:
    names = ("acc", "balanced_acc", "head_acc", "body_acc", "tail_acc", "worst_acc")
    row = {
        "attack": "pgd20", "after": None, "scale": 1.0, "eps": 8 / 255, "images": 1000,
        "values": {name: [0.123 + place / 100, 0.456] for place, name in enumerate(names)},
    }  # fmt: skip
    block = {"name": "a", "heading": "mean over 2 seeds", "seeds": [1, 2], "rows": [row]}
    assert _printed(block, width) == _printed(block, 200)
