"""The checks of the gradient-masking sentinel: from answers under attack to plain sentences.

Every comparison of two attacks is paired: `gained` images are broken by the attack that should be
no stronger and withstand the other one, `lost` ones the other way round. Were the two attacks
equally strong, each of these images would fall on either side with probability 1/2.

Source: Athalye2018Obfuscated 3.1 (one step, black box, unbounded, sampling at random, distortion);
    Carlini2019Evaluating; Li2023Alleviating 5 (logits x 10); McNemar1947Note, in its exact form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.stats import binomtest
from torch import Tensor

Severity = Literal["serious", "warning"]
Unit = Literal["points", "share"]

# One-sided, of each check.
LEVEL = 0.01
# Points of all images: with many images the tests alone would make much of little.
BLACK_BOX_POINTS = 2.0
ONE_STEP_POINTS = 2.0
STEPS_POINTS = 2.0
RADIUS_POINTS = 2.0
SCALED_POINTS = 5.0  # TRADES, which is sound, reaches 4.5; RoBal at scale 1 5 to 9
MARGIN_POINTS = 5.0
UNBOUNDED_SHARE = 0.05  # of the right answers that may survive any perturbation
FLAT_SHARE = 0.05  # of the right answers that may have next to no gradient
GRADIENT_SHARE = 0.75  # of the right answers on which PGD must beat all random directions
# The sign of a small gradient is as good as that of a large one, until softmax underflows in
# float32 (at 1e-45). The 1e-14 of RoBal's cosines times 100 do PGD no harm.
FLAT_RATIO = 1e-20


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: as the table and the JSON have it.
        title: the same for people.
        figures: what was measured; accuracies in percent of all images, the rest as named.
        threshold: what `figures` are held against.
        unit: of the threshold: percentage points of all images, or a share in [0, 1] of the right
            answers.
        triggered: whether it speaks for masking.
        severity: `serious` where only a gradient that misleads explains it, `warning` where
            another attack on the same gradient gives the honest number.
        sentence: what was found and, where triggered, what it means.
    """

    name: str
    title: str
    figures: Mapping[str, float]
    threshold: float
    unit: Unit
    triggered: bool
    severity: Severity
    sentence: str


@dataclass(frozen=True)
class Evidence:
    """What was measured on a part of the images, M of N of which are answered right.

    Attributes:
        images: N.
        right: M; all tensors are about these.
        broken: by attack, whether it turned the answer wrong, (M,) bool.
        gradient_wins: whether PGD-20 left a smaller margin than each random direction, (M,) bool.
        slope: L1 norm of the gradient of cross-entropy over that of the margin, (M,); 0 where the
            margin has none.
        random_directions: number of them.
    """

    images: int
    right: int
    broken: Mapping[str, Tensor]
    gradient_wins: Tensor
    slope: Tensor
    random_directions: int

    def accuracy(self, attack: str) -> float:
        """In percent of all images, under one attack."""
        return 100 * (self.right - int(self.broken[attack].sum())) / self.images

    def gained_and_lost(self, attack: str, other: str) -> tuple[int, int]:
        """Images that only `attack` breaks, and images that only `other` breaks."""
        mine, theirs = self.broken[attack], self.broken[other]
        return int((mine & ~theirs).sum()), int((theirs & ~mine).sum())

    def beats(self, attack: str, other: str, points: float) -> bool:
        """Whether `attack` breaks more: by so many points at least, and not by chance."""
        gained, lost = self.gained_and_lost(attack, other)
        if 100 * (gained - lost) < points * self.images or gained == 0:
            return False
        return bool(binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue < LEVEL)


