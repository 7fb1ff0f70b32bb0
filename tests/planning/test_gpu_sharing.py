"""`resources.gpus_per_trial: auto`: what is tried, what is chosen, and real trainings at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import load_splits
from ltat_tune.errors import StudyError
from ltat_tune.planning import gpu_sharing
from ltat_tune.planning.gpu_sharing import (
    MeasuredShare,
    chosen,
    measured_resources,
    representative_part,
    share_of,
    share_sentence,
    tries,
)
from ltat_tune.planning.slots import on_this_machine
from ltat_tune.preflight.load import load_space
from ltat_tune.storage.folder import StudyFolder
from tests.drive import MINI, write_space

CONFIG = TrialConfig.from_flat({**MINI["fixed"], "data.imbalance_ratio": 2})


def _machine(speeds: list[float], memory_mib: float = 1000) -> Callable[[int], MeasuredShare]:
    """A GPU on which one, two, ... trainings have these speeds, all together."""
    return lambda copies: MeasuredShare(copies, speeds[copies - 1], memory_mib)


def test_trainings_are_added_while_each_brings_its_share() -> None:
    # 1 fills less than half, 2 and 3 still gain, the fourth brings 2 %
    found, why = tries(_machine([100, 180, 210, 214, 400]), most=8, memory_mib=80_000)
    assert [tried.copies for tried in found] == [1, 2, 3, 4]
    assert chosen(found) == 3
    assert why == "4 are hardly faster than 3"
    assert share_sentence(found, why) == (
        "resources.gpus_per_trial auto is 0.3333, 3 trainings on a GPU (1: 100 images/s, "
        "2: 180 images/s, 3: 210 images/s, 4: 214 images/s; 4 are hardly faster than 3)"
    )


def test_what_does_not_fit_is_not_tried() -> None:
    found, why = tries(_machine([100, 200, 300], 3000), most=8, memory_mib=8192)
    assert chosen(found) == 2  # three would take 9,000 MiB of 8,192
    assert why == "3 would not fit into 8.0 GiB"


def test_processors_are_a_limit_too() -> None:
    found, _ = tries(_machine([100, 200, 300]), most=2, memory_mib=80_000)
    assert chosen(found) == 2
    found, _ = tries(_machine([100, 90]), most=2, memory_mib=80_000)
    assert chosen(found) == 1


def test_a_try_that_fails_ends_the_trying_and_the_first_one_the_study() -> None:
    def attempt(copies: int) -> MeasuredShare:
        if copies > failing - 1:
            raise StudyError("a training failed: out of memory")
        return MeasuredShare(copies, 100.0 * copies, 1000)

    failing = 3
    found, why = tries(attempt, most=8, memory_mib=80_000)
    assert chosen(found) == 2 and why == "3 failed: a training failed: out of memory"
    failing = 1
    with pytest.raises(StudyError, match="a training failed: out of memory"):
        tries(attempt, most=8, memory_mib=80_000)


@pytest.mark.parametrize("copies", range(1, 9))
def test_so_many_shares_lie_on_one_gpu(copies: int) -> None:
    from ltat_tune.space.resources import ResourcesSpec, fitting

    written = ResourcesSpec.model_validate({"gpus_per_trial": "auto"})
    assert written.measures_share and written.gpus_per_trial == 1
    resources = written.with_share(share_of(copies))
    assert not resources.measures_share
    assert fitting(64, 2, resources) == 2 * copies
    assert copies * round(10_000 * resources.gpus_per_trial) <= 10_000  # as Ray counts


def test_a_training_that_fails_is_told_with_its_reason() -> None:
    missing = CONFIG.replace({"data.name": "image_folder", "data.root": "/nowhere"})
    with pytest.raises(StudyError, match="a training failed: .*/nowhere"):
        gpu_sharing.train_at_once(missing, 2, device="cpu", threads=1, cache=None, images=64)


@pytest.mark.parametrize(("batch_size", "validated"), [(4, 8), (500, 100)])
def test_what_is_measured_validates_as_much_as_takes_a_trainings_memory(
    batch_size: int, validated: int
) -> None:
    config = CONFIG.replace(
        {"evaluation.batch_size": batch_size, "evaluation.every_epochs": 6,
         "evaluation.select_epoch": "best"}
    )  # fmt: skip
    short, part = representative_part(config, load_splits(config), 64)
    assert (len(part.train), len(part.val)) == (64, validated)
    assert (short.evaluation.every_epochs, short.evaluation.select_epoch) == (1, "last")


def test_auto_is_the_cpu_without_a_gpu_and_is_measured_once_a_study_by_real_trainings_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_space(tmp_path, resources={"gpus_per_trial": "auto"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert on_this_machine(load_space(path).resources).gpus_per_trial == 0
    space = load_space(path, cluster=True)
    folder = StudyFolder(tmp_path / "study")
    folder.create(dict(space.document), {})
    with pytest.raises(StudyError, match="auto is measured on a GPU .*, but it has none"):
        measured_resources(space, folder)

    # trained for real, on the processor instead of the GPU that is not here
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: "Paper GPU")
    memory = SimpleNamespace(total_memory=2**40)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: memory)
    real, asked, found = gpu_sharing.train_at_once, [], []

    def on_the_processor(config: TrialConfig, copies: int, **how: object) -> MeasuredShare:
        asked.append((copies, how["device"]))
        here = {**how, "device": "cpu", "images": 64, "seconds": 1}
        found.append(real(config, copies, **here))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(gpu_sharing, "train_at_once", on_the_processor)
    monkeypatch.setattr(gpu_sharing, "MOST", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    resources, note = measured_resources(space, folder)
    assert resources.gpus_per_trial in (1.0, 0.5) and not resources.measures_share
    assert asked == [(1, "cuda"), (2, "cuda")]
    assert f"auto is {resources.gpus_per_trial:g}" in note
    one, two = found
    assert (one.copies, two.copies) == (1, 2)
    # on one processor two are as fast as one, on two up to twice; a busy machine is slower
    assert 0.2 < two.images_s / one.images_s < 4
    assert 50 < one.memory_mib < 20_000
    asked.clear()
    again, same = measured_resources(space, folder)
    assert (again, same, asked) == (resources, note, [])
