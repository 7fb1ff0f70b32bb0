"""Measures how often the 95 % interval of a mean over classes holds the truth, and how wide it is.

    python scripts/bench_intervals.py            # the whole grid
    python scripts/bench_intervals.py --smoke    # only whether it runs

No training: the right answers of each class are drawn from a binomial distribution. The shipped
interval (`ltat_tune.evaluation.measures.mean_ends`) stands beside the one before it, Zou's, and
beside others that were tried.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import norm

from ltat_tune.evaluation.measures import CONFIDENCE, effective_images, mean_ends

Values = NDArray[np.float64]
Ends = tuple[Values, Values]

CLASSES = (4, 10, 34, 100)
IMAGES = (5, 40, 100, 1000)
RECALLS = (0.01, 0.05, 0.5)
TAIL = (1 - CONFIDENCE) / 2
Z = float(norm.ppf(1 - TAIL))


def wilson_ends(share: Values, images: Values) -> Ends:
    """Wilson's interval of a share of so many images, any shape."""
    scale = 1 + Z**2 / images
    centre = (share + Z**2 / (2 * images)) / scale
    half = Z * np.sqrt(share * (1 - share) / images + Z**2 / (4 * images**2)) / scale
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)


def zou(right: Values, total: Values) -> Ends:
    """The distances to the Wilson ends of every class, combined (MOVER, Zou2009Note)."""
    shares, mean = right / total, (right / total).mean(axis=-1)
    low, high = wilson_ends(shares, total)
    below, above = (np.sqrt((d**2).sum(axis=-1)) for d in (shares - low, high - shares))
    count = total.shape[-1]
    return np.maximum(mean - below / count, 0), np.minimum(mean + above / count, 1)


def jeffreys_by_class(right: Values, total: Values) -> Ends:
    """The beta with the mean and variance of the mean of Beta(r + 1/2, n - r + 1/2)."""
    a, b = right + 0.5, total - right + 0.5
    mean = (a / (a + b)).mean(axis=-1)
    variance = (a * b / ((a + b) ** 2 * (a + b + 1))).sum(axis=-1) / total.shape[-1] ** 2
    size = mean * (1 - mean) / variance - 1
    a, b = mean * size, (1 - mean) * size
    return betaincinv(a, b, TAIL), betaincinv(a, b, 1 - TAIL)


def wilson_effective(right: Values, total: Values) -> Ends:
    """Wilson's with the effective number of images."""
    return wilson_ends(*effective_images(right, total))


def jeffreys_effective(right: Values, total: Values) -> Ends:
    """Jeffreys' with the effective number of images."""
    mean, images = effective_images(right, total)
    a, b = mean * images + 0.5, (1 - mean) * images + 0.5
    low, high = betaincinv(a, b, TAIL), betaincinv(a, b, 1 - TAIL)
    return np.where(mean <= 0, 0.0, low), np.where(mean >= 1, 1.0, high)


METHODS: dict[str, Callable[[Values, Values], Ends]] = {
    "Zou (before)": zou,
    "Clopper-Pearson, effective (now)": mean_ends,
    "Wilson, effective": wilson_effective,
    "Jeffreys, effective": jeffreys_effective,
    "Jeffreys by class": jeffreys_by_class,
}


def recalls_of(
    kind: str, mean: float, shape: tuple[int, int], generator: np.random.Generator
) -> Values:
    """True recalls around a mean, (draws, K)."""
    if kind == "equal":
        return np.full(shape, mean)
    if kind == "falling":  # from twice the mean to 0, as from head to tail
        return np.tile(np.linspace(2 * mean, 0, shape[1]), (shape[0], 1))
    size = float(kind.removeprefix("Beta, size "))
    return generator.beta(mean * size, (1 - mean) * size, shape)


KINDS = ("equal", "falling", "Beta, size 4", "Beta, size 1")


def totals_of(images: int, classes: int, *, uneven: bool) -> Values:
    """Images by class, (K,): all the same, or every other class with a fifth of them."""
    total = np.full(classes, float(images))
    if uneven:
        total[1::2] = max(images // 5, 1)
    return total


def cell(
    kind: str, mean: float, total: Values, draws: int, generator: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Coverage and mean width of every method at one place of the grid."""
    truth = recalls_of(kind, mean, (draws, len(total)), generator)
    right = generator.binomial(total.astype(np.int64), truth).astype(np.float64)
    centre = truth.mean(axis=-1)
    found = {}
    for name, method in METHODS.items():
        low, high = method(right, total)
        held = (low <= centre + 1e-12) & (centre <= high + 1e-12)
        found[name] = (float(held.mean()), float((high - low).mean()))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Prints the grid of the two, then worst, mean and width of all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=10_000, help="at each place of the grid")
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--smoke", action="store_true", help="100 draws")
    given = parser.parse_args(arguments)
    draws, generator = 100 if given.smoke else given.draws, np.random.default_rng(given.seed)
    before, now = list(METHODS)[:2]
    cells = []
    print(f"coverage % and mean width in points, Zou's > the present; {draws} draws each")
    print("recalls           classes images  " + "".join(f"mean {m:<25.0%}" for m in RECALLS))
    for kind, uneven in [*((k, False) for k in KINDS), ("Beta, size 4", True)]:
        for classes in CLASSES:
            for images in IMAGES:
                total = totals_of(images, classes, uneven=uneven)
                row = [cell(kind, m, total, draws, generator) for m in RECALLS]
                cells.extend(row)
                label = kind + (" *" if uneven else "")
                print(f"{label:17} {classes:7} {images:6}  " + "".join(
                    f"{100 * c[before][0]:5.1f} > {100 * c[now][0]:5.1f}  "
                    f"{100 * c[before][1]:5.2f} > {100 * c[now][1]:5.2f}  " for c in row
                ))  # fmt: skip
    print("* every other class has a fifth of the images\n")
    print(f"{'method':33} worst %  mean %  below 94 %  width by Zou's: mean, range")
    for name in METHODS:
        held = np.array([c[name][0] for c in cells])
        ratios = np.array([c[name][1] / c[before][1] for c in cells])
        print(f"{name:33} {100 * held.min():7.1f} {100 * held.mean():7.1f} "
              f"{(held < 0.94).sum():5} of {len(cells)} {ratios.mean():8.2f}, "
              f"{ratios.min():.2f} to {ratios.max():.2f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
