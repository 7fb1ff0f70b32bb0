"""The one precision that `compute.precision: auto` stands for in a whole study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltat_tune.backend.nodes import GPU, precision_on
from ltat_tune.errors import StudyError
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder

if TYPE_CHECKING:
    from ltat_tune.backend.cluster import Cluster


def study_precision(
    space: Space, folder: StudyFolder, cluster: Cluster | None
) -> tuple[str | None, list[str]]:
    """Return the precision of all trainings with `auto`, and notes.

    It is chosen at the first start: bf16 if every GPU has bfloat16, else fp32. Trials that compute
    otherwise would not be comparable, so a later start keeps it. None on a CPU, where it is fp32.

    Raises:
        StudyError: the study trains in bf16, and a GPU has no bfloat16.
    """
    wanted = {space.config(scenario, {}).compute.precision for scenario in space.scenarios}
    if space.resources.gpus_per_trial == 0 or "auto" not in wanted:
        return None, []
    gpus = _local_gpus() if cluster is None else cluster.gpus
    facts, notes = folder.read_facts(), list[str]()
    lacking = [gpu for gpu in gpus if precision_on([gpu]) == "fp32"]
    precision = facts.get("precision")
    if precision is None:
        precision = precision_on(gpus)
        folder.write_facts({**facts, "precision": precision})
        if lacking and len(lacking) < len(gpus):
            notes.append(
                f"all trials train in fp32, because {lacking[0].title} has no bfloat16; without "
                "it, those on the other GPUs would train in bf16"
            )
    elif precision == "bf16" and lacking:
        raise StudyError(
            f"this study trains in bf16, but {lacking[0].title} has no bfloat16; resume it "
            "without that GPU (CUDA_VISIBLE_DEVICES, or a cluster without the node)"
        )
    if cluster is not None:
        cluster.precision = precision
    return precision, notes


def _local_gpus() -> list[GPU]:
    import torch

    return [
        GPU(torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index))
        for index in range(torch.cuda.device_count())
    ]
