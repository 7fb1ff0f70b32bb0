"""Chooses the hold-out and the long-tailed subset of a data set by the counts of a profile.

The generators are private. They give the same numbers as `np.random.seed(s)` in the papers'
releases, without touching the global generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ltat_tune.errors import DataError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """Indices into the official training images: the long-tailed subset and the hold-out."""

    train: Indices  # (sum of counts,), class after class
    val: Indices  # (C * val_per_class,), class after class


def profile_counts(
    profile: str,
    available: Sequence[int],
    *,
    imbalance_ratio: float,
    max_per_class: int | None = None,
    counts: Sequence[int] | None = None,
    base: str = "min_class",
    rounding: str = "floor",
    names: Sequence[str] | None = None,
) -> list[int]:
    """Return the number of training images of every class, in the order of the classes, (C,).

    exp: n_max * UR^(-i/(C-1)), Cui2019Class. step: n_max for the first C//2 classes, n_max / UR
    for the rest. linear: equal steps from n_max to n_max / UR. balanced: n_max for every class.
    balanced_small: the total of exp, spread evenly. given: `counts`. full: every available image.

    Source: REAT 5.1 and appendix (exp, balanced_small, linear); SRAT 5.1 (exp, step).
    Deviations: n_max never exceeds the images of a class. The releases take images / C for every
        class, which on SVHN exceeds the images of the rarest class.

    Args:
        profile: exp | step | linear | given | balanced | balanced_small | full.
        available: number of available images of every class, shape (C,).
        imbalance_ratio: UR = n_max / n_min >= 1.
        max_per_class: n_max; None lets `base` decide.
        counts: the counts of profile given, shape (C,).
        base: min_class sets n_max to the size of the smallest class, for every class, so that the
            ratio is UR up to the rounding of the counts: with n_max 480 and UR 50, the rarest
            class gets 9 images (53.3). per_class takes each class's own size in exp, step and
            linear, so that counts may not fall monotonically.
        rounding: floor (down, as in the releases) | round (to the nearest, ties to even).
        names: names of the classes, for errors; None uses their numbers.

    Raises:
        DataError: a class would get no images, or has fewer images than requested.
    """
    labels = [str(c) for c in range(len(available))] if names is None else list(names)
    if profile == "given":
        chosen = list(counts or ())
        if len(chosen) != len(available):
            raise DataError(
                f"data.counts must hold one number for each of the {len(available)} classes, "
                f"got {len(chosen)}"
            )
    else:
        n_max = _n_max(profile, available, max_per_class, base)
        chosen = _counts(profile, available, n_max, imbalance_ratio, rounding)
        empty = [name for name, count in zip(labels, chosen, strict=True) if count < 1]
        if empty:
            raise DataError(
                f"every class must have an image, but profile {profile} with imbalance ratio "
                f"{imbalance_ratio:g} and n_max {max(n_max)} leaves none for {_classes(empty)}; "
                f"{_ratio_that_works(profile, available, n_max, rounding)}"
            )
    for name, count, size in zip(labels, chosen, available, strict=True):
        if count > size:
            remedy = (
                f"lower it to at most {size}"
                if profile == "given"
                else f"lower data.max_per_class to at most {min(available)}"
            )
            asking = "data.counts asks" if profile == "given" else "the profile asks"
            raise DataError(
                f"class {name} has {size} images left for training, but {asking} for {count}; "
                f"{remedy}"
            )
    return chosen


def _n_max(
    profile: str, available: Sequence[int], max_per_class: int | None, base: str
) -> list[int]:
    """Return n_max of every class, (C,). The values differ only for base per_class."""
    if max_per_class is not None:
        return [max_per_class] * len(available)
    if base == "per_class" and profile != "balanced":
        return list(available)
    return [min(available)] * len(available)


def _counts(
    profile: str,
    available: Sequence[int],
    n_max: Sequence[int],
    imbalance_ratio: float,
    rounding: str,
) -> list[int]:
    classes = len(available)
    if profile == "full":
        return list(available)
    if profile == "balanced_small":
        total = sum(_counts("exp", available, n_max, imbalance_ratio, rounding))
        return [total // classes] * classes
    mu, last = 1 / imbalance_ratio, classes - 1
    shapes: dict[str, Callable[[int, int], float]] = {
        "exp": lambda n, i: n * mu ** (i / last),  # the order of operations of the releases
        "step": lambda n, i: n if i < classes // 2 else n * mu,
        "linear": lambda n, i: (n * (last - i) + n * mu * i) / last,  # exact for whole numbers
        "balanced": lambda n, i: n,
    }
    whole: Callable[[float], int] = round if rounding == "round" else int
    return [whole(shapes[profile](n, i)) for i, n in enumerate(n_max)]


def _ratio_that_works(
    profile: str, available: Sequence[int], n_max: Sequence[int], rounding: str
) -> str:
    """Return the remedy for a class without images."""
    n = min(n_max)
    # n * (1 / n) may be just below 1 in floating point and would be truncated to 0.
    for ratio in (2 * n - 1, n, n - 1):
        if ratio >= 1 and min(_counts(profile, available, n_max, ratio, rounding)) >= 1:
            return f"use a ratio of at most {ratio}"
    return "add images"


def _classes(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"class {names[0]}"
    return f"classes {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"


def after_hold_out(
    totals: Sequence[int], per_class: int, *, names: Sequence[str] | None = None
) -> list[int]:
    """Return the images of every class that remain when `per_class` of each are held out.

    Raises:
        DataError: a class would keep no image. The error names the smallest class.
    """
    labels = [str(c) for c in range(len(totals))] if names is None else names
    total, name = min(zip(totals, labels, strict=True), key=lambda entry: entry[0])
    if total <= per_class:
        remedy = f"to at most {total - 1}" if total > 1 else "or add images"
        raise DataError(
            f"class {name} has {total} training images, but data.val_per_class holds out "
            f"{per_class} and at least one must remain; lower data.val_per_class {remedy}"
        )
    return [total - per_class for total in totals]


def hold_out(targets: NDArray[np.int64], per_class: int, *, subset_seed: int) -> Indices:
    """Choose `per_class` images of every class for validation: indices (C * per_class,)."""
    generator = np.random.RandomState(np.array([subset_seed, 0x76616C]))  # its own stream: "val"
    chosen = []
    for label in range(int(targets.max()) + 1):
        members = np.flatnonzero(targets == label)
        chosen.append(np.sort(generator.permutation(members)[:per_class]))
    return np.concatenate(chosen)


def cut(
    targets: NDArray[np.int64],
    *,
    profile: str,
    imbalance_ratio: float,
    max_per_class: int | None,
    val_per_class: int,
    subset_seed: int,
    counts: Sequence[int] | None = None,
    base: str = "min_class",
    rounding: str = "floor",
    names: Sequence[str] | None = None,
) -> Cut:
    """Choose the hold-out, and then the long-tailed subset among the remaining images.

    For each class, in ascending order, RandomState(subset_seed) shuffles all indices and the first
    ones are taken, as in the releases of LDAM-DRW, RoBal, REAT and SRAT. The subset of a higher
    ratio is therefore part of the subset of a lower one. Without a hold-out (`val_per_class=0`)
    the subsets are exactly those of the papers.

    Args:
        targets: labels 0..C-1 of the official training images, shape (N,).
        val_per_class: number of images of every class that are held out first; 0 holds out none.
        subset_seed: seed of both choices. The other arguments are those of `profile_counts`.

    Raises:
        DataError: see `after_hold_out` and `profile_counts`.
    """
    sizes = profile_counts(
        profile,
        after_hold_out(np.bincount(targets).tolist(), val_per_class, names=names),
        imbalance_ratio=imbalance_ratio,
        max_per_class=max_per_class,
        counts=counts,
        base=base,
        rounding=rounding,
        names=names,
    )
    val = hold_out(targets, val_per_class, subset_seed=subset_seed)
    free = np.ones(len(targets), dtype=bool)
    free[val] = False
    generator = np.random.RandomState(subset_seed)
    chosen = []
    for label, count in enumerate(sizes):
        members = np.flatnonzero(targets == label)
        generator.shuffle(members)
        chosen.append(members[free[members]][:count])
    return Cut(train=np.concatenate(chosen), val=val)
