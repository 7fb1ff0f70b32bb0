"""Measure checkpoints beside a study's winners, on the same test images under the same attacks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ltat_tune.comparison.entries import Reviewed
from ltat_tune.config.config_file import load_config
from ltat_tune.config.foreign.description import CheckpointDescription, read_description
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import Splits, load_splits
from ltat_tune.errors import CheckpointError, StudyError
from ltat_tune.evaluation.foreign import is_ours, load_foreign, write_described
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.on_test import measure_on_test
from ltat_tune.evaluation.targets import find_targets
from ltat_tune.models.arithmetic import chosen_device
from ltat_tune.provenance import versions
from ltat_tune.results.lead import MeasuredLead, holm, measured_lead
from ltat_tune.results.model import ConfirmedResult
from ltat_tune.results.proof import metric_shares
from ltat_tune.seeding import prepare_process
from ltat_tune.space.objective import attack_of, group_of
from ltat_tune.storage.training_files import MeasuredOnTest, read_test, write_test
from ltat_tune.training.checkpoint import weights_hash
from ltat_tune.training.evaluation import MeasuredPart
from ltat_tune.training.metrics import Accuracy, ClassGroups

_KEPT = ("data.", "evaluation.")  # what of the study says which images, and how to attack them


@dataclass(frozen=True)
class CheckpointRow:
    """A checkpoint on one scenario's test images.

    Attributes:
        network: its `model.name`.
        scores: the metrics, by name.
        lead: the winner's lead over it in the first metric; None where the study did not keep the
            winner's answers by image.
        adjusted: the lead's p, corrected for all checkpoints by Holm's method.
    """

    name: str
    network: str
    scores: Mapping[str, float]
    lead: MeasuredLead | None
    adjusted: float | None = None


@dataclass(frozen=True)
class CheckpointBlock:
    """A scenario's winner, and the checkpoints beside it."""

    title: str
    winner: str
    network: str
    scores: Mapping[str, Sequence[float]]  # of the winner: metric -> values over its seeds
    rows: Sequence[CheckpointRow]
    notes: Sequence[str]


@dataclass(frozen=True)
class CheckpointRequest:
    """What to measure.

    Attributes:
        files: the checkpoints.
        described: of those that another script wrote; None reads the YAML file beside each.
        config: configuration of those that this package wrote; None is the file beside each.
        metrics: such as `test/pgd20_acc`; empty is the verdict's and the one without attack.
        folder: where what was measured is kept.
    """

    files: Sequence[str]
    described: CheckpointDescription | None = None
    config: Path | None = None
    metrics: Sequence[str] = ()
    device: str = "auto"
    folder: Path = Path("evaluations")


@dataclass(frozen=True)
class _Problem:
    """A scenario's images and the way in which its winner was tested."""

    config: TrialConfig
    splits: Splits
    result: ConfirmedResult
    groups: ClassGroups
    part: int | None  # `confirm.test_images` of the study


def beside_winners(study: Reviewed, request: CheckpointRequest) -> list[CheckpointBlock]:
    """Measure checkpoints as each scenario's winner was tested. What was measured is kept.

    Raises:
        StudyError: there is no tested winner, or a metric was not measured.
        LtatError: a checkpoint cannot be read, or is of other classes.
    """
    device = str(chosen_device(request.device))
    prepare_process(study.space.resources.cpus_per_trial)
    metrics = list(dict.fromkeys(request.metrics)) or _usual(study)
    blocks = []
    for scenario in study.results.scenarios:
        result = scenario.winner
        if result is None or not result.test:
            continue
        if unknown := [metric for metric in metrics if metric not in result.test]:
            raise StudyError(
                f"--metric {unknown[0]} was not measured on the test images; choose from "
                + ", ".join(sorted(result.test))
            )
        config = study.space.config(study.space.scenario(scenario.name), result.params)
        splits = load_splits(config, cache_dir=study.folder.cache)
        problem = _Problem(
            config, splits, result, ClassGroups.from_counts(splits.samples_per_class.tolist()),
            study.space.confirm.test_images,
        )  # fmt: skip
        rows = [
            _row(study, scenario.name, problem, file, metrics, request, device)
            for file in request.files
        ]
        adjusted = holm([None if row.lead is None else row.lead.p for row in rows])
        blocks.append(
            CheckpointBlock(
                study.titles[scenario.name],
                f"{study.folder.root.name} t{result.number:04d} winner",
                config.model.name,
                {metric: result.scores("test", metric) for metric in metrics},
                [replace(row, adjusted=p) for row, p in zip(rows, adjusted, strict=True)],
                _notes(study, rows),
            )
        )
    if not blocks:
        raise StudyError(
            f"{study.folder.root.name} has no winner that was tested; finish it: "
            f"{study.folder.resume_command}"
        )
    return blocks


def _usual(study: Reviewed) -> list[str]:
    metric = study.results.verdict_metric
    group = f"_{group_of(metric)}" if group_of(metric) else ""
    clean = f"test/clean{group}_acc" if "clean" in study.results.confirm.attacks else metric
    return list(dict.fromkeys([metric, clean]))


