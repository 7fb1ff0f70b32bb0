"""What a space file means on this machine: effect of parameters, data, resources, rungs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ltat_tune.config import TrialConfig
from ltat_tune.data.sources import class_counts, is_available
from ltat_tune.errors import LtatError
from ltat_tune.parameters import PARAMETERS
from ltat_tune.relevance import why_inert
from ltat_tune.study.rungs import place_rungs
from ltat_tune.study.space import MANY, Scenario, Space, show
from ltat_tune.study.spec import group_of
from ltat_tune.training.metrics import ClassGroups

if TYPE_CHECKING:
    from ltat_tune.study.space_file import Report

# pixels; an image folder's are data.image_size, or not known before its images are read
_SIDES = {"digits": 8, "cifar10": 32, "cifar100": 32, "svhn": 32, "tiny_imagenet": 64}

# of every scenario, the proposals that are looked at and their configurations
_Contexts = list[tuple[Scenario, list[tuple[dict[str, Any], TrialConfig]]]]


def check_space(
    space: Space, report: Report, *, check_machine: bool, allow_inert: bool, cluster: bool = False
) -> list[str]:
    """Adds every problem to `report`; returns notes: true, worth knowing, no reason to refuse."""
    notes = _check_effects(space, report, allow_inert)
    _check_measurement(space, report)
    notes += _check_attacks(space, report)
    notes += _idle_rbl(space) + list(place_rungs(space).notes)
    if space.selected_on_test:
        notes.append(
            "data.val_source is test (the papers' protocol): "
            "every result is marked selected_on_test"
        )
    if space.confirm.top == 0:
        notes.append(
            "confirm.top is 0: no winner is retrained, and the test split is not looked at"
        )
    if check_machine:
        notes += _check_data(space, report)
        _check_resources(space, report, cluster)
    return notes


def _check_effects(space: Space, report: Report, allow_inert: bool) -> list[str]:
    """Refuses tuned parameters that cannot change any result where they are proposed."""
    notes = []
    configs = [
        (s, [(params, space.config(s, params)) for params in space.contexts()])
        for s in space.scenarios
    ]
    for path in space.tuned:
        everywhere, scenarios = True, []
        mixed: str | None = None
        for scenario, contexts in configs:
            reasons = [why_inert(config, path) for params, config in contexts if path in params]
            if not reasons and (space.enumerated or len(contexts) < MANY):
                why = (
                    "no entry of start_from has it; remove it from tuned"
                    if space.searcher.name == "list"
                    else "nothing fulfils its `when`, "
                    "because what it names has a `when` of its own"
                )
                label = PARAMETERS[path].label
                report.add(("tuned", path, "when"), f"{label} is never proposed: {why}")
                break
            dead = [reason for reason in reasons if reason is not None]
            if dead and len(dead) < len(reasons):
                mixed = dead[0]
            if dead and len(dead) == len(reasons):
                scenarios.append((scenario.title, dead[0]))
            else:
                everywhere = False
        label = PARAMETERS[path].label
        problem = None
        if everywhere and scenarios:
            problem = f"{label} has no effect here: {scenarios[0][1]}; remove it from tuned"
        elif mixed:
            problem = f"{label} has no effect where {mixed}; {_remedy(path, configs, space)}"
        elif scenarios:
            notes.append(
                f"{label} has no effect in the scenario {scenarios[0][0]}: {scenarios[0][1]}"
            )
        if problem and allow_inert:
            notes.append(f"{problem} (run all the same, as asked)")
        elif problem:
            report.add(("tuned", path), problem)
    return notes


def _idle_rbl(space: Space) -> list[str]:
    """REAT as released attacks in eval mode, where its RBL does nothing; nobody would notice."""
    path = "attack.reweight"
    if path in space.tuned:
        return []
    for scenario in space.scenarios:
        for params in space.contexts():
            config = space.config(scenario, params)
            reason = why_inert(config, path)
            if config.attack.reweight != "none" and reason is not None:
                name = config.attack.reweight
                return [
                    f"attack.reweight {name} of {config.method.name} changes nothing: {reason}"
                ]
    return []


def _remedy(path: str, configs: _Contexts, space: Space) -> str:
    """The `when` that takes a parameter out where it has no effect, if there is one."""
    contexts = [pair for _, pairs in configs for pair in pairs if path in pair[0]]
    for other in (p for p, domain in space.tuned.items() if domain.choices and p != path):
        acting, idle = (
            {
                params.get(other)
                for params, config in contexts
                if (why_inert(config, path) is None) is acts
            }
            for acts in (True, False)
        )
        if acting and not acting & idle and None not in acting:
            held = sorted(map(show, acting))
            values = held[0] if len(held) == 1 else f"[{', '.join(held)}]"
            return f"give it `when: {{{other}: {values}}}`"
    return "change that, or remove it from tuned"


def _check_measurement(space: Space, report: Report) -> None:
    """The objective must be measured, and alike for all trials of a scenario."""
    for scenario in space.scenarios:
        config = space.config(scenario, {})
        measured = {"clean", config.evaluation.val_attack}
        if space.objective.attack not in measured:
            report.add(
                ("objective", "metric"),
                f"objective.metric needs the attack {space.objective.attack} on validation "
                f"images, but evaluation.val_attack is {config.evaluation.val_attack}; "
                "set them alike under fixed",
            )
            break
    _check_scale(space, report)
    follows = any(space.config(s, {}).evaluation.eps is None for s in space.scenarios)
    if "attack.eps" in space.tuned and follows:
        report.add(
            ("tuned", "attack.eps"),
            "attack.eps is tuned and evaluation.eps follows it, so the weakest attack would win; "
            "set evaluation.eps under fixed",
        )


def _check_scale(space: Space, report: Report) -> None:
    """A factor on the logits hides the gradient of cross-entropy: the best would mask the most."""
    path = "model.inference_scale"
    if (
        path in space.tuned
        and space.objective.attack.startswith("pgd")
        and not space.searcher.enumerates
    ):
        report.add(
            ("tuned", path),
            f"{path} changes no weight, only how well {space.objective.attack} sees the model, so "
            "the scale that hides it best would win; judge by val/cw20_balanced_acc with "
            "evaluation.val_attack cw20, or fix the scale",
        )


def _check_attacks(space: Space, report: Report) -> list[str]:
    """Attacks on the winners that cannot run on them; otherwise it would be told hours later."""
    asked = [a for a in space.confirm.attacks if a.startswith("cwl2") or a in ("square", "aa")]
    if space.confirm.top == 0 or not asked:
        return []
    place = ("confirm", "attacks")
    notes: dict[str, None] = {}
    for scenario in space.scenarios:
        for params in space.contexts():
            config = space.config(scenario, params)
            if config.measured_norm == "linf":
                told = "linf" if config.evaluation.norm else "null and attack.norm linf"
                for attack in (a for a in asked if a.startswith("cwl2")):
                    report.add(
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
                report.add(
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


def _check_data(space: Space, report: Report) -> list[str]:
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
            report.add_about(f"{where}{error}", names=f"{error} data.imbalance_ratio")
            continue
        members = ClassGroups.from_counts(counts).members
        for group in sorted({group_of(metric) for metric in space.objective.metrics}):
            if group in ("head", "body", "tail") and group not in members:
                report.add(
                    ("objective", "metric"),
                    f"objective asks for {group} classes, "
                    f"but {len(counts)} classes have no {group}",
                )
        test_images = config.evaluation.aa_images
        if test_images is not None and test_images < len(counts):
            report.add_about(
                f"evaluation.aa_images must be at least the {len(counts)} classes, "
                f"got {test_images}",
            )
    return list(absent)


def _check_resources(space: Space, report: Report, cluster: bool) -> None:
    """What trials take must be there; a cluster is asked once the study has joined it."""
    cpus = len(os.sched_getaffinity(0))
    if not cluster and space.resources.cpus_per_trial > cpus:
        report.add(
            ("resources", "cpus_per_trial"),
            f"resources.cpus_per_trial must be at most the machine's {cpus}, got "
            f"{space.resources.cpus_per_trial}",
        )
    if space.resources.gpus_per_trial > 0:
        import torch

        gpus = torch.cuda.device_count()
        if not cluster and space.resources.gpus_per_trial > gpus:
            report.add(
                ("resources", "gpus_per_trial"),
                f"resources.gpus_per_trial must be at most the machine's {gpus}, got "
                f"{_written_share(space)}; --set resources.gpus_per_trial=0 trains on "
                "the CPU, --smoke only tries the file out",
            )
        elif space.resources.gpus_per_trial > 1 and space.resources.gpus_per_trial % 1:
            report.add(
                ("resources", "gpus_per_trial"),
                "resources.gpus_per_trial must be a share of one GPU or a whole number, got "
                f"{space.resources.gpus_per_trial:g}",
            )


def _written_share(space: Space) -> str:
    resources = space.resources
    return "auto" if resources.measures_share else f"{resources.gpus_per_trial:g}"
