"""What a study needs of this machine: images, processors, GPUs, and attacks that can run."""

from __future__ import annotations

import os

from ltat_tune.data.sources import class_counts, is_available
from ltat_tune.errors import LtatError
from ltat_tune.space.objective import group_of
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Space
from ltat_tune.training.metrics import ClassGroups

# pixels; an image folder's are data.image_size, or not known before its images are read
_SIDES = {"digits": 8, "cifar10": 32, "cifar100": 32, "svhn": 32, "tiny_imagenet": 64}


def check_attacks(space: Space, problems: Problems) -> list[str]:
    """Attacks on the winners that cannot run on them; otherwise it would be told hours later."""
    asked = [a for a in space.confirm.attacks if a.startswith("cwl2") or a in ("square", "aa")]
    if space.confirm.top == 0 or not asked:
        return []
    place = ("confirm", "attacks")
    notes: dict[str, None] = {}
    for _, proposals in space.configurations:
        for _, config in proposals:
            if config.measured_norm == "linf":
                told = "linf" if config.evaluation.norm else "null and attack.norm linf"
                for attack in (a for a in asked if a.startswith("cwl2")):
                    problems.add(
                        place,
                        f"confirm.attacks has {attack}, an attack in l2, but evaluation.norm is "
                        f"{told}; take it out and measure it afterwards: ltat-tune evaluate "
                        f"{space.name} --attacks {attack} --norm l2 --eps 0.5",
                    )
                continue
            side = _SIDES.get(config.data.name, config.data.image_size)
            if side is None or not {"square", "aa"} & set(asked):
                continue
            from ltat_tune.attacks.autoattack import L2_SQUARE_SIDE  # imports torch

            if side >= L2_SQUARE_SIDE:
                continue
            if "square" in asked:
                problems.add(
                    place,
                    f"confirm.attacks has square, which in l2 needs images of {L2_SQUARE_SIDE} "
                    f"pixels a side or more, got {side} of {config.data.name}; take it out",
                )
            if "aa" in asked:
                notes[
                    f"aa is AutoAttack without its Square, which in l2 needs images of "
                    f"{L2_SQUARE_SIDE} pixels a side, got {side}"
                ] = None
    return list(notes)


def check_images_there(space: Space, problems: Problems) -> list[str]:
    """Every scenario's classes must have images; nothing is decoded, nothing downloaded."""
    absent: dict[str, None] = {}
    for scenario in space.scenarios:
        config = space.config(scenario, {})
        where = f"{scenario.title}: " if scenario.values else ""
        try:
            if not is_available(config.data):  # its images are counted once they are there
                absent[f"{config.data.name} is not here yet and is downloaded first"] = None
                continue
            counts = class_counts(config)
        except LtatError as error:
            problems.add_about(f"{where}{error}", names=f"{error} data.imbalance_ratio")
            continue
        members = ClassGroups.from_counts(counts).members
        for group in sorted({group_of(metric) for metric in space.objective.metrics}):
            if group in ("head", "body", "tail") and group not in members:
                problems.add(
                    ("objective", "metric"),
                    f"objective asks for {group} classes, "
                    f"but {len(counts)} classes have no {group}",
                )
        test_images = config.evaluation.aa_images
        if test_images is not None and test_images < len(counts):
            problems.add_about(
                f"evaluation.aa_images must be at least the {len(counts)} classes, "
                f"got {test_images}",
            )
    return list(absent)


def check_resources(space: Space, problems: Problems, cluster: bool) -> None:
    """What trials take must be there; a cluster is asked once the study has joined it."""
    cpus = len(os.sched_getaffinity(0))
    if not cluster and space.resources.cpus_per_trial > cpus:
        problems.add(
            ("resources", "cpus_per_trial"),
            f"resources.cpus_per_trial must be at most the machine's {cpus}, got "
            f"{space.resources.cpus_per_trial}",
        )
    if space.resources.gpus_per_trial > 0:
        import torch

        gpus = torch.cuda.device_count()
        if not cluster and space.resources.gpus_per_trial > gpus:
            problems.add(
                ("resources", "gpus_per_trial"),
                f"resources.gpus_per_trial must be at most the machine's {gpus}, got "
                f"{_written_share(space)}; --set resources.gpus_per_trial=0 trains on "
                "the CPU, --smoke only tries the file out",
            )
        elif space.resources.gpus_per_trial > 1 and space.resources.gpus_per_trial % 1:
            problems.add(
                ("resources", "gpus_per_trial"),
                "resources.gpus_per_trial must be a share of one GPU or a whole number, got "
                f"{space.resources.gpus_per_trial:g}",
            )


def _written_share(space: Space) -> str:
    resources = space.resources
    return "auto" if resources.measures_share else f"{resources.gpus_per_trial:g}"
