"""Which images: counts of a long-tailed profile, the hold-out before it, and the cut itself.

Private generators throughout: the same stream as `np.random.seed(s)` of the papers' releases
without touching the global one.
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
    """Training images of every class under a profile, in the order of the classes, shape (C,).

    exp: n_max * UR^(-i/(C-1)), Cui2019Class; step: the first C//2 classes n_max, the rest
    n_max / UR; linear: in equal steps from n_max to n_max / UR; balanced: n_max each;
    balanced_small: the total of exp, the same for every class; given: `counts`; full: what there
    is.

    Source: REAT 5.1 and appendix (exp, balanced_small, linear); SRAT 5.1 (exp, step).
    Deviations: n_max is never above what a class has; the releases take images / C for every
        class, which on SVHN is more than its rarest class has.

    Args:
        profile: exp | step | linear | given | balanced | balanced_small | full.
        available: images of every class that may be used, shape (C,).
        imbalance_ratio: UR = n_max / n_min >= 1.
        max_per_class: n_max; None is what `base` says.
        counts: what profile given takes, shape (C,).
        base: n_max is min_class (the smallest class's images, for every class, so that the ratio
            is exact) or per_class (each class's own, in exp, step and linear: not monotone).
        rounding: floor (cut off, as the releases) | round (to the nearest, ties to even).
        names: the classes' names, for errors; None is their numbers.

    Raises:
        DataError: a class would be left without images, or has fewer than asked for.
    """
    named = [str(c) for c in range(len(available))] if names is None else list(names)
    if profile == "given":
        found = list(counts or ())
        if len(found) != len(available):
            raise DataError(
                f"data.counts must hold one number for each of the {len(available)} classes, "
                f"got {len(found)}"
            )
    else:
        n_max = _n_max(profile, available, max_per_class, base)
        found = _counts(profile, available, n_max, imbalance_ratio, rounding)
        empty = [name for name, count in zip(named, found, strict=True) if count < 1]
        if empty:
            raise DataError(
                f"every class needs an image, but profile {profile} with imbalance ratio "
                f"{imbalance_ratio:g} and n_max {max(n_max)} leaves {_classes(empty)} without "
                f"any; {_ratio_that_works(profile, available, n_max, rounding)}"
            )
    for name, count, there in zip(named, found, available, strict=True):
        if count > there:
            remedy = (
                f"lower it to at most {there}"
                if profile == "given"
                else f"lower data.max_per_class to at most {min(available)}"
            )
            asked = "data.counts asks for {}" if profile == "given" else "{} are asked for"
            raise DataError(
                f"class {name} has {there} images left for training, but "
                f"{asked.format(count)}; {remedy}"
            )
    return found


def _n_max(
    profile: str, available: Sequence[int], max_per_class: int | None, base: str
) -> list[int]:
    """n_max of every class, (C,): all alike but for base per_class."""
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
        "exp": lambda n, i: n * mu ** (i / last),  # in this order of operations, as the releases
        "step": lambda n, i: n if i < classes // 2 else n * mu,
        "linear": lambda n, i: (n * (last - i) + n * mu * i) / last,  # exact where it is whole
        "balanced": lambda n, i: n,
    }
    whole: Callable[[float], int] = round if rounding == "round" else int
    return [whole(shapes[profile](n, i)) for i, n in enumerate(n_max)]


def _ratio_that_works(
    profile: str, available: Sequence[int], n_max: Sequence[int], rounding: str
) -> str:
    """What to do about a class without images."""
    n = min(n_max)
    # n * (1 / n) may be just below 1 in floating point, and would be truncated to 0.
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
    """Images of every class that remain for training when `per_class` of each are set aside.

    Raises:
        DataError: a class would keep none; the smallest is named.
    """
    named = [str(c) for c in range(len(totals))] if names is None else names
    total, name = min(zip(totals, named, strict=True), key=lambda entry: entry[0])
    if total <= per_class:
        remedy = f"to at most {total - 1}" if total > 1 else "or add images"
        raise DataError(
            f"class {name} has {total} training images, but data.val_per_class sets {per_class} "
            f"aside and at least one must remain; lower data.val_per_class {remedy}"
        )
    return [total - per_class for total in totals]


def hold_out(targets: NDArray[np.int64], per_class: int, *, subset_seed: int) -> Indices:
    """Sets `per_class` images of every class aside, shape (C * per_class,), before any cut."""
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
    """Chooses the hold-out and then the long-tailed subset of the rest, disjoint from it.

    Of every class, in ascending order, all indices are shuffled by RandomState(subset_seed) and
    the first are taken, as the releases of LDAM-DRW, RoBal, REAT and SRAT do; so subsets are
    nested over the ratio, and without a hold-out (`val_per_class=0`) they are exactly the papers'
    subsets.

    Args:
        targets: labels 0..C-1 of the official training images, shape (N,).
        val_per_class: images of every class that are set aside first; 0 is none.
        subset_seed: decides both choices. The other arguments are those of `profile_counts`.

    Raises:
        DataError: as `after_hold_out` and `profile_counts`.
    """
    wanted = profile_counts(
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
    for label, count in enumerate(wanted):
        members = np.flatnonzero(targets == label)
        generator.shuffle(members)
        chosen.append(members[free[members]][:count])
    return Cut(train=np.concatenate(chosen), val=val)
