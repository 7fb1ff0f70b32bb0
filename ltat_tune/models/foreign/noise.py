"""The random numbers that a network draws by itself, for dropout and stochastic depth."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ltat_tune.config.values import ConfigValues
from ltat_tune.models.foreign.backbone import is_foreign
from ltat_tune.seeding import drawing, stream_seed


def network_noise(
    config: ConfigValues, epoch: int, device: torch.device
) -> AbstractContextManager[None]:
    """Return the context of a training epoch, in which a network draws the same at every try.

    The networks of this package draw nothing, so nothing is seeded for them.
    """
    if not is_foreign(config.model.name) and not config.parts:
        return nullcontext()
    return drawing(stream_seed(config.seeds.seed, f"network {epoch}"), device)
