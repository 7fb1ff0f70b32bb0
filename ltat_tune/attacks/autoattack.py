"""The only door to AutoAttack, its authors' code as packaged in `pyautoattack`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.errors import ConfigError

_STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
_TARGETED_DLR_CLASSES = 4  # the targeted DLR loss reads the four largest logits
_MAX_TARGET_CLASSES = 9
AA_NORMS = {"linf": "Linf", "l2": "L2"}  # ours -> the package's
L2_SQUARE_SIDE = 15  # its Square fails below


def standard_attacks(num_classes: int, *, norm: str = "Linf", side: int = 32) -> tuple[str, ...]:
    """The attacks that `autoattack` runs, in order.

    The standard four; below 4 classes without apgd-t, whose targeted DLR loss needs 4 logits; in
    L2 below 15 pixels a side without square, whose windows do not fit. The targeted ones aim at
    every wrong class, at most nine.

    Raises:
        ConfigError: below 2 classes.
    """
    if num_classes < 2:
        raise ConfigError(f"AutoAttack needs at least 2 classes, got {num_classes}")
    left_out = {"apgd-t"} if num_classes < _TARGETED_DLR_CLASSES else set()
    if norm == "L2" and side < L2_SQUARE_SIDE:
        left_out.add("square")
    return tuple(name for name in _STANDARD if name not in left_out)


@contextmanager
def process_state_restored() -> Iterator[None]:
    """Undoes what `pyautoattack` does to the process: global seeds, the trace function, log lines.

    It reseeds torch's global generators for each batch, and its check for dynamic defences ends
    with `sys.settrace(None)`, which removes debuggers and coverage tracers.
    """
    initialised: bool = torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if initialised else []
    logger = logging.getLogger("auto-attack")
    level, trace = logger.level, sys.gettrace()
    try:
        logger.setLevel(logging.ERROR)
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        logger.setLevel(level)
        sys.settrace(trace)


def autoattack(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    eps: float,
    seed: int,
    batch_size: int = 500,
    norm: str = "Linf",
) -> Tensor:
    """Adversarial images of AutoAttack `standard`: (N, C, H, W), (N,) -> (N, C, H, W).

    An image that is misclassified already, or that no attack breaks, comes back unchanged. What
    runs depends on the number of classes: see `standard_attacks`. The model is attacked in eval
    mode; its modes, parameters, the global random state and the trace function are left as found.

    Source: Croce2020Reliable, arXiv:2003.01690; pyautoattack 0.2.0, the same numbers as
        fra31/auto-attack@a392200.
    Deviations: fewer than 10 classes lower the number of target classes to K - 1, fewer than 4
        leave out apgd-t, L2 below 15 pixels a side leaves out square; its warnings are not shown;
        images are attacked in float32.

    Args:
        model: images in [0, 1] to logits (N, K), deterministic in eval mode.
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1].
        seed: of the attacks' random starts; the result also depends on `batch_size` and on the
            order.
        batch_size: images attacked together.
        norm: `Linf` or `L2`.

    Raises:
        ConfigError: for another norm, or below 2 classes.
    """
    if norm not in ("Linf", "L2"):
        raise ConfigError(f"unknown norm {norm!r} for autoattack; choose from: Linf, L2")
    images, targets = images.detach().float(), targets.detach()
    if eps == 0 or len(images) == 0:
        return images.clone()
    # Here, because only evaluation needs it: importing `ltat_tune.attacks` stays quick.
    from pyautoattack import AutoAttack

    with torch.inference_mode(False), frozen(model, training=False), process_state_restored():
        with torch.no_grad():
            num_classes = model(images[:1]).shape[1]
        attacks = standard_attacks(num_classes, norm=norm, side=min(images.shape[-2:]))
        adversary = AutoAttack(
            model, norm=norm, eps=eps, seed=seed, version="standard", device=images.device
        )
        adversary.attacks_to_run = list(attacks)
        target_classes = min(num_classes - 1, _MAX_TARGET_CLASSES)
        adversary.apgd_targeted.n_target_classes = target_classes
        adversary.fab.n_target_classes = target_classes
        adv_images: Tensor
        # Copies made outside inference mode can take part in autograd, whatever was given.
        adv_images, _ = adversary.run_standard_evaluation(
            images.clone(), targets.clone(), batch_size=batch_size
        )
        return adv_images.detach()


def square_attack_class() -> Any:
    """Return the class of AutoAttack's Square attack, to be made by `square`."""
    from pyautoattack.square import SquareAttack

    return SquareAttack
