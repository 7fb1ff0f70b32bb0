"""Calls in Ray workers: which share of a GPU each takes, with more GPUs than calls and fewer."""

from __future__ import annotations

import os

import pytest

from ltat_tune.backend.pool import gpu_share, in_workers

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize(
    ("slots", "gpus", "share"),
    [(4, 0, 0), (1, 1, 1), (2, 1, 0.5), (3, 1, 0.3333), (2, 3, 1), (2, 8, 1), (3, 2, 0.5)],
)
def test_a_call_takes_a_share_of_one_gpu_and_all_calls_fit(
    slots: int, gpus: int, share: float
) -> None:
    """With 3 calls on 2 GPUs, shares of 2/3 would fit only twice."""
    assert gpu_share(slots, gpus) == share
    if share:
        assert gpus * int(1 / share + 1e-9) >= slots


def visible(number: int) -> tuple[int, str]:
    """The number, and the GPUs that Ray lets this worker see."""
    return number, os.environ["CUDA_VISIBLE_DEVICES"]


def test_two_workers_of_a_machine_with_three_gpus_get_one_each() -> None:
    done: list[int] = []
    results = list(
        in_workers(
            visible, [(number,) for number in range(2)], slots=2, cpus=1, gpus=3,
            on_done=done.append,
        )
    )  # fmt: skip
    assert [number for number, _ in results] == [0, 1]
    assert all(gpus in ("0", "1", "2") for _, gpus in results)
    assert done == [1, 2]
