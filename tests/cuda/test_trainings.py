"""Every part of a training on the pretended GPU: the CPU's digits, and no wait in a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda.cases import REGISTRIES, WRAPPERS, Values
from tests.cuda.process import Machine
from tests.cuda.trainings import Fitted, on_cpu, on_gpu, teacher_file

CASES = REGISTRIES | WRAPPERS


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_a_training_gives_the_digits_of_the_cpu_with_and_without_graphs_and_never_waits(
    machine: Machine, name: str, precision: str
) -> None:
    _check(machine, {**CASES[name], "compute.precision": precision})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_taught_training_gives_the_digits_of_the_cpu_and_never_waits(
    machine: Machine, precision: str, tmp_path: Path
) -> None:
    file = machine.run(teacher_file, tmp_path)
    values: Values = {"method.name": "trades", "method.teacher": str(file)}
    _check(machine, {**values, "compute.precision": precision})


def _check(machine: Machine, values: Values) -> None:
    if values["compute.precision"] == "bf16":  # what a second epoch may change, fp32 shows
        values = {**values, "optim.epochs": 1}
    plain = machine.run(on_gpu, {**values, "compute.graphs": "off"})
    graphs = machine.run(on_gpu, {**values, "compute.graphs": "auto"})
    assert _waits(graphs) == _waits(plain) == []
    assert (graphs.weights, graphs.metrics) == (plain.weights, plain.metrics)
    expected = machine.run(on_cpu, values)
    assert (plain.weights, plain.metrics) == (expected.weights, expected.metrics)
    attacks = values.get("method.name") != "natural"
    assert graphs.recordings.keys() <= {0}
    assert graphs.replays > 0 or not attacks
    assert graphs.note == ""
    assert plain.recordings == {} and plain.replays == 0


def _waits(fitted: Fitted) -> list[str]:
    """What waited in a step, but the check of a recording, once."""
    recorded = sum(fitted.recordings.values())
    return [p for p, n in fitted.step_waits.items() if not _is_check(p) or n > recorded]


def _is_check(place: str) -> bool:
    return "a number is read at attacks/replays.py" in place