def _row(
    study: Reviewed,
    scenario: str,
    problem: _Problem,
    file: str,
    metrics: Sequence[str],
    request: CheckpointRequest,
    device: str,
) -> CheckpointRow:
    model, network = _model(Path(file), problem, request, device)
    attacks = list(dict.fromkeys(map(attack_of, metrics)))
    done = _measured(model, problem, attacks, request.folder, device)
    scores: dict[str, float] = {}
    for attack in attacks:
        answers = done.answers(attack)
        assert answers is not None
        correct, targets = map(torch.from_numpy, answers)
        counts = Accuracy.count(correct, targets, problem.groups.classes)
        scores |= counts.metrics(f"test/{attack}", problem.groups)
    return CheckpointRow(
        file, network, {metric: scores[metric] for metric in metrics},
        _lead(study, scenario, problem, done, metrics[0]),
    )  # fmt: skip


def _model(
    path: Path, problem: _Problem, request: CheckpointRequest, device: str
) -> tuple[nn.Module, str]:
    """Return a checkpoint's model as it is measured, and the name of its network."""
    if not path.is_file():
        raise CheckpointError(f"--checkpoint must name a file of weights, got {path}")
    beside, described = path.with_suffix(".yaml"), request.described
    if described is None and request.config is None and beside.is_file():
        described = read_description(beside)
    if described is not None:
        values = {p: v for p, v in problem.config.flat().items() if p.startswith(_KEPT)}
        values |= {
            "evaluation.eps": problem.config.measured_eps,
            "evaluation.norm": problem.config.measured_norm,
            "seeds.subset_seed": problem.config.seeds.subset_seed,
        }
        config, recorded = load_config(write_described(request.folder, described, values))
        model = load_foreign(path, config, recorded or {}, problem.splits)
        return model.to(device), config.model.name
    if not is_ours(path) and request.config is None and not beside.is_file():
        raise CheckpointError(
            f"{path} is of another script, so its network must be named: add --model, or put "
            f"{beside.name} beside it"
        )
    (target,) = find_targets(str(path), path.parent, config=request.config)
    loaded = load_target(target, device=device)
    if loaded.splits.classes != problem.splits.classes:
        raise CheckpointError(
            f"{path} must have the classes of {problem.config.data.name}, got those of "
            f"{loaded.config.data.name}"
        )
    return loaded.model, loaded.config.model.name


def _measured(
    model: nn.Module, problem: _Problem, attacks: Sequence[str], folder: Path, device: str
) -> MeasuredOnTest:
    """Return the answers on the test images; those of an earlier call are read."""
    config, test = problem.config, problem.splits.test()
    weights = weights_hash(model.state_dict())
    about = (
        weights, MeasuredPart.of("test", test, None).hash, config.measured_norm,
        config.measured_eps, config.evaluation.model_dump(mode="json"), device.partition(":")[0],
        problem.part, *(versions()[name] for name in ("ltat-tune", "torch", "pyautoattack")),
    )  # fmt: skip
    place = folder / "beside" / hashlib.sha256(repr(about).encode()).hexdigest()[:16]
    empty = MeasuredOnTest(
        state="complete", epoch=0, weights=weights, metrics={}, per_class={}, images={},
        part=problem.part,
    )  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    return measure_on_test(
        model, test.to(device), config, problem.groups, attacks, read_test(place) or empty,
        lambda done: write_test(place, done),
    )  # fmt: skip


def _lead(
    study: Reviewed, scenario: str, problem: _Problem, done: MeasuredOnTest, metric: str
) -> MeasuredLead | None:
    """Return the winner's lead over a checkpoint, image by image over the winner's fresh seeds."""
    attack, counts = attack_of(metric), problem.splits.samples_per_class.tolist()
    answers = done.answers(attack)
    if answers is None or study.space.selected_on_test:
        return None
    theirs = metric_shares(metric, *answers, counts)
    differences = []
    for seed in problem.result.seeds:
        if seed not in study.space.fresh_seeds:
            continue
        tested = read_test(study.folder.confirmation(scenario, problem.result.recipe, seed))
        ours = None if tested is None else tested.answers(attack)
        if ours is not None and np.array_equal(ours[1], answers[1]):
            differences.append(metric_shares(metric, *ours, counts) - theirs)
    return measured_lead(np.stack(differences), answers[1]) if differences else None


def _notes(study: Reviewed, rows: Sequence[CheckpointRow]) -> list[str]:
    notes = ["a checkpoint is one training: what it was trained on, and what chose it, is not "
             "known here"]  # fmt: skip
    if study.space.selected_on_test:
        notes.append("no interval: the test images chose the winner")
    elif any(row.lead is None for row in rows):
        notes.append("no interval: the study did not keep the winner's answers by image")
    elif any(row.lead is not None and row.lead.low is None for row in rows):
        notes.append("no interval: the winner has one seed that the search did not use")
    if study.folder.read_facts().get("smoke"):
        notes.append("this is a smoke run, and its numbers mean nothing")
    if not study.finished:
        notes.append(f"{study.folder.root.name} is not finished: {study.folder.resume_command}")
    return notes


def checkpoint_data(blocks: Sequence[CheckpointBlock]) -> list[dict[str, Any]]:
    """Return the blocks for `--format json`, accuracies as fractions."""
    return [
        {
            "title": block.title, "notes": list(block.notes),
            "winner": {"name": block.winner, "network": block.network,
                       "scores": {name: list(values) for name, values in block.scores.items()}},
            "checkpoints": [
                {"name": row.name, "network": row.network, "scores": dict(row.scores),
                 "winner_ahead": None if row.lead is None else dict(vars(row.lead)),
                 "p_corrected": row.adjusted}
                for row in block.rows
            ],
        }
        for block in blocks
    ]  # fmt: skip
