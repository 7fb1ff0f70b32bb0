"""Specification of a figure: its key, its place in the papers, its needs and its function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ltat_tune.figures.sources import Sources


Paper = Literal["REAT", "SRAT", "neither"]
# The data that a figure needs: counts of the training subset; result.json's metrics and recalls by
# class; its predicted classes by epoch; its distances of adversarial images; seconds by epoch;
# the weights; a card of `ltat-tune evaluate`.
Need = Literal[
    "counts", "results", "predicted", "ae_distances", "history", "checkpoint", "evaluation"
]


@dataclass(frozen=True)
class Drawing:
    """A figure, with notes for readers who compare it with the paper's."""

    figure: Figure
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FigureSpec:
    """One figure of the table that `ltat-tune figures --list` prints."""

    key: str  # reat_01
    paper: Paper
    number: str  # as the paper has it: Figure 1, Table 14
    title: str  # what it shows, in a few words
    needs: tuple[Need, ...]
    draw: Callable[[Sources], Drawing] | None  # called inside `style.look()`; None: see `reason`
    command: str  # makes the data of the paper's own figure
    reason: str = ""  # why nothing is drawn
