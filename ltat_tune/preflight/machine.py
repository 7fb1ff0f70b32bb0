"""Checks what a study needs of this machine: images, CPUs, GPUs, and attacks that can run."""

from __future__ import annotations

import importlib.util
import os

from ltat_tune.config.attack_names import is_slow
from ltat_tune.data.sources import class_counts, is_available
from ltat_tune.errors import LtatError
from ltat_tune.planning.slots import on_this_machine, visible_gpus
from ltat_tune.space.objective import group_of
from ltat_tune.space.problems import Problems
from ltat_tune.space.space import Space
from ltat_tune.training.metrics import ClassGroups

# pixels without data.image_size; those of the user's own files are unknown until they are read
_SIDES = {
    "digits": 8, "cifar10": 32, "cifar100": 32, "svhn": 32, "tiny_imagenet": 64, "mnist": 28,
    "fashion_mnist": 28,
}  # fmt: skip


def check_attacks(space: Space, problems: Problems) -> list[str]:
    """Refuse attacks that cannot run on the winners, which would otherwise fail hours later."""
    attacks = [a for a in space.confirm.attacks if is_slow(a)]
    if space.confirm.top == 0 or not attacks:
        return []
    place = ("confirm", "attacks")
    notes: dict[str, None] = {}
    for _, proposals in space.configurations:
        for _, config in proposals:
            if config.measured_norm == "linf":
                norm = "linf" if config.evaluation.norm else "null and attack.norm is linf"
                for attack in (a for a in attacks if a.startswith("cwl2")):
                    problems.add(
                        place,
                        f"confirm.attacks names {attack}, an l2 attack, but evaluation.norm is "
                        f"{norm}; remove it and run it after the study: ltat-tune evaluate "
                        f"{space.name} --attacks {attack} --norm l2 --eps 0.5",
                    )
                continue
            side = config.data.image_size or _SIDES.get(config.data.name)
            if side is None or not {"square", "aa"} & set(attacks):
                continue
            from ltat_tune.attacks.autoattack import L2_SQUARE_SIDE  # imports torch

            if side >= L2_SQUARE_SIDE:
                continue
            if "square" in attacks:
                problems.add(
                    place,
                    "confirm.attacks names square, which in l2 needs images of at least "
                    f"{L2_SQUARE_SIDE} pixels a side, got {side} ({config.data.name}); remove it",
                )
            if "aa" in attacks:
                notes[
                    f"aa runs AutoAttack without Square, which in l2 needs images of at least "
                    f"{L2_SQUARE_SIDE} pixels a side, got {side}"
                ] = None
    return list(notes)


def check_images_there(space: Space, problems: Problems) -> list[str]:
    """Check that every class of every scenario has images, without decoding or downloading any."""
    absent: dict[str, None] = {}
    for scenario in space.scenarios:
        config = space.config(scenario, {})
        where = f"{scenario.title}: " if scenario.values else ""
        try:
            if not is_available(config.data):  # its images are counted once they are there
                absent[
                    f"{config.data.name} is not on this machine; the study downloads it first"
                ] = None
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
                    f"objective asks for the {group} classes, "
                    f"but {len(counts)} classes are too few to have any",
                )
        parts = {
            "evaluation.aa_images": config.evaluation.aa_images,
            "confirm.test_images": space.confirm.test_images,
        }
        for path, images in parts.items():
            if images is not None and images < len(counts):
                problems.add_about(
                    f"{path} must be at least {len(counts)}, one image for each class, got "
                    f"{images}",
                )
    return list(absent)


def check_resources(space: Space, problems: Problems, cluster: bool) -> None:
    """Check that this machine has what a trial takes.

    A cluster is checked once the study has joined it.
    """
    for name in space.resources.mirrors:
        if importlib.util.find_spec(name) is None:
            problems.add(
                ("resources", "mirrors"),
                f"resources.mirrors names {name}, which is not installed; run "
                f"`pip install 'ltat-tune[{name}]'`",
            )
    cpus = len(os.sched_getaffinity(0))
    if not cluster and space.resources.cpus_per_trial > cpus:
        problems.add(
            ("resources", "cpus_per_trial"),
            f"resources.cpus_per_trial must be at most {cpus}, the CPUs of this machine, got "
            f"{space.resources.cpus_per_trial}",
        )
    resources = space.resources if cluster else on_this_machine(space.resources)
    share = resources.gpus_per_trial
    if share > 1:
        problems.add(
            ("resources", "gpus_per_trial"),
            f"resources.gpus_per_trial must be at most 1, got {share:g}: a training uses one GPU, "
            "and the others would stand idle; write 1, and more trials run at once",
        )
    elif not cluster and share > 0 and visible_gpus(resources) == 0:
        problems.add(
            ("resources", "gpus_per_trial"),
            f"resources.gpus_per_trial must be 0 or auto, because this machine has no GPU, got "
            f"{share:g}; --set resources.gpus_per_trial=0 trains on the CPU, --smoke only tries "
            "the file out",
        )
