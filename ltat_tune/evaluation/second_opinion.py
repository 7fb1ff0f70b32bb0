"""The second opinion: whether the validation score of a training is too good to be true.

It is taken when a training ends, on some dozens of the validation images that withstand the
validation attack. They meet an attack on the margin, which the size of the logits cannot mislead.
Those that withstand it meet a few queries of Square, which no gradient can mislead. An image whose
margin has no gradient counts as broken: no attack had anything to follow there.

A score is doubted if more of these images are broken than a sound model loses (`SOUND_SHARE`),
beyond chance. It is also doubted if more than a trace is broken (`TRACE`), and the logits show why
the validation attack failed: they are so small that cross-entropy aims at no class in particular,
or so large that it has hardly a gradient. `scripts/bench_fooled.py` measures how often a sound
training is doubted.

Every class counts with as many images as it has that withstand the validation attack. What is so
broken of all validation images is the gap between that attack and the stronger ones. A gap of more
than 7 points (`GAP`) beyond chance is doubted whatever its cause. The stronger attacks here are
short, so what AutoAttack would find is at least as much.

A network that has hardly begun to learn has small logits too, and PGD flatters it as much, so its
score is doubted as well. What adds less than a tenth to a score and does not show in the logits
stays unseen, and so does what misleads the margin attack and Square alike. The sentinel looks
closer, at the winner alone.

Source: Carlini2017Towards (margin); Andriushchenko2020Square; Li2023Alleviating 5 (logits x 10);
    Athalye2018Obfuscated 3.1. FastAT benchmark, fzjcdt/FastAT_Benchmark@b99c0de (gaps between
    PGD-50 and AutoAttack: 3.7 to 6.4 points for sound methods, 7.2 to 34 where gradients hide).
"""

from __future__ import annotations

import torch
from scipy.stats import binom
from torch import Tensor, nn

from ltat_tune.attacks.autoattack import L2_SQUARE_SIDE
from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.named import parse_attack
from ltat_tune.attacks.square import square
from ltat_tune.config.attack_names import read_name
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.evaluation.measures import wilson
from ltat_tune.evaluation.sentinel import BATCH_SIZE
from ltat_tune.evaluation.sentinel_attacks import Batch, gradient_lengths
from ltat_tune.evaluation.sentinel_checks import EVEN_PULL, FLAT_RATIO, LEVEL, OTHER_LOSS
from ltat_tune.planning.opinion_cost import LOOK, QUERIES, QUERY, margin_steps, opinion_images
from ltat_tune.presentation.names import attack_name
from ltat_tune.storage.training_files import SecondOpinion
from ltat_tune.training.evaluation import EVALUATION_SEED, MeasuredPart, correct_answers

# Share of images that a sound model may lose: CW takes at most 7.8 % from those of REAT's tables.
SOUND_SHARE = OTHER_LOSS
# Share of all validation images.
GAP = 0.07
# The same if the logits show why the validation attack failed. Beyond chance, so that a cause that
# did no harm is no reason.
TRACE = 0.02
GUESSING = 1.1  # times the accuracy of guessing; no better score can be too good
_MOST = 1e9  # stands for infinity in JSON


def second_opinion(
    model: nn.Module, val: LabelledImages, answers: Tensor | None, config: TrialConfig, train: int
) -> SecondOpinion | None:
    """Return the second opinion on a training; None if there is nothing to doubt.

    There is none with a clean validation, with a radius of 0, and on a score that is no better
    than guessing. As many images of every class are attacked, as far as there are, and as many as
    `SHARE` of the training's passes pays for. The model is attacked in eval mode and left
    unchanged, as is the global random state. Equal weights give an equal opinion.

    Args:
        model: images in [0, 1] to logits (N, K).
        val: all validation images.
        answers: which of them withstand the validation attack, (N,) bool; None if that is not
            known, and then they meet it again.
        config: of the training.
        train: number of training images.
    """
    attack = config.evaluation.val_attack
    steps = margin_steps(attack)
    if attack == "clean" or config.measured_eps == 0:
        return None
    if answers is None:
        whole = MeasuredPart.of("val", val, None)
        answers = correct_answers(model, whole, attack, config)
    standing = answers.to(val.targets.device).nonzero().squeeze(1)
    if len(standing) <= GUESSING * len(val) / (int(val.targets.max()) + 1):
        return None
    part = MeasuredPart.of("val", val.at(standing), opinion_images(config, train), at_most=True)
    size = min(config.evaluation.batch_size, BATCH_SIZE)
    looks = [
        _look(model, Batch(to_unit(images), targets, standing[places]), config)
        for images, targets, places in part.batches(size)
    ]
    flags, pulls = (torch.cat(each, dim=-1) for each in zip(*looks, strict=True))
    broken, by_margin, by_square, no_gradient, flat = flags.sum(dim=1).tolist()
    accuracy = len(standing) / len(val)
    share, effective = standing_share(
        flags[0], part.data.targets.cpu(), val.targets[standing].cpu()
    )
    median = min(float(pulls.median()), _MOST)
    attacked = len(part) * (LOOK + steps) + (len(part) - by_margin) * QUERY * QUERIES
    return SecondOpinion(
        attack=attack, images=len(part), broken=broken, by_margin=by_margin, by_square=by_square,
        no_gradient=no_gradient, flat=flat, pull=median, passes=attacked, accuracy=accuracy,
        share_of_standing=share,
        reason=why_doubted(attack, len(part), broken, accuracy=accuracy, no_gradient=no_gradient,
                           flat=flat, pull=median, share=share, effective=effective),
    )  # fmt: skip


