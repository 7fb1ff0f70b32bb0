"""Starts Ray as a study does and runs one task: `python -m ltat_tune.backend.self_test`."""

from __future__ import annotations

from ltat_tune.backend.ray_session import ray_session

_TASK_S = 30.0


def run_one_task() -> None:
    """Start a Ray with one slot and run a task in it.

    Raises:
        Exception: whatever Ray raises if it does not start, or the task does not end in 30 s.
    """
    with ray_session(1):
        import ray

        task = ray.remote(num_cpus=1)(_one).remote()
        assert ray.get(task, timeout=_TASK_S) == 1


def _one() -> int:
    return 1


if __name__ == "__main__":
    run_one_task()
