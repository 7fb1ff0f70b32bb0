"""Features in the plane by t-SNE, and colours for many classes in a few families."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from ltat_tune.figures import style
from ltat_tune.presentation import palette
from ltat_tune.training.metrics import ClassGroups

if TYPE_CHECKING:
    from ltat_tune.figures.features import Features


Plane = NDArray[np.float64]  # (N, 2), in [0, 1]
# From light to dark, so that classes of one group differ in grey too.
_FAMILIES = {"head": "Blues", "body": "Greens", "tail": "Oranges"}
_GRID = 160
_NEIGHBOURS = 5


def tsne(features: NDArray[np.float32]) -> Plane:
    """Return the t-SNE of features (N, D), N >= 4, seeded, stretched to the unit square.

    Source: Maaten2008Visualizing; scikit-learn's, PCA start, perplexity 30 or what N allows.
    """
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    embed = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=0)
    points = np.asarray(embed.fit_transform(features), dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    plane: Plane = (points - low) / np.maximum(high - low, 1e-12)
    return plane


def group_of_class(groups: ClassGroups, classes: int) -> list[str]:
    """Return head, body or tail for every class."""
    of = {c: name for name in _FAMILIES for c in groups.members.get(name, [])}
    return [of[c] for c in range(classes)]


def class_colours(groups: ClassGroups, classes: int) -> list[tuple[float, float, float]]:
    """Return shades of blue for head classes, green for body classes, orange for tail classes."""
    colours: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * classes
    for name, family in _FAMILIES.items():
        members = groups.members.get(name, [])
        shades = matplotlib.colormaps[family](np.linspace(0.45, 0.95, max(len(members), 2)))
        for c, shade in zip(members, shades, strict=False):
            colours[c] = to_rgb(shade)
    return colours


def scatter_classes(
    ax: Axes, plane: Plane, found: Features, names: list[str], groups: ClassGroups
) -> None:
    """Draw points by true class; up to 12 classes are named, more are named by group."""
    colours = class_colours(groups, len(names))
    few = len(names) <= 12
    group = group_of_class(groups, len(names))
    order = sorted(range(len(names)), key=lambda c: (list(_FAMILIES).index(group[c]), c))
    for c in order:
        at = plane[found.targets == c]
        ax.scatter(
            at[:, 0], at[:, 1], s=_dot(plane), linewidths=0, label=names[c] if few else group[c],
            color=[colours[c] if few else palette.GROUP_COLOURS[group[c]]],
            marker=style.GROUP_MARKERS[group[c]],
        )  # fmt: skip
    bare(ax)


def scatter_areas(
    ax: Axes, plane: Plane, found: Features, groups: ClassGroups, classes: int
) -> dict[str, float]:
    """Draw points by true group on the areas that the model assigns to groups.

    A place near any point belongs to the group into which most of its 5 nearest points are
    predicted. A point on an area of another colour is an image that was drawn over there.

    Returns:
        The share of each group's area, by group.
    """
    from sklearn.neighbors import NearestNeighbors

    names = list(_FAMILIES)
    group = np.array([names.index(name) for name in group_of_class(groups, classes)])
    of_point, predicted = group[found.targets], group[found.predicted]
    ticks = (np.arange(_GRID) + 0.5) / _GRID * 1.06 - 0.03
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    k = min(_NEIGHBOURS, len(plane))
    distances, nearest = NearestNeighbors(n_neighbors=k).fit(plane).kneighbors(grid)
    votes = np.stack([(predicted[nearest] == i).sum(axis=1) for i in range(len(names))], axis=1)
    owner = votes.argmax(axis=1)
    inside = distances[:, 0] < 0.06
    shares = {
        name: float((owner[inside] == i).sum() / inside.sum()) for i, name in enumerate(names)
    }
    picture = np.ones((len(grid), 3))
    for i, name in enumerate(names):
        picture[inside & (owner == i)] = style.pale(palette.GROUP_COLOURS[name])
    ax.imshow(
        picture.reshape(_GRID, _GRID, 3), origin="lower", extent=(-0.03, 1.03, -0.03, 1.03),
        aspect="auto", interpolation="bilinear", zorder=0,
    )  # fmt: skip
    for i, name in enumerate(names):
        at = plane[of_point == i]
        ax.scatter(
            at[:, 0], at[:, 1], s=0.7 * _dot(plane), linewidths=0, label=name,
            color=palette.GROUP_COLOURS[name],
            marker=style.GROUP_MARKERS[name],
        )  # fmt: skip
    bare(ax)
    return shares


def _dot(plane: Plane) -> float:
    """Return the area of a marker, points squared: smaller if there are more points."""
    return float(np.clip(4000 / len(plane), 3, 9))


def bare(ax: Axes) -> None:
    """Remove the scale of a plane: t-SNE's axes mean nothing."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlim(-0.04, 1.04)
    ax.set_ylim(-0.04, 1.04)
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(palette.LIGHT_GREY)
