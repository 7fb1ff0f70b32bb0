"""One study trains in one precision, whichever GPUs its starts and its nodes have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ltat_tune.backend.nodes import GPU, gpus_of_node, precision_on
from ltat_tune.engine.precision import study_precision
from ltat_tune.errors import StudyError
from ltat_tune.preflight.load import load_space
from ltat_tune.search.stems import stem_of
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from tests.drive import MINI, write_space

V100, H200 = GPU("Tesla V100", (7, 0)), GPU("NVIDIA H200", (9, 0))


def _study(folder: Path, **fixed: Any) -> tuple[Space, StudyFolder]:
    path = write_space(folder, fixed={**MINI["fixed"], **fixed}, resources={"gpus_per_trial": 0.5})
    space = load_space(path, cluster=True)
    study = StudyFolder(folder / "study")
    study.create(dict(space.document), {})
    return space, study


def _machine(monkeypatch: pytest.MonkeyPatch, *gpus: GPU) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: gpus[index].name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: gpus[index].capability)


def test_the_precision_of_the_first_start_is_that_of_all_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, folder = _study(tmp_path)
    _machine(monkeypatch, V100)
    assert study_precision(space, folder, None) == ("fp32", [])
    _machine(monkeypatch, H200)
    assert study_precision(space, folder, None) == ("fp32", [])


def test_two_kinds_of_gpus_train_in_what_both_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, folder = _study(tmp_path)
    _machine(monkeypatch, H200, V100)
    precision, (note,) = study_precision(space, folder, None)
    assert precision == "fp32"
    assert note.startswith(
        "all trials train in fp32, because Tesla V100 (compute capability 7.0) has no bfloat16"
    )


def test_a_study_in_bf16_is_not_resumed_on_a_gpu_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, folder = _study(tmp_path)
    _machine(monkeypatch, H200)
    assert study_precision(space, folder, None) == ("bf16", [])
    _machine(monkeypatch, H200, V100)
    with pytest.raises(StudyError, match="trains in bf16, but Tesla V100 .* resume it without"):
        study_precision(space, folder, None)


def test_a_precision_that_is_given_needs_no_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, folder = _study(tmp_path, **{"compute.precision": "bf16"})
    _machine(monkeypatch, V100)
    assert study_precision(space, folder, None) == (None, [])
    assert "precision" not in folder.read_facts()


def test_a_node_names_its_gpus_with_the_words_of_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 9.0\nTesla V100-SXM2, 7.0\n[N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpus = gpus_of_node()
    assert gpus == [H200, GPU("Tesla V100-SXM2", (7, 0))]
    assert (precision_on(gpus), precision_on(gpus[:1])) == ("fp32", "bf16")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert gpus_of_node() == []


def test_a_stem_of_another_precision_is_another_stem() -> None:
    from ltat_tune.config.trial_config import TrialConfig

    late = {"method.name": "srat", "reweight.name": "class_balanced",
            "reweight.schedule": "deferred"}  # fmt: skip
    stems = [
        stem_of(TrialConfig.from_flat({**late, **values}), device="cuda", threads=1)
        for values in ({"compute.precision": "bf16"}, {"compute.precision": "fp32"},
                       {"compute.precision": "fp32", "compute.float32": "tf32"})
    ]  # fmt: skip
    assert len({stem.key for stem in stems if stem is not None}) == 3
