"""Runs the same function on several inputs at once, each in a Ray worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ltat_tune.backend.ray_session import ray_session
from ltat_tune.errors import LtatError


def in_workers(
    work: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    *,
    slots: int,
    cpus: int,
    gpu: bool,
    on_done: Callable[[int], None],
) -> Iterator[Any]:
    """Yield what `work(*arguments)` returns for each of `arguments`, in order.

    For a worker that died it yields an LtatError.

    Args:
        work: a function of a module, which the workers import.
        arguments: one tuple for each call.
        slots: calls at once.
        cpus: CPUs of each call.
        gpu: whether the calls share the machine's GPUs.
        on_done: called with the number of finished calls whenever one finishes.
    """
    with ray_session(slots, cpus=cpus) as resources:
        import ray
        from ray.exceptions import RayError

        gpus = resources.get("GPU", 0) / slots if gpu else 0
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(work)
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
