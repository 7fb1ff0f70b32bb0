"""REAT's Figures 1, 5, 6 and 11: the predicted classes of adversarial training images.

All are drawn from `predicted` in result.json, the training images by predicted class in every
epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ltat_tune.figures import style
from ltat_tune.figures.captions import small_print, training_attack_text
from ltat_tune.figures.choice import Chosen, Wanted, choose
from ltat_tune.figures.reat.models import BALANCED, LONG_TAILED, REAT_MODEL, ROBAL
from ltat_tune.figures.sources import Sources
from ltat_tune.figures.spec import Drawing
from ltat_tune.presentation import palette
from ltat_tune.storage.trained_run import Run

_SHOWN_EPOCHS = 8
_BINS = 20  # with more classes, means over neighbours in rank, because single classes are noisy
# Without the end of the map that is invisible on white.
_EPOCHS = ListedColormap(matplotlib.colormaps[style.SEQUENTIAL](np.linspace(0, 0.88, 256)))
_EPOCHS_OF_80 = (10, 30, 60)  # Figure 6


def figure_01(sources: Sources) -> Drawing:
    """Draw PGD-AT on balanced and on long-tailed images."""
    return _during_training(sources, (BALANCED, LONG_TAILED), "CIFAR-10-LT (UR=50)", False)


def figure_05(sources: Sources) -> Drawing:
    """Draw RoBal and REAT."""
    return _during_training(sources, (ROBAL, REAT_MODEL), "CIFAR-10-LT (UR=50)", True)


def figure_11(sources: Sources) -> Drawing:
    """Draw RoBal and REAT with many classes."""
    return _during_training(sources, (ROBAL, REAT_MODEL), "CIFAR-100-LT (UR=10)", True)


def figure_06(sources: Sources) -> Drawing:
    """Draw RoBal and REAT in epochs 10, 30 and 60 of 80, or as far into a shorter training."""
    paper = "CIFAR-10-LT (UR=50)"
    chosen = _choose(sources, (ROBAL, REAT_MODEL), paper, True)
    runs = [recipe.first for _, recipe in chosen.models]
    total = len(runs[0].predicted)
    epochs = list(dict.fromkeys(max(1, round(e * total / 80)) for e in _EPOCHS_OF_80))
    fig, axes = style.paper_figure(2, cols=len(epochs), height_in=2.4, sharey=True)
    bins = Bins.of(runs[-1])
    places = np.arange(len(bins.members))
    width = 0.84 / (len(runs) + 1)
    for panel, (ax, epoch) in enumerate(zip(axes[0], epochs, strict=True)):
        series = [("clean labels", palette.LIGHT_GREY, _labels(runs[-1]))]
        series += [
            (label, colour, _shares(run)[epoch - 1])
            for (label, _), run, colour in zip(chosen.models, runs, palette.PALETTE, strict=False)
        ]
        for i, (label, colour, shares) in enumerate(series):
            at = places + (i - (len(series) - 1) / 2) * width
            ax.bar(at, 100 * bins.mean(shares), width, color=colour, label=label)
        bins.ticks(ax)
        style.letter(ax, panel, f"epoch {epoch}")
        style.horizontal_grid(ax)
    axes[0, 0].set_ylabel("training images, %")
    _shared_legend(fig, axes[0, 0])
    return Drawing(fig, (*chosen.notes, *_print_below(fig, chosen, paper)))


def _during_training(
    sources: Sources, kinds: tuple[Wanted, ...], paper: str, same_profile: bool
) -> Drawing:
    chosen = _choose(sources, kinds, paper, same_profile)
    fig, axes = style.paper_figure(2, cols=len(chosen.models), height_in=2.4, sharey=True)
    last = max(len(recipe.first.predicted) for _, recipe in chosen.models)
    scale = ScalarMappable(Normalize(1, max(last, 2)), _EPOCHS)
    bins = Bins.of(chosen.models[-1][1].first)
    for panel, (ax, (label, recipe)) in enumerate(zip(axes[0], chosen.models, strict=True)):
        _distribution(ax, recipe.first, scale, bins)
        style.letter(ax, panel, label)
    axes[0, 0].set_ylabel("training images, %")
    fig.colorbar(
        scale, ax=axes[0, -1], label="predictions in epoch", pad=0.02, aspect=30,
        ticks=MaxNLocator(integer=True),
    )  # fmt: skip
    _shared_legend(fig, axes[0, 0])
    return Drawing(fig, (*chosen.notes, *_print_below(fig, chosen, paper)))


def _distribution(ax: Axes, run: Run, scale: ScalarMappable, bins: Bins) -> None:
    """Draw grey bars of clean labels, and a line over the classes for each of some epochs."""
    shares = _shares(run)
    places = np.arange(len(bins.members))
    ax.bar(
        places, 100 * bins.mean(_labels(run)), 0.8, color=palette.LIGHT_GREY, label="clean labels"
    )
    chosen = np.unique(np.linspace(0, len(shares) - 1, _SHOWN_EPOCHS).round().astype(int))
    for epoch in chosen:
        colour = scale.to_rgba(epoch + 1)
        ax.plot(places, 100 * bins.mean(shares[epoch]), lw=0.8, color=colour)
    ax.plot(
        places, 100 * bins.mean(shares.mean(axis=0)), "o", color=palette.VERMILLION, zorder=3,
        ms=3, label="predictions, mean of all epochs",
    )  # fmt: skip
    bins.ticks(ax)
    style.horizontal_grid(ax)


def _print_below(fig: Figure, chosen: Chosen, paper: str) -> tuple[str, ...]:
    run = chosen.recipes[-1].first
    return small_print(
        fig, chosen.recipes, paper=paper, data=chosen.data,
        attack=training_attack_text(run.config), images="training images",
        seeds=f"seed {run.seed}, {len(run.predicted)} epochs",
    )  # fmt: skip


@dataclass(frozen=True)
class Bins:
    """Classes drawn together: each class alone, or neighbours in rank above 20 classes."""

    members: list[list[int]]
    names: list[str]  # of the classes

    @classmethod
    def of(cls, run: Run) -> Bins:
        """Return bins in class order; many classes are ordered by this run's counts."""
        counts = run.samples_per_class
        if len(counts) <= _BINS:
            return cls([[c] for c in range(len(counts))], run.class_names)
        ranked = sorted(range(len(counts)), key=lambda c: (-counts[c], c))
        return cls([part.tolist() for part in np.array_split(ranked, _BINS)], run.class_names)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each bin: (K,) -> (bins,)."""
        return np.array([values[members].mean() for members in self.members])

    def ticks(self, ax: Axes) -> None:
        """Set the names of classes as ticks, or ranks from 1."""
        if len(self.names) <= _BINS:
            style.class_ticks(ax, self.names)
            return
        lasts = np.cumsum([len(members) for members in self.members])
        ticks = range(4, _BINS, 5)
        ax.set_xticks(ticks, [str(lasts[tick]) for tick in ticks])
        size = f"{len(self.names) / _BINS:.3g}"
        ax.set_xlabel(f"class by rank, means of {size}")


def _choose(sources: Sources, kinds: tuple[Wanted, ...], paper: str, same_profile: bool) -> Chosen:
    return choose(
        sources, kinds, paper=paper, same_profile=same_profile,
        has=lambda run: bool(run.predicted), has_what="predictions by epoch",
    )  # fmt: skip


def _shares(run: Run) -> NDArray[np.float64]:
    """Return the predictions of each epoch as fractions, (epochs, K)."""
    counts = np.asarray(run.predicted, dtype=np.float64)
    shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _labels(run: Run) -> NDArray[np.float64]:
    """Return the labels of the training subset as fractions, (K,)."""
    counts = np.asarray(run.samples_per_class, dtype=np.float64)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _shared_legend(fig: Figure, ax: Axes) -> None:
    """Draw one legend above all panels."""
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=len(names))
