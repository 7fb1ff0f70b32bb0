"""Which images: counts of a long-tailed profile, the hold-out before it, and the cut itself.

Private generators throughout: the same stream as `np.random.seed(s)` of the papers' releases
without touching the global one (FACTS section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
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
) -> list[int]:
    """Images of every class under a profile, most frequent class first, shape (C,).

    exp: int(n_max * UR^(-i/(C-1))), Cui2019Class; step: the first C//2 classes n_max, the rest
    int(n_max / UR); balanced: n_max each; full: what there is. Counts are truncated, not rounded.

    Args:
        profile: exp | step | balanced | full.
        available: images of every class that may be used, shape (C,).
        imbalance_ratio: UR = n_max / n_min >= 1.
        max_per_class: n_max; None is the largest that every class has.

    Raises:
        DataError: a class would be left without images, or has fewer than asked for.
    """
    classes = len(available)
    if profile == "full":
        counts = list(available)
    else:
        n_max = min(available) if max_per_class is None else max_per_class
        shares = {
            # n_max * mu^(i/(C-1)) with mu = 1/UR, in this order of operations, as the releases do
            "exp": [(1 / imbalance_ratio) ** (i / (classes - 1)) for i in range(classes)],
            "step": [1.0] * (classes // 2) + [1 / imbalance_ratio] * (classes - classes // 2),
            "balanced": [1.0] * classes,
        }[profile]
        counts = [int(n_max * share) for share in shares]
    empty = [c for c, count in enumerate(counts) if count == 0]
    if empty:
        n_max = max(counts)
        # 49 * (1 / 49) is just below 1 in floating point, and would be truncated to 0.
        highest = n_max if n_max and n_max * (1 / n_max) >= 1 else n_max - 1
        remedy = f"use a ratio of at most {highest}" if n_max else "add images"
        raise DataError(
            f"every class needs an image, but profile {profile} with imbalance ratio "
            f"{imbalance_ratio:g} and n_max {n_max} leaves {_classes(empty)} without any; {remedy}"
        )
    short = [c for c in range(classes) if counts[c] > available[c]]
    if short:
        c = short[0]
        raise DataError(
            f"class {c} has {available[c]} images left for training, but {counts[c]} are asked "
            f"for; lower data.max_per_class to at most {min(available)}"
        )
    return counts


def _classes(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return f"class {indices[0]}"
    return f"classes {', '.join(map(str, indices[:6]))}{', ...' if len(indices) > 6 else ''}"


def hold_out(targets: NDArray[np.int64], per_class: int, *, subset_seed: int) -> Indices:
    """Sets `per_class` images of every class aside, shape (C * per_class,), before any cut.

    Raises:
        DataError: a class would keep no image for training.
    """
    generator = np.random.RandomState(np.array([subset_seed, 0x76616C]))  # its own stream: "val"
    chosen = []
    for label in range(int(targets.max()) + 1):
        members = np.flatnonzero(targets == label)
        if len(members) <= per_class:
            raise DataError(
                f"class {label} has {len(members)} training images, but data.val_per_class sets "
                f"{per_class} aside and at least one must remain; lower data.val_per_class"
            )
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
) -> Cut:
    """Chooses the hold-out and then the long-tailed subset of the rest, disjoint from it.

    Of every class, in ascending order, all indices are shuffled by RandomState(subset_seed) and
    the first are taken, as the releases of LDAM-DRW, RoBal, REAT and SRAT do; so subsets are
    nested over the ratio, and without a hold-out (`val_per_class=0`) they are exactly the papers'
    subsets.

    Args:
        targets: labels 0..C-1 of the official training images, shape (N,).
        val_per_class: images of every class that are set aside first; 0 is none.

    Raises:
        DataError: as `profile_counts` and `hold_out`.
    """
    classes = int(targets.max()) + 1
    empty = np.empty(0, dtype=np.int64)
    val = hold_out(targets, val_per_class, subset_seed=subset_seed) if val_per_class else empty
    free = np.ones(len(targets), dtype=bool)
    free[val] = False
    available = np.bincount(targets[free], minlength=classes)
    counts = profile_counts(
        profile,
        available.tolist(),
        imbalance_ratio=imbalance_ratio,
        max_per_class=max_per_class,
    )
    generator = np.random.RandomState(subset_seed)
    chosen = []
    for label, count in enumerate(counts):
        members = np.flatnonzero(targets == label)
        generator.shuffle(members)
        chosen.append(members[free[members]][:count])
    return Cut(train=np.concatenate(chosen), val=val)
