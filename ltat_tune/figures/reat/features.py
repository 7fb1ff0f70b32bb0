"""REAT's Figures 2, 7 and 10: features of adversarial test images in the plane.

Weights come from the checkpoint and are attacked with PGD-20. Features are embedded with t-SNE,
one model in each panel. In the balanced model's panel, too, classes keep the group that they have
in long-tailed training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ltat_tune.figures import style
from ltat_tune.figures.captions import ball_text, small_print
from ltat_tune.figures.choice import Chosen, Wanted, choose
from ltat_tune.figures.embedding import Plane, scatter_areas, scatter_classes, tsne
from ltat_tune.figures.reat.models import BALANCED, LONG_TAILED, PGD_AT_BSL, REAT_MODEL, ROBAL
from ltat_tune.figures.sources import Sources
from ltat_tune.figures.spec import Drawing
from ltat_tune.presentation.units import percent
from ltat_tune.storage.trained_run import Run

if TYPE_CHECKING:
    from ltat_tune.figures.features import Features


_STEPS = 20  # REAT appendix G: AEs of the test set by PGD-20
_PAPER = "CIFAR-10-LT (UR=50)"


def figure_02(sources: Sources) -> Drawing:
    """Draw the areas predicted as head, body and tail, in balanced and long-tailed training."""
    chosen = _choose(sources, (BALANCED, LONG_TAILED))
    fig, axes = style.paper_figure(2, cols=len(chosen.models), height_in=2.8)
    groups = chosen.models[-1][1].first.groups
    for panel, (ax, (label, recipe)) in enumerate(zip(axes[0], chosen.models, strict=True)):
        features, plane = _plane(recipe.first, sources)
        classes = len(recipe.first.samples_per_class)
        shares = scatter_areas(ax, plane, features, groups, classes)
        style.letter(ax, panel, label)
        text = ", ".join(f"{name} {percent(share, 0)} %" for name, share in shares.items())
        ax.set_xlabel(f"predicted: {text}", fontsize=7)
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=len(names), markerscale=2)
    return Drawing(fig, (*chosen.notes, *_print_below(fig, chosen, sources)))


def figure_07(sources: Sources) -> Drawing:
    """Draw every class, with balanced and long-tailed training."""
    return _by_class(sources, (BALANCED, LONG_TAILED))


def figure_10(sources: Sources) -> Drawing:
    """Draw every class, by training strategy."""
    return _by_class(sources, (BALANCED, PGD_AT_BSL, ROBAL, REAT_MODEL))


def _by_class(sources: Sources, kinds: tuple[Wanted, ...]) -> Drawing:
    chosen = _choose(sources, kinds)
    cols = min(len(chosen.models), 2)
    rows = -(-len(chosen.models) // cols)
    fig, axes = style.paper_figure(2, rows=rows, cols=cols, height_in=2.8 * rows)
    groups = chosen.models[-1][1].first.groups
    for ax in axes.flat[len(chosen.models) :]:
        ax.set_visible(False)
    for panel, (ax, (label, recipe)) in enumerate(zip(axes.flat, chosen.models, strict=False)):
        features, plane = _plane(recipe.first, sources)
        scatter_classes(ax, plane, features, recipe.first.class_names, groups)
        right = 100 * float((features.predicted == features.targets).mean())
        style.letter(ax, panel, label)
        ax.set_xlabel(f"accuracy under PGD-{_STEPS}: {right:.1f} %")
    handles, names = axes[0, 0].get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    fig.legend(once.values(), once, loc="outside right center", markerscale=2.5, handlelength=1)
    return Drawing(fig, (*chosen.notes, *_print_below(fig, chosen, sources)))


def _print_below(fig: Figure, chosen: Chosen, sources: Sources) -> tuple[str, ...]:
    run = chosen.recipes[-1].first
    features, _ = _plane(run, sources)
    return small_print(
        fig, chosen.recipes, paper=_PAPER, data=chosen.data,
        attack=f"PGD-{_STEPS}, {ball_text(run.config)}", seeds=f"seed {run.seed}",
        images=f"{len(features.targets)} test images", more=["t-SNE of the penultimate features"],
    )  # fmt: skip


def _choose(sources: Sources, kinds: tuple[Wanted, ...]) -> Chosen:
    return choose(
        sources, kinds, paper=_PAPER, same_profile=False,
        has=lambda run: run.checkpoint.exists(), has_what="checkpoint.pt",
    )  # fmt: skip


def _plane(run: Run, sources: Sources) -> tuple[Features, Plane]:
    """Return features and their place by t-SNE; the same in every figure."""
    from ltat_tune.figures.features import test_features

    features = test_features(run, sources, steps=_STEPS)
    return features, sources.once(("tsne", run.path, _STEPS), lambda: tsne(features.features))