def standing_share(broken: Tensor, targets: Tensor, standing: Tensor) -> tuple[float, int]:
    """Return the share of the standing images that is broken, and how many images tell as much.

    Images of a class were attacked in equal numbers, however many stand. A class counts with those
    that stand; one of which none was attacked counts as the others do.

    Args:
        broken: which attacked images are, (N,) bool.
        targets: their classes, (N,).
        standing: the classes of all that stand, (M,).
    """
    classes = int(standing.max()) + 1
    seen = torch.bincount(targets, minlength=classes).double()
    weight = torch.bincount(standing, minlength=classes).double() * (seen > 0)
    weight = weight / weight.sum()
    fallen = torch.bincount(targets[broken], minlength=classes)
    seen = seen.clamp_min(1)
    return float((weight * fallen / seen).sum()), round(1 / float((weight**2 / seen).sum()))


def why_doubted(
    attack: str, images: int, broken: int, *,
    accuracy: float, no_gradient: int, flat: int, pull: float,
    share: float | None = None, effective: int | None = None,
) -> str:  # fmt: skip
    """Return why a score is too good, in a clause; empty if it is credible.

    Args:
        attack: the validation attack.
        images: that withstand it and were attacked again.
        broken: of them.
        accuracy: share of all validation images that withstand it, > 0.
        no_gradient: of them.
        flat: images whose cross-entropy has next to no gradient.
        pull: median of the pull.
        share: of all that withstand it, the broken ones; None is broken / images.
        effective: number of images that tell as much of the share; None is all.
    """
    share = broken / images if share is None else share
    effective = images if effective is None else effective
    by_margin = read_name(attack) is not None and attack.startswith("cw")
    cause = ""
    if no_gradient > chance(images, TRACE):
        cause = f"on {no_gradient} of them no attack has a gradient to follow"
    elif not by_margin and flat > chance(images, TRACE):
        cause = f"on {flat} of them the logits are so large that cross-entropy has no gradient"
    elif not by_margin and pull < EVEN_PULL:
        cause = "the logits are so small that cross-entropy aims at no class in particular"
    allowed = chance(images, TRACE if cause else SOUND_SHARE)
    gaping = round(share * effective) > chance(effective, min(1.0, GAP / accuracy))
    if broken <= allowed and not gaping:
        return ""
    points = gap_in_words(share, effective, accuracy)
    expected = f", where chance allows for {allowed}" if broken > allowed else ""
    usual = "" if expected else f", and {100 * GAP:.0f} are the most that is usual"
    return (
        f"too good to be true: of {images} validation images that withstand "
        f"{attack_name(attack)}, {broken} fall to other attacks{expected}; {attack_name(attack)} "
        f"overestimates by {points}{usual}{'; ' if cause else ''}{cause}"
    )


def gap_in_words(share: float, images: int, accuracy: float) -> str:
    """Return `about 12 points [9-15]`: what other attacks take off an accuracy.

    The interval of 95 % is that of the share of broken images; the accuracy is known.

    Args:
        share: of the images that withstand the validation attack, those that are broken.
        images: number of attacked images that tell as much of the share.
        accuracy: share of all validation images that withstand the validation attack.
    """
    ends = wilson(round(share * images), images)
    gap, low, high = (100 * accuracy * each for each in (share, ends.low, ends.high))
    return f"about {gap:.0f} points [{low:.0f}-{high:.0f}]"


def chance(images: int, share: float) -> int:
    """Return the most images that chance breaks, at `LEVEL`, if each is broken with this share."""
    return int(binom.isf(LEVEL, images, share))


def _look(model: nn.Module, batch: Batch, config: TrialConfig) -> tuple[Tensor, Tensor]:
    """Return what `second_opinion` counts of a batch, (5, N) bool, and the pulls, (N,)."""
    images, targets, places = batch
    eps, norm = config.measured_eps, config.measured_norm
    of_loss, of_margin, pull = gradient_lengths(model, images, targets)
    blind = (of_margin == 0).cpu()
    flat = (of_loss <= FLAT_RATIO * of_margin).cpu()
    attack = parse_attack(f"cw{margin_steps(config.evaluation.val_attack)}")
    adv_images = attack.run(
        model, images, targets, eps=eps, norm=norm, step_size=config.evaluation.step_size,
        seed=EVALUATION_SEED, split="val", places=places,
    )  # fmt: skip
    by_margin = ~_right(model, adv_images, targets).cpu()
    by_square = torch.zeros_like(by_margin)
    left = (~by_margin).nonzero().squeeze(1)
    if len(left) and (norm != "l2" or min(images.shape[-2:]) >= L2_SQUARE_SIDE):
        here = left.to(images.device)
        adv_images = square(
            model, images[here], targets[here], eps=eps, seed=EVALUATION_SEED, queries=QUERIES,
            norm=norm, fit_schedule=True,
        )  # fmt: skip
        by_square[left] = ~_right(model, adv_images, targets[here]).cpu()
    broken = by_margin | by_square | blind
    return torch.stack([broken, by_margin, by_square, blind, flat]), pull


def _right(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Return which images are answered right, (N,) bool."""
    with torch.no_grad(), frozen(model, training=False):
        right: Tensor = model(images).argmax(dim=1) == targets
    return right
