"""The checks of the gradient-masking sentinel: they turn answers under attack into sentences.

Two attacks are compared image by image: `gained` images are broken by the one and withstand the
other, `lost` ones the other way round. A gap counts if chance does not explain it (McNemar's exact
test: between equally strong attacks each of these images falls on either side with probability
1/2) and if it is large enough to matter: a share of the images that the other attack leaves
standing. Each of those is a claim of robustness, and the gap counts the false claims. Points of
accuracy would demand ten times as much of a model at 5 % as of one at 50 %.

The thresholds also rest, beside the reason given at each, on REAT's tables (Li2023Alleviating). Of
what PGD-20 leaves standing there, PGD-100 takes 0.0 to 0.9 % and CW-100 0.5 to 7.8 %, from every
method but RoBal; from RoBal at scale 1 CW-100 takes 8.1 to 15.3 % and cross-entropy on ten times
the logits 9.8 to 15.3 %. So the size of a gap alone does not tell RoBal from MART (7.3 %), nor
from TRADES (one of nine models of digits lost 10 %); `adaptive_x10` therefore asks for its cause.

The checks cannot see masking that costs PGD fewer images than chance explains, 7 at least;
masking that CW, ten times the logits, Square, one step and noise all fall for; a forward that is
random; anything outside the measured images. Up to one in ten of what PGD-20 leaves standing
may fall to CW under `clear`. It is no proof of robustness: that is what AutoAttack is for.

Source: Athalye2018Obfuscated 3.1 (one step, black box, unbounded, sampling at random, distortion);
    Carlini2019Evaluating; Li2023Alleviating 5 (logits x 10); McNemar1947Note, in its exact form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from scipy.stats import binomtest
from torch import Tensor

Severity = Literal["serious", "warning"]
Unit = Literal["standing", "right"]

# One-sided level of each check: at most one false alarm in a hundred between equally strong
# attacks. On a sound model they are not equally strong: PGD-20 is stronger than what it is
# compared with, except CW and ten times the logits, each of which has a condition of its own.
LEVEL = 0.01
# Fewest images on one side that the test does not ascribe to chance: 2^-7 < 0.01 < 2^-6.
FEWEST_RIGHT = math.ceil(math.log2(1 / LEVEL))
# One in twenty: five times what more steps take from the sound models of the tables above, and
# half of what the right attack takes from RoBal. Square, FGSM and cross-entropy on a tenth of the
# logits break fewer images of a sound model than PGD-20.
TOLERANCE = 0.05
# One in ten: CW takes at most 7.8 % from a sound model of the tables. The lower end of the
# interval is compared with it, so that no model below it is accused by chance.
OTHER_LOSS = 0.10
# Pull of the runner-up over the average other wrong class, e^(their distance in logits). Below 2
# cross-entropy aims at no class in particular: two of the others outweigh the nearest one.
# Cosines at scale 1 lie within [-1, 1] and mostly within ln 2 of each other: RoBal's pull was 1.1
# to 1.3 there, that of every sound model of digits and CIFAR-10 between 2.8 and 9.2.
EVEN_PULL = 2.0
# PGD-20 leads to a smaller margin than each of 20 random directions: once in 21 times if the
# gradient is noise, and always on a smooth surface. Three in four allows for the images of a sound
# model that every attack breaks.
GRADIENT_SHARE = 0.75
# The sign of a small gradient is as good as that of a large one, until softmax underflows in
# float32 (at 1e-45). The 1e-14 of RoBal's cosines times 100 do PGD no harm.
FLAT_RATIO = 1e-20
_MOST = 1e9  # stands for infinity in JSON


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: name in the table and in the JSON.
        title: human-readable name.
        figures: measured values; accuracies in percent of all images, the others as named.
        threshold: limit for `figures`, a share in [0, 1].
        unit: what the threshold is a share of: the images that the other attack leaves standing,
            or the right answers.
        triggered: whether the check indicates masking.
        severity: `serious` if only a misleading gradient explains it, `warning` if another attack
            on the same gradient gives the honest number.
        sentence: the result and, if triggered, its meaning.
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
    """The measurements on a part of the images, M of N of which are answered right.

    Attributes:
        images: N.
        right: M; all tensors are about these.
        broken: by attack, whether it turned the answer wrong, (M,) bool.
        gradient_wins: whether PGD-20 left a smaller margin than each random direction, (M,) bool.
        slope: L1 norm of the gradient of cross-entropy over that of the margin, (M,); 0 where the
            margin has none.
        pull: at the image, how much more strongly cross-entropy pulls at the runner-up than at the
            average other wrong class, (M,); infinity with two classes.
        random_directions: number of them.
    """

    images: int
    right: int
    broken: Mapping[str, Tensor]
    gradient_wins: Tensor
    slope: Tensor
    pull: Tensor
    random_directions: int

    def accuracy(self, attack: str) -> float:
        """Return the accuracy under one attack, in percent of all images."""
        return 100 * self.standing(attack) / self.images

    def gained_and_lost(self, attack: str, other: str) -> tuple[int, int]:
        """Return how many images only `attack` breaks, and how many only `other` breaks."""
        mine, theirs = self.broken[attack], self.broken[other]
        return int((mine & ~theirs).sum()), int((theirs & ~mine).sum())

    def standing(self, attack: str) -> int:
        """Return how many right answers one attack leaves."""
        return self.right - int(self.broken[attack].sum())

    def beats(self, attack: str, other: str) -> bool:
        """Return whether `attack` breaks more than `other`, enough to matter and not by chance."""
        gained, lost = self.gained_and_lost(attack, other)
        if gained == 0 or gained - lost < TOLERANCE * self.standing(other):
            return False
        return bool(binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue < LEVEL)


def _exceeds(count: int, of: int, share: float) -> bool:
    """Return whether more than this share is affected, and not by chance."""
    return of > 0 and bool(binomtest(count, of, share, alternative="greater").pvalue < LEVEL)


def black_box(evidence: Evidence) -> Check:
    """Compare Square, which reads no gradient, with PGD-20, which does.

    Square lowers the margin, PGD-20 raises cross-entropy. If CW-20, which follows the margin's
    gradient, leaves no more than Square, the loss explains the gap and the gradient is sound. That
    is a warning, as in `margin`.
    """
    triggered = evidence.beats("square", "pgd20")
    leads = evidence.standing("cw20") <= evidence.standing("square")
    figures = {**_compared(evidence, "square", "pgd20"), "cw20": evidence.accuracy("cw20")}
    gained = int(figures["gained"])
    says = f"Square, which sees no gradient, breaks {_images(gained)} that PGD-20 leaves "
    says += f"standing: accuracy is at most {figures['square']:.1f} %, not "
    says += f"{figures['pgd20']:.1f} %"
    if leads:
        says += f"; CW-20 leaves {figures['cw20']:.1f} %, so the loss misleads, not the gradient"
    return Check(
        "black_box", "Square against PGD-20", figures, TOLERANCE, "standing", triggered,
        "warning" if triggered and leads else "serious",
        f"{says}."
        if triggered
        else f"Square, which sees no gradient, leaves {figures['square']:.1f} %, PGD-20 "
        f"{figures['pgd20']:.1f} %: the gradient is useful.",
    )  # fmt: skip


def one_step(evidence: Evidence) -> Check:
    """Compare FGSM with PGD-20."""
    triggered = evidence.beats("fgsm", "pgd20")
    figures = _compared(evidence, "fgsm", "pgd20")
    return Check(
        "one_step", "FGSM against PGD-20", figures, TOLERANCE, "standing", triggered,
        "serious",
        f"One step of FGSM does more harm ({figures['fgsm']:.1f} %) than 20 of PGD "
        f"({figures['pgd20']:.1f} %): small steps are misled."
        if triggered
        else f"One step leaves {figures['fgsm']:.1f} %, 20 steps {figures['pgd20']:.1f} %, as "
        "they should.",
    )  # fmt: skip


def more_steps(evidence: Evidence) -> Check:
    """Compare PGD-100 with PGD-20: it must be neither worse nor much better."""
    worse = evidence.beats("pgd20", "pgd100")
    better = evidence.beats("pgd100", "pgd20")
    figures = _compared(evidence, "pgd100", "pgd20")
    sentence = f"100 steps leave {figures['pgd100']:.1f} %, 20 steps {figures['pgd20']:.1f} %: "
    if worse:
        sentence += "more steps do less harm, so the gradient does not lead to a high loss."
    elif better:
        sentence += "20 steps stop too early to be quoted."
    else:
        sentence += "20 steps are enough."
    return Check(
        "more_steps", "PGD-100 against PGD-20", figures, TOLERANCE, "standing", worse or better,
        "serious" if worse else "warning", sentence,
    )  # fmt: skip


def larger_radius(evidence: Evidence) -> Check:
    """Check that accuracy falls at 2 and 4 times eps, and to nothing without a limit."""
    names = ("pgd20", "pgd20_2eps", "pgd20_4eps", "unbounded")
    figures = {name: evidence.accuracy(name) for name in names}
    survives = _exceeds(evidence.standing("unbounded"), evidence.right, TOLERANCE)
    rises = any(
        evidence.beats(nearer, farther)
        for nearer, farther in zip(names[:2], names[1:3], strict=True)
    )
    listed = f"{figures['pgd20']:.1f} % at eps, {figures['pgd20_2eps']:.1f} % at 2 eps, "
    listed += f"{figures['pgd20_4eps']:.1f} % at 4 eps, {figures['unbounded']:.1f} % without limit"
    if survives:
        sentence = f"{listed}: any image can become any other, so the attack missed what is left."
    elif rises:
        sentence = f"{listed}: a larger ball contains the smaller one, so it cannot do less harm."
    else:
        sentence = f"{listed}: the larger the radius, the fewer right answers."
    return Check(
        "larger_radius", "larger eps", figures, TOLERANCE, "right", survives or rises, "serious",
        sentence,
    )  # fmt: skip


def _scaled(
    evidence: Evidence, attack: str, name: str, factor: str, cause: str, acts: bool = True
) -> Check:
    more = evidence.beats(attack, "pgd20")
    figures = _compared(evidence, attack, "pgd20")
    says = f"PGD-20 on {factor} times the logits leaves {figures[attack]:.1f} %, "
    says += f"on the logits themselves {figures['pgd20']:.1f} %: "
    if more and acts:
        says += cause
    else:
        says += "another loss suits it better, see CW." if more else "their size hides nothing."
    return Check(
        name, f"logits x {factor}", figures, TOLERANCE, "standing", more and acts, "warning", says
    )


def adaptive_up(evidence: Evidence) -> Check:
    """Compare cross-entropy on 10 z with cross-entropy on z, 20 steps both.

    Ten times the logits makes cross-entropy nearly the margin, which is a somewhat better loss
    against some sound models too (TRADES, MART). It indicates small logits only if they are so
    small that the pull is even over the wrong classes.
    """
    pull = float(evidence.pull.median()) if evidence.right else math.inf
    cause = f"the logits are so small that cross-entropy pulls at the runner-up {pull:.1f} times "
    cause += "as much as at any other class."
    check = _scaled(evidence, "adaptive20", "adaptive_x10", "10", cause, pull < EVEN_PULL)
    return replace(check, figures={**check.figures, "median_pull": min(pull, _MOST)})


def adaptive_down(evidence: Evidence) -> Check:
    """Compare cross-entropy on 0.1 z with cross-entropy on z, 20 steps both.

    On a sound model the smaller logits only make the pull more even, which does less harm.
    """
    cause = "the logits are so large that cross-entropy has hardly a gradient."
    return _scaled(evidence, "adaptive_down20", "adaptive_x0.1", "0.1", cause)


def margin_check(evidence: Evidence) -> Check:
    """Compare CW-20, on the margin, with PGD-20, on cross-entropy."""
    gained, _ = evidence.gained_and_lost("cw20", "pgd20")
    triggered = evidence.beats("cw20", "pgd20") and _exceeds(
        gained, evidence.standing("pgd20"), OTHER_LOSS
    )
    figures = _compared(evidence, "cw20", "pgd20")
    says = f"CW-20, on the margin, leaves {figures['cw20']:.1f} %, PGD-20, on cross-entropy, "
    says += f"{figures['pgd20']:.1f} %: "
    return Check(
        "margin", "CW-20 against PGD-20", figures, OTHER_LOSS, "standing", triggered,
        "warning",
        says + ("cross-entropy is the wrong loss to attack this model with, quote CW."
                if triggered else "the choice of the loss matters little."),
    )  # fmt: skip


def flat(evidence: Evidence) -> Check:
    """Count images without a gradient, or with one that float32 has rounded away."""
    count = int((evidence.slope < FLAT_RATIO).sum())
    share = count / evidence.right if evidence.right else 0.0
    triggered = _exceeds(count, evidence.right, TOLERANCE)
    median = float(evidence.slope.median()) if evidence.right else 0.0
    return Check(
        "flat", "gradient at the image", {"flat_share": share, "median_slope": median},
        TOLERANCE, "right", triggered,
        "warning",
        f"On {count} of {evidence.right} images cross-entropy has next to no gradient: "
        + ("there is nothing for PGD to follow." if triggered else "PGD has something to follow."),
    )  # fmt: skip


def random_direction(evidence: Evidence) -> Check:
    """Compare PGD-20 with as many random directions of full length."""
    wins = int(evidence.gradient_wins.sum())
    triggered = evidence.right > 0 and bool(
        binomtest(wins, evidence.right, GRADIENT_SHARE, alternative="less").pvalue < LEVEL
    )
    share = wins / evidence.right if evidence.right else 1.0
    figures = {"noise": evidence.accuracy("noise"), "pgd20": evidence.accuracy("pgd20")}
    return Check(
        "random_direction", "PGD-20 against noise", figures | {"gradient_share": share},
        GRADIENT_SHARE, "right", triggered,
        "serious",
        f"PGD-20 gets farther than {evidence.random_directions} random directions on {wins} of "
        f"{evidence.right} images (accuracy {figures['pgd20']:.1f} % against "
        f"{figures['noise']:.1f} %): "
        + ("the gradient is no better than noise." if triggered else "the gradient leads."),
    )  # fmt: skip


def _compared(evidence: Evidence, attack: str, other: str) -> dict[str, float]:
    gained, lost = evidence.gained_and_lost(attack, other)
    return {
        attack: evidence.accuracy(attack),
        other: evidence.accuracy(other),
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
    "margin": margin_check,
    "flat": flat,
    "random_direction": random_direction,
}
