"""A worker whose GPU runs out of memory, is lost, or is to be given back, on the pretended GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.attacks.named import parse_attack
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.engine.gpu_faults import is_out_of_memory
from ltat_tune.engine.worker import run_task
from ltat_tune.errors import GPULost
from ltat_tune.models import build_model
from ltat_tune.storage.task import Task
from tests.cuda.device import Pretended, to_host
from tests.cuda.process import Machine
from tests.training.toys import TINY

ILLEGAL = "CUDA error: an illegal memory access was encountered"


@dataclass
class Failing:
    """Fails the operation of this number with this error, and perhaps all that follow."""

    number: int
    error: Callable[[str], Exception]
    text: str
    lost: bool = False


@dataclass(frozen=True)
class Worked:
    """What a worker reported, what it raised, and the tensors that were left when it gave back."""

    reports: list[dict[str, Any]]
    raised: str
    left: list[int]


def work(
    folder: Path,
    failing: Failing | None = None,
    *,
    stop_at: int | None = None,
    values: Mapping[str, object] | None = None,
    spacious: bool = False,
) -> Worked:
    """Run a task on the GPU."""
    config = {**TINY, "optim.epochs": 2, **(values or {})}
    task = Task("a/t0000", "trial", "a", config, str(folder / "t0000"), str(folder / "cache"), 1,
                "cuda", 2, spacious=spacious)  # fmt: skip
    task.path.mkdir(exist_ok=True)
    reports: list[dict[str, Any]] = []
    raised = ""

    def report(values: dict[str, Any]) -> None:
        reports.append(values)
        if values.get("epoch") == stop_at and stop_at is not None:
            raise SystemExit  # as Tune ends a trial at a rung

    with Pretended() as gpu:

        def fail(name: str) -> None:
            if failing is not None and gpu.operations == failing.number:
                if failing.lost:
                    gpu.lost = failing.text
                raise failing.error(failing.text)

        gpu.before = fail
        try:
            run_task(task, report)
        except (GPULost, SystemExit) as error:
            raised = type(error).__name__
        return Worked(reports, raised, list(gpu.living_when_emptied))


def test_memory_is_given_back_at_the_end_of_a_task(machine: Machine, tmp_path: Path) -> None:
    done = machine.run(work, tmp_path)
    assert done.reports[-1]["event"]["state"] == "complete"
    assert done.left[-1] == 0


def test_memory_is_given_back_when_a_rung_stops_the_trial(
    machine: Machine, tmp_path: Path
) -> None:
    done = machine.run(work, tmp_path, stop_at=1)
    assert done.raised == "SystemExit"
    assert done.left[-1:] == [0]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
        (torch.AcceleratorError, "CUDA error: out of memory"),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`"),
        (RuntimeError, "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
)
def test_every_way_to_run_out_of_memory_asks_for_more_room(
    machine: Machine, tmp_path: Path, error: Callable[[str], Exception], text: str
) -> None:
    done = machine.run(work, tmp_path, Failing(700, error, text))
    assert done.reports[-1]["event"]["state"] == "out_of_memory"
    assert done.left[-1] == 0


def test_out_of_memory_in_a_recording_is_found_behind_the_recordings_own_error(
    machine: Machine, tmp_path: Path
) -> None:
    done = machine.run(recording_without_memory, tmp_path)
    assert done.reports[-1]["event"]["state"] == "out_of_memory"


def recording_without_memory(folder: Path) -> Worked:
    """The first operation of the first recording gets no memory."""
    reports: list[dict[str, Any]] = []
    task = Task("a/t0000", "trial", "a", {**TINY}, str(folder / "t"), str(folder / "cache"), 1,
                "cuda", 2)  # fmt: skip
    task.path.mkdir()
    with Pretended() as gpu:

        def fail(name: str) -> None:
            if gpu.tape is not None:
                gpu.tape.spoiled = True
                raise torch.OutOfMemoryError("CUDA out of memory.")

        gpu.before = fail
        run_task(task, reports.append)
    return Worked(reports, "", [])


def test_a_second_time_it_is_a_failure_that_names_the_remedy(
    machine: Machine, tmp_path: Path
) -> None:
    full = Failing(700, torch.OutOfMemoryError, "CUDA out of memory.")
    event = machine.run(work, tmp_path, full, spacious=True).reports[-1]["event"]
    assert event["state"] == "failed"
    assert "lower optim.batch_size" in event["reason"]


def test_a_lost_gpu_ends_the_worker_so_that_another_process_goes_on(
    machine: Machine, tmp_path: Path
) -> None:
    done = machine.run(work, tmp_path, Failing(700, torch.AcceleratorError, ILLEGAL, lost=True))
    assert done.raised == "GPULost"
    assert done.reports[-1] == {
        "note": f"a/t0000: the GPU no longer answers this process ({ILLEGAL}); its worker ends, "
        "and another goes on"
    }
    assert not any("event" in report for report in done.reports)


def test_an_error_that_leaves_the_gpu_alive_is_the_tasks_own(
    machine: Machine, tmp_path: Path
) -> None:
    done = machine.run(work, tmp_path, Failing(700, RuntimeError, "no such kernel"))
    assert done.raised == ""
    assert done.reports[-1]["event"]["state"] == "failed"
    assert "no such kernel" in done.reports[-1]["event"]["reason"]


def test_another_error_is_not_out_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes (2) and (3) differ"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(torch.OutOfMemoryError())


def test_a_measurement_that_runs_out_of_memory_goes_on_in_halves(machine: Machine) -> None:
    """Room for 64 images, of 80: they fill 128, then twice 40 fill 64."""
    whole, halved, sizes = machine.run(measured_in_halves)
    assert halved == whole
    assert sizes == [128, 64]  # 64 twice


def measured_in_halves() -> tuple[list[float], list[float], list[int]]:
    """Images under PGD, with room for all and for 64 of them; and the batches that were tried."""
    generator = torch.Generator().manual_seed(0)
    images, sizes = torch.rand(80, 1, 8, 8, generator=generator), list[int]()
    targets = torch.randint(0, 3, (80,), generator=generator)
    model = build_model(TrialConfig.from_flat({}).model, in_channels=1, num_classes=3).eval()
    attack = parse_attack("pgd2")

    def attacked(most: int) -> list[float]:
        def room(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            if most < 1000 and given[0].requires_grad and sizes[-1:] != [len(given[0])]:
                sizes.append(len(given[0]))
            if len(given[0]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        hook = there.register_forward_pre_hook(room)
        found = attack.run(
            there, images.to("cuda"), targets.to("cuda"), eps=0.1, norm="linf", seed=0
        )
        hook.remove()
        return to_host(found).flatten().tolist()

    with Pretended():
        there = copy.deepcopy(model).to("cuda")
        return attacked(1000), attacked(64), sizes
