"""Computes how many trials this machine runs at once."""

from __future__ import annotations

import os

from ltat_tune.space.resources import ResourcesSpec, fitting


def trials_at_once(resources: ResourcesSpec, gpus: int) -> int:
    """Return how many trials a machine with so many GPUs runs at once; at least 1."""
    slots = fitting(len(os.sched_getaffinity(0)), gpus, resources)
    return max(1, min(slots, resources.concurrency or slots))


def visible_gpus(resources: ResourcesSpec) -> int:
    """Return how many GPUs the trials of a study may use here; 0 where they use none."""
    if resources.gpus_per_trial == 0:
        return 0
    import torch

    return torch.cuda.device_count()


AUTO_ON_CPU = (
    "resources.gpus_per_trial auto is 0, because this machine has no GPU: trials train on the CPU"
)


def on_this_machine(resources: ResourcesSpec) -> ResourcesSpec:
    """Return the resources, with no GPU in place of `auto` where this machine has none."""
    if resources.measures_share and visible_gpus(resources) == 0:
        return resources.with_share(0)
    return resources