def black_box(found: Evidence) -> Check:
    """Square, which reads no gradient, against PGD-20, which does."""
    triggered = found.beats("square", "pgd20", BLACK_BOX_POINTS)
    figures = _compared(found, "square", "pgd20")
    gained = int(figures["gained"])
    return Check(
        "black_box", "Square against PGD-20", figures, BLACK_BOX_POINTS, "points", triggered,
        "serious",
        f"Square, which sees no gradient, breaks {_images(gained)} that PGD-20 leaves standing: "
        f"accuracy is at most {figures['square']:.1f} %, not {figures['pgd20']:.1f} %."
        if triggered
        else f"Square, which sees no gradient, leaves {figures['square']:.1f} %, PGD-20 "
        f"{figures['pgd20']:.1f} %: the gradient is of use.",
    )  # fmt: skip


def one_step(found: Evidence) -> Check:
    """FGSM against PGD-20."""
    triggered = found.beats("fgsm", "pgd20", ONE_STEP_POINTS)
    figures = _compared(found, "fgsm", "pgd20")
    return Check(
        "one_step", "FGSM against PGD-20", figures, ONE_STEP_POINTS, "points", triggered,
        "serious",
        f"One step of FGSM does more harm ({figures['fgsm']:.1f} %) than 20 of PGD "
        f"({figures['pgd20']:.1f} %): small steps do not find their way."
        if triggered
        else f"One step leaves {figures['fgsm']:.1f} %, 20 steps {figures['pgd20']:.1f} %, as "
        "they should.",
    )  # fmt: skip


def more_steps(found: Evidence) -> Check:
    """PGD-100 against PGD-20: neither worse nor much better."""
    worse = found.beats("pgd20", "pgd100", STEPS_POINTS)
    better = found.beats("pgd100", "pgd20", STEPS_POINTS)
    figures = _compared(found, "pgd100", "pgd20")
    sentence = f"100 steps leave {figures['pgd100']:.1f} %, 20 steps {figures['pgd20']:.1f} %: "
    if worse:
        sentence += "more steps do less harm, so the gradient does not lead to where the loss is."
    elif better:
        sentence += "20 steps stop too early to be quoted."
    else:
        sentence += "20 steps are enough."
    return Check(
        "more_steps", "PGD-100 against PGD-20", figures, STEPS_POINTS, "points", worse or better,
        "serious" if worse else "warning", sentence,
    )  # fmt: skip


def larger_radius(found: Evidence) -> Check:
    """Accuracy at 2, 4 times and without a limit to eps: it must fall, at last to nothing."""
    names = ("pgd20", "pgd20_2eps", "pgd20_4eps", "unbounded")
    figures = {name: found.accuracy(name) for name in names}
    left = found.right - int(found.broken["unbounded"].sum())
    survives = found.right > 0 and bool(
        binomtest(left, found.right, UNBOUNDED_SHARE, alternative="greater").pvalue < LEVEL
    )
    rises = any(
        found.beats(nearer, farther, RADIUS_POINTS)
        for nearer, farther in zip(names[:2], names[1:3], strict=True)
    )
    listed = f"{figures['pgd20']:.1f} % at eps, {figures['pgd20_2eps']:.1f} % at 2 eps, "
    listed += f"{figures['pgd20_4eps']:.1f} % at 4 eps, {figures['unbounded']:.1f} % without limit"
    if survives:
        sentence = f"{listed}: any image can become any other, so what is left was not found."
    elif rises:
        sentence = f"{listed}: a larger radius holds the smaller one, so it cannot do less harm."
    else:
        sentence = f"{listed}: the larger the radius, the fewer right answers."
    return Check(
        "larger_radius", "larger eps", figures, UNBOUNDED_SHARE, "share", survives or rises,
        "serious",
        sentence,
    )  # fmt: skip


def _scaled(found: Evidence, attack: str, name: str, factor: str, cause: str) -> Check:
    triggered = found.beats(attack, "pgd20", SCALED_POINTS)
    figures = _compared(found, attack, "pgd20")
    says = f"PGD-20 on {factor} times the logits leaves {figures[attack]:.1f} %, "
    says += f"on the logits themselves {figures['pgd20']:.1f} %: "
    return Check(
        name, f"logits x {factor}", figures, SCALED_POINTS, "points", triggered,
        "warning",
        says + (cause if triggered else "their size hides nothing."),
    )  # fmt: skip


