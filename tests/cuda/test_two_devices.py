"""A machine with two GPUs: a training on cuda:1 is that of cuda:0, with graphs and without."""

from __future__ import annotations

import pytest

from tests.cuda.process import Machine
from tests.cuda.trainings import on_gpu

EPS = 8 / 255


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphs_are_recorded_on_the_device_that_trains(machine: Machine, precision: str) -> None:
    values: dict[str, object] = {"compute.precision": precision, "attack.steps": 3}
    first = machine.run(on_gpu, values, device="cuda:0", devices=2)
    second = machine.run(on_gpu, values, device="cuda:1", devices=2)
    assert second.farthest <= EPS + 1e-6
    assert second.recordings.keys() == {1}
    assert second.replays == first.replays > 0
    assert (second.weights, second.metrics) == (first.weights, first.metrics)
    plain = machine.run(on_gpu, {**values, "compute.graphs": "off"}, device="cuda:1", devices=2)
    assert plain.weights == second.weights
