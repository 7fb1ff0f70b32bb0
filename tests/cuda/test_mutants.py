"""Does the pretended GPU punish what a GPU would? Each fault is planted, and must be found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks.balls import Linf
from ltat_tune.attacks.replays import Replays
from ltat_tune.models.conv_bn import ConvBN
from tests.cuda.device import OnDevice
from tests.cuda.process import Machine
from tests.cuda.trainings import Fitted, on_gpu

_FP32: dict[str, object] = {"compute.precision": "fp32"}
Mutant = Callable[[], AbstractContextManager[Any]]


def _in_attack(change: Callable[[Tensor, Tensor], Tensor]) -> AbstractContextManager[Any]:
    """Change the images before each step of the attack."""
    real = Linf.step
    return mock.patch.object(
        Linf, "step", lambda self, images, gradient: real(self, change(images, gradient), gradient)
    )


def a_number_is_read_in_the_attack() -> AbstractContextManager[Any]:
    return _in_attack(lambda images, gradient: images * (0 * float(gradient.abs().max()) + 1))


def noise_is_drawn_in_the_recording() -> AbstractContextManager[Any]:
    return _in_attack(lambda images, gradient: images + 0 * torch.rand_like(images))


def a_constant_of_the_cpu_is_copied_in_the_recording() -> AbstractContextManager[Any]:
    return _in_attack(lambda images, gradient: images * torch.ones(3, 1, 1).to(images.device))


def a_tensor_of_the_cpu_takes_part() -> AbstractContextManager[Any]:
    return _in_attack(lambda images, gradient: images * torch.ones(3, 1, 1))


def a_mask_chooses_pixels() -> AbstractContextManager[Any]:
    def masked(images: Tensor, gradient: Tensor) -> Tensor:
        images[gradient > 1e9] = images[gradient > 1e9] / 2
        return images

    return _in_attack(masked)


def each_update_moves_the_weights_in_memory() -> AbstractContextManager[Any]:
    real = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *args: Any) -> Any:
        done = real(self, *args)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.host = parameter.host.clone()
        return done

    return mock.patch.object(torch.optim.SGD, "step", step)


def a_replay_keeps_the_images_that_were_recorded() -> AbstractContextManager[Any]:
    real = Replays.__call__

    def call(self: Replays, model: nn.Module, *batch: Tensor) -> Tensor:
        if self._replay is None:
            return real(self, model, *batch)
        self._replay()
        return self._out[: len(batch[0])].clone()

    return mock.patch.object(Replays, "__call__", call)


def batchnorm_is_folded_once_for_all_steps() -> AbstractContextManager[Any]:
    real, kept = ConvBN._folded, dict[int, tuple[Tensor, Tensor]]()

    def folded(self: ConvBN) -> tuple[Tensor, Tensor]:
        if id(self) not in kept:
            kept[id(self)] = real(self)
        return kept[id(self)]

    return mock.patch.object(ConvBN, "_folded", folded)


def batches_come_from_pageable_memory() -> AbstractContextManager[Any]:
    return mock.patch("ltat_tune.data.batches.sent", lambda values, device: values.to(device))


def a_generator_of_the_cpu_draws_on_the_gpu() -> AbstractContextManager[Any]:
    generator = torch.Generator()
    return _in_attack(lambda images, gradient: images.uniform_(0, 1, generator=generator))


def with_mutant(mutant: Mutant | None, values: dict[str, object]) -> Fitted:
    """Train with a planted fault."""
    if mutant is None:
        return on_gpu(values)
    with mutant():
        return on_gpu(values)


@pytest.fixture(scope="module")
def plain(machine: Machine) -> Fitted:
    return machine.run(with_mutant, None, {**_FP32, "compute.graphs": "off"})


def test_without_a_fault_nothing_is_found(machine: Machine, plain: Fitted) -> None:
    found = machine.run(with_mutant, None, _FP32)
    assert found.weights == plain.weights
    assert list(found.step_waits.values()) == [1]  # that the first replay is checked


@pytest.mark.parametrize(
    ("mutant", "message"),
    [
        (a_number_is_read_in_the_attack, "a number is read"),
        (noise_is_drawn_in_the_recording, "rand_like draws numbers"),
        (a_constant_of_the_cpu_is_copied_in_the_recording, "a copy to the device"),
        (a_mask_chooses_pixels, "its shape depends on numbers"),
    ],
)
def test_what_no_recording_may_do_ends_the_recording_and_is_named(
    machine: Machine, mutant: Mutant, message: str
) -> None:
    """The training goes on without graphs, and says why."""
    found = machine.run(with_mutant, mutant, _FP32)
    assert message in found.note and "compute.graphs: off" in found.note
    assert found.replays == 0
    direct = machine.run(with_mutant, mutant, {**_FP32, "compute.graphs": "off"})
    if mutant is not noise_is_drawn_in_the_recording:
        assert any(message in place for place in direct.step_waits)
        assert found.weights == direct.weights


@pytest.mark.parametrize(
    ("mutant", "message"),
    [
        (a_tensor_of_the_cpu_takes_part, "on the same device"),
        (a_generator_of_the_cpu_draws_on_the_gpu, "Expected a 'cuda' device type for generator"),
    ],
)
def test_mixed_devices_raise(machine: Machine, mutant: Mutant, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        machine.run(with_mutant, mutant, {"compute.graphs": "off"})


@pytest.mark.parametrize(
    "mutant",
    [
        each_update_moves_the_weights_in_memory,
        a_replay_keeps_the_images_that_were_recorded,
        batchnorm_is_folded_once_for_all_steps,
    ],
)
def test_a_replay_that_misses_a_change_gives_other_weights(
    machine: Machine, plain: Fitted, mutant: Mutant
) -> None:
    assert machine.run(with_mutant, mutant, _FP32).weights != plain.weights


def test_a_copy_from_pageable_memory_counts_as_a_wait(machine: Machine) -> None:
    waits = machine.run(with_mutant, batches_come_from_pageable_memory, _FP32).step_waits
    assert any("from pageable memory" in place for place in waits)


def test_tensors_of_the_device_refuse_numpy(machine: Machine) -> None:
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        machine.run(_to_numpy)


def _to_numpy() -> object:
    from tests.cuda.device import Pretended

    with Pretended():
        made = torch.zeros(2, device="cuda")
        assert isinstance(made, OnDevice) and made.device == torch.device("cuda:0")
        return made.numpy()