def adaptive_up(found: Evidence) -> Check:
    """Cross-entropy on 10 z against cross-entropy on z, 20 steps both."""
    cause = "the logits are so small that cross-entropy pulls at all classes alike."
    return _scaled(found, "adaptive20", "adaptive_x10", "10", cause)


def adaptive_down(found: Evidence) -> Check:
    """Cross-entropy on 0.1 z against cross-entropy on z, 20 steps both."""
    cause = "the logits are so large that cross-entropy has hardly a gradient."
    return _scaled(found, "adaptive_down20", "adaptive_x0.1", "0.1", cause)


def margin(found: Evidence) -> Check:
    """CW-20, on the margin, against PGD-20, on cross-entropy."""
    triggered = found.beats("cw20", "pgd20", MARGIN_POINTS)
    figures = _compared(found, "cw20", "pgd20")
    says = f"CW-20, on the margin, leaves {figures['cw20']:.1f} %, PGD-20, on cross-entropy, "
    says += f"{figures['pgd20']:.1f} %: "
    return Check(
        "margin", "CW-20 against PGD-20", figures, MARGIN_POINTS, "points", triggered,
        "warning",
        says + ("cross-entropy is the wrong loss to attack this model with, quote CW."
                if triggered else "the choice of the loss matters little."),
    )  # fmt: skip


def flat(found: Evidence) -> Check:
    """Images without a gradient, or with one that float32 has rounded away."""
    count = int((found.slope < FLAT_RATIO).sum())
    share = count / found.right if found.right else 0.0
    triggered = found.right > 0 and bool(
        binomtest(count, found.right, FLAT_SHARE, alternative="greater").pvalue < LEVEL
    )
    median = float(found.slope.median()) if found.right else 0.0
    return Check(
        "flat", "gradient at the image", {"flat_share": share, "median_slope": median},
        FLAT_SHARE, "share", triggered,
        "warning",
        f"On {count} of {found.right} images cross-entropy has next to no gradient: "
        + ("there is nothing for PGD to follow." if triggered else "PGD has something to follow."),
    )  # fmt: skip


def random_direction(found: Evidence) -> Check:
    """PGD-20 against as many random directions of full length."""
    wins = int(found.gradient_wins.sum())
    triggered = found.right > 0 and bool(
        binomtest(wins, found.right, GRADIENT_SHARE, alternative="less").pvalue < LEVEL
    )
    share = wins / found.right if found.right else 1.0
    figures = {"noise": found.accuracy("noise"), "pgd20": found.accuracy("pgd20")}
    return Check(
        "random_direction", "PGD-20 against noise", figures | {"gradient_share": share},
        GRADIENT_SHARE, "share", triggered,
        "serious",
        f"PGD-20 gets farther than {found.random_directions} random directions on {wins} of "
        f"{found.right} images (accuracy {figures['pgd20']:.1f} % against "
        f"{figures['noise']:.1f} %): "
        + ("the gradient is no better than noise." if triggered else "the gradient leads."),
    )  # fmt: skip


def _compared(found: Evidence, attack: str, other: str) -> dict[str, float]:
    gained, lost = found.gained_and_lost(attack, other)
    return {
        attack: found.accuracy(attack),
        other: found.accuracy(other),
        "gained": float(gained),
        "lost": float(lost),
    }


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


CHECKS: dict[str, Callable[[Evidence], Check]] = {
    "black_box": black_box,
    "one_step": one_step,
    "more_steps": more_steps,
    "larger_radius": larger_radius,
    "adaptive_x10": adaptive_up,
    "adaptive_x0.1": adaptive_down,
    "margin": margin,
    "flat": flat,
    "random_direction": random_direction,
}
