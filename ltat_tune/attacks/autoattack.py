"""The only module that imports AutoAttack: the authors' code, packaged as `pyautoattack`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.heartbeat import beating_at_calls
from ltat_tune.errors import ConfigError

_STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
_TARGETED_DLR_CLASSES = 4  # the targeted DLR loss reads the four largest logits
_MAX_TARGET_CLASSES = 9
AA_NORMS = {"linf": "Linf", "l2": "L2"}  # our name -> the package's
L2_SQUARE_SIDE = 15  # AutoAttack's Square fails for smaller images


def standard_attacks(num_classes: int, *, norm: str = "Linf", side: int = 32) -> tuple[str, ...]:
    """Return the names of the attacks that `autoattack` runs, in order.

    These are the standard four. With fewer than 4 classes apgd-t is left out, because its targeted
    DLR loss needs 4 logits. In L2 with sides below 15 pixels square is left out, because its
    windows do not fit. The targeted attacks aim at every wrong class, but at most nine.

    Raises:
        ConfigError: there are fewer than 2 classes.
    """
    if num_classes < 2:
        raise ConfigError(f"AutoAttack needs at least 2 classes, got {num_classes}")
    left_out = {"apgd-t"} if num_classes < _TARGETED_DLR_CLASSES else set()
    if norm == "L2" and side < L2_SQUARE_SIDE:
        left_out.add("square")
    return tuple(name for name in _STANDARD if name not in left_out)


@contextmanager
def process_state_restored() -> Iterator[None]:
    """Restore the process state that `pyautoattack` changes inside the context.

    `pyautoattack` reseeds torch's global generators for each batch, writes log lines, and checks
    for dynamic defences; the check ends with `sys.settrace(None)`, which removes debuggers and
    coverage tracers.
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
    """Attack images by AutoAttack `standard`: (N, C, H, W), (N,) -> (N, C, H, W).

    An image that is already misclassified, or that no attack breaks, is returned unchanged. The
    attacks depend on the number of classes, see `standard_attacks`. The model is attacked in eval
    mode. Its modes and parameters, the global random state and the trace function are restored.

    Source: Croce2020Reliable, arXiv:2003.01690; pyautoattack 0.2.0, the same numbers as
        fra31/auto-attack@a392200.
    Deviations: with fewer than 10 classes there are K - 1 target classes, and with fewer than 4
        apgd-t is left out. In L2 with sides below 15 pixels square is left out. Its warnings are
        not shown. Images are attacked in float32.

    Args:
        model: images in [0, 1] to logits (N, K), deterministic in eval mode.
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1].
        seed: seed of the random starts. The result also depends on `batch_size` and on the order
            of the images.
        batch_size: number of images that are attacked together.
        norm: `Linf` or `L2`.

    Raises:
        ConfigError: the norm is unknown, or there are fewer than 2 classes.
    """
    if norm not in ("Linf", "L2"):
        raise ConfigError(f"unknown norm {norm!r} for autoattack; choose from: Linf, L2")
    images, targets = images.detach().float(), targets.detach()
    if eps == 0 or len(images) == 0:
        return images.clone()
    # Imported here, because only the evaluation needs it: `ltat_tune.attacks` imports quickly.
    from pyautoattack import AutoAttack

    with torch.inference_mode(False), frozen(model, training=False), process_state_restored():
        with torch.no_grad():
            num_classes = model(images[:1]).shape[1]
        attacks = standard_attacks(num_classes, norm=norm, side=min(images.shape[-2:]))
        adversary = AutoAttack(
            beating_at_calls(model), norm=norm, eps=eps, seed=seed, version="standard",
            device=images.device,
        )  # fmt: skip
        adversary.attacks_to_run = list(attacks)
        target_classes = min(num_classes - 1, _MAX_TARGET_CLASSES)
        adversary.apgd_targeted.n_target_classes = target_classes
        adversary.fab.n_target_classes = target_classes
        adv_images: Tensor
        # Copies made outside inference mode can take part in autograd, whatever the originals are.
        adv_images, _ = adversary.run_standard_evaluation(
            images.clone(), targets.clone(), batch_size=batch_size
        )
        return adv_images.detach()


def square_attack_class() -> Any:
    """Return the class of AutoAttack's Square attack, for `square`."""
    from pyautoattack.square import SquareAttack

    return SquareAttack
