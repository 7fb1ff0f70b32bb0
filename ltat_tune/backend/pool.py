"""Runs the same function on several inputs at once, each in a Ray worker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ltat_tune.backend.ray_session import ray_session
from ltat_tune.errors import LtatError


def gpu_share(slots: int, gpus: int) -> float:
    """Return the share of one GPU of each call, so that all fit at once; at most 1.

    A share lies on one GPU, and Ray counts in ten-thousandths.
    """
    if gpus == 0:
        return 0.0
    on_one = math.ceil(slots / gpus)
    return math.floor(10_000 / on_one) / 10_000


def in_workers(
    work: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    *,
    slots: int,
    cpus: int,
    gpus: int,
    on_done: Callable[[int], None],
) -> Iterator[Any]:
    """Yield what `work(*arguments)` returns for each of `arguments`, in order.

    For a worker that died it yields an LtatError.

    Args:
        work: a function of a module, which the workers import.
        arguments: one tuple for each call.
        slots: calls at once.
        cpus: CPUs of each call.
        gpus: GPUs of the machine that the calls share; 0 if they use none.
        on_done: called with the number of finished calls whenever one finishes.
    """
    with ray_session(slots, cpus=cpus, gpus=gpus):
        import ray
        from ray.exceptions import RayError

        share = gpu_share(slots, gpus)
        remote = ray.remote(num_cpus=cpus, num_gpus=share, max_retries=0)(work)
        jobs = [remote.remote(*each) for each in arguments]
        waiting = list(jobs)
        for job in jobs:
            while job in waiting:
                _, waiting = ray.wait(waiting)
                on_done(len(jobs) - len(waiting))
            try:
                result: Any = ray.get(job)
            except RayError as error:  # most often killed for memory
                reason = str(error).strip().splitlines()[-1]
                result = LtatError(f"its worker died; fewer models at once may help ({reason})")
            yield result
