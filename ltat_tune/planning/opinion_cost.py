"""What a second opinion on a training takes: its images, and the passes over each."""

from __future__ import annotations

from ltat_tune.config.attack_names import read_name
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.planning.cost import MAX_IMAGES, epoch_passes

SHARE = 0.08  # of a training's passes that a second opinion may take
FEWEST_IMAGES = 32  # attacked even after a training so short that they take more than the share
QUERIES = 50
LOOK, QUERY = 2.0, 0.5  # passes of both gradients of an image, and of a query
_STEPS = 20  # most steps; also against FGSM, which a model can learn to mislead


def margin_steps(attack: str) -> int:
    """Return the steps of the margin attack: those of the validation attack, 20 at most."""
    parts = read_name(attack)
    return min(_STEPS, parts.steps or _STEPS) if parts is not None else _STEPS


def opinion_images(config: TrialConfig, train: int) -> int:
    """Return how many images the training pays for, if as many withstand the validation attack.

    Args:
        config: of the training.
        train: number of its training images.
    """
    budget = SHARE * config.optim.epochs * epoch_passes(config, train)
    steps = margin_steps(config.evaluation.val_attack)
    affordable = int(budget / (LOOK + steps + QUERY * QUERIES))
    return min(MAX_IMAGES, max(FEWEST_IMAGES, affordable))


def opinion_passes(config: TrialConfig, train: int, val: int) -> float:
    """Return the most passes of a second opinion on a training.

    Args:
        config: of the training.
        train: number of its training images.
        val: number of its validation images.
    """
    attack = config.evaluation.val_attack
    if attack == "clean" or config.measured_eps == 0:
        return 0.0
    images = min(val, opinion_images(config, train))
    return images * (LOOK + margin_steps(attack) + QUERY * QUERIES)
