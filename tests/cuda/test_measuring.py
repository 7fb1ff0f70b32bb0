"""What is not a step, on the GPU: resume, probes, stems, attacks, cards, the sentinel, figures."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltat_tune.attacks.named import parse_attack
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.engine.worker import run_task
from ltat_tune.evaluation.card_text import card_text
from ltat_tune.evaluation.parallel import evaluate_model
from ltat_tune.evaluation.request import Request
from ltat_tune.evaluation.sentinel import watch
from ltat_tune.evaluation.targets import find_targets
from ltat_tune.figures.extra.models import answers_at
from ltat_tune.figures.features import accuracy_over_steps, test_features
from ltat_tune.figures.sources import read_sources
from ltat_tune.models import build_model
from ltat_tune.storage.task import Task, TaskKind
from ltat_tune.storage.task_files import TEST_BATCHES
from ltat_tune.storage.training_files import TEST
from ltat_tune.training.trainer import Trainer
from tests.attacks.short_autoattack import shorten_autoattack
from tests.cuda.device import Pretended, to_host
from tests.cuda.process import Machine
from tests.cuda.trainings import config_of, images, on_gpu
from tests.training.toys import TINY

test_features.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test

ATTACKS = {
    "linf": ("clean", "fgsm", "pgd3", "pgd2x2", "mim2", "cw2", "adaptive2", "transfer2", "square",
             "aa"),
    "l2": ("pgd3", "cwl2", "cwl2_fixed"),
}  # fmt: skip
EPS = {"linf": 0.05, "l2": 0.5}


def attacked(norm: str, device: str) -> dict[str, list[float]]:
    """64 images of 8 x 8 pixels, which need no filling, under each attack."""
    generator = torch.Generator().manual_seed(0)
    given = torch.rand(64, 1, 8, 8, generator=generator)
    targets = torch.randint(0, 5, (64,), generator=generator)
    model = build_model(TrialConfig.from_flat({}).model, in_channels=1, num_classes=5).eval()
    found: dict[str, list[float]] = {}
    with pytest.MonkeyPatch.context() as patched, _gpu(device):
        shorten_autoattack(patched, iterations=2, queries=3)
        there = copy.deepcopy(model).to(device)
        for name in ATTACKS[norm]:
            attack = parse_attack(name, cw_iterations=3, queries=5)
            result = attack.run(
                there, given.to(device), targets.to(device), eps=EPS[norm], norm=norm, seed=0,
                source=there if attack.needs_source else None,
            )  # fmt: skip
            found[name] = to_host(result).flatten().tolist()
    return found


def _gpu(device: str) -> Any:
    return Pretended() if device == "cuda" else nullcontext()


@pytest.mark.parametrize("norm", ATTACKS)
def test_every_attack_gives_the_images_of_the_cpu(machine: Machine, norm: str) -> None:
    here, there = (machine.run(attacked, norm, device) for device in ("cpu", "cuda"))
    assert [name for name in here if here[name] != there[name]] == []


def masking(device: str) -> dict[str, Any]:
    """The sentinel's report, without its seconds."""
    generator = torch.Generator().manual_seed(0)
    given: Tensor = torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8, generator=generator)
    targets = torch.arange(4).repeat_interleave(8)
    model = build_model(TrialConfig.from_flat({}).model, in_channels=1, num_classes=4).eval()
    with _gpu(device):
        report = watch(
            copy.deepcopy(model).to(device), given.to(device), targets.to(device), eps=0.05,
            square_queries=3, max_images=16,
        ).to_json()  # fmt: skip
    kept: dict[str, Any] = {name: value for name, value in report.items() if "seconds" not in name}
    return kept


def test_the_sentinel_gives_the_verdict_of_the_cpu(machine: Machine) -> None:
    assert machine.run(masking, "cuda") == machine.run(masking, "cpu")


def resumed(folder: Path) -> tuple[str, str, list[int]]:
    """The weights of a training, and of one that is stopped after its second epoch of three."""
    values: dict[str, object] = {"optim.epochs": 3, "optim.ema_decay": 0.9,
                                 "evaluation.select_epoch": "best"}  # fmt: skip
    replayed: list[int] = []

    def stop(done: Any) -> None:
        if done.epoch == 2:
            raise SystemExit

    def note(done: Any) -> None:
        replayed.extend([done.epoch] if done.replayed else [])

    path = folder / "checkpoint.pt"
    with Pretended():
        config = config_of(values)
        straight = Trainer(config, splits=images(), device="cuda").fit()
        with pytest.raises(SystemExit):
            Trainer(config, splits=images(), device="cuda").fit(stop, checkpoint=path)
        again = Trainer(config, splits=images(), device="cuda").fit(note, checkpoint=path)
        return straight.weights, again.weights, replayed


def test_a_training_resumes_to_the_last_bit(machine: Machine, tmp_path: Path) -> None:
    straight, again, replayed = machine.run(resumed, tmp_path)
    assert again == straight and replayed == [1, 2]


def test_a_probe_does_not_change_the_training_that_it_measures(machine: Machine) -> None:
    values: dict[str, object] = {"optim.epochs": 4}
    plain = machine.run(on_gpu, values)
    probed = machine.run(on_gpu, values, probe_at=[2], probe_epochs=1)
    assert probed.weights == plain.weights
    assert probed.recordings[0] == plain.recordings[0] + 1  # the probe's own


@pytest.mark.parametrize(
    ("values", "recordings"),
    [
        ({}, 1),
        ({"attack.class_budget": 0.3, "attack.class_budget_warmup": 0.9}, 1),
        ({"attack.bn_mode": "batch", "attack.reweight": "rbl"}, 1),
        ({"attack.bn_mode": "batch", "attack.reweight": "balanced_softmax"}, 1),
        # the loss of an epoch is another function, and what it reads lies elsewhere
        ({"attack.bn_mode": "batch", "attack.objective": "loss"}, 3),
    ],
)
def test_an_attack_is_recorded_once_a_training_and_reads_what_changes(
    machine: Machine, values: dict[str, object], recordings: int
) -> None:
    values = {"optim.epochs": 3, **values}
    found = machine.run(on_gpu, values)
    assert found.recordings == {0: recordings + 1}  # and the validation's once
    assert found.weights == machine.run(on_gpu, {**values, "compute.graphs": "off"}).weights


def fitted_twice() -> list[tuple[str, int]]:
    """Weights and replays of one trainer that trains twice, as the measurement of a share does."""
    found: list[tuple[str, int]] = []
    with Pretended() as gpu:
        trainer = Trainer(config_of({}), splits=images(), device="cuda")
        for _ in range(2):
            before = gpu.replays
            found.append((trainer.fit().weights, gpu.replays - before))
    return found


def test_a_trainer_that_trains_again_records_its_new_model(machine: Machine) -> None:
    first, second = machine.run(fitted_twice)
    assert first == second and first[1] > 0


def work(
    folder: Path, name: str, device: str, *, kind: TaskKind = "trial", stem: str = "",
    attacks: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Run a worker's task, and return what it reported last."""
    late = {"method.name": "srat", "reweight.name": "class_balanced",
            "reweight.schedule": "deferred", "reweight.start_fraction": 0.5,
            "evaluation.batch_size": 250}  # fmt: skip
    config = {**TINY, "optim.epochs": 2, **late}
    task = Task(
        f"a/{name}", kind, "a", config, str(folder / name), str(folder / "cache"), 1, device, 2,
        stem=stem and str(folder / stem), stem_epochs=1 if stem else 0, attacks=attacks,
        start_from=str(folder / name) if kind == "part" else "", part=1, parts=2,
    )  # fmt: skip
    task.path.mkdir(exist_ok=True)
    reports: list[dict[str, Any]] = []
    with _gpu(device):
        run_task(task, reports.append)
    event: dict[str, Any] = reports[-1]["event"]
    return event


def test_a_branch_from_a_stem_ends_where_the_whole_training_does(
    machine: Machine, tmp_path: Path
) -> None:
    whole = machine.run(work, tmp_path, "t0000", "cuda")
    first = machine.run(work, tmp_path, "t0001", "cuda", stem="stem.pt")
    assert (tmp_path / "stem.pt").exists()
    second = machine.run(work, tmp_path, "t0002", "cuda", stem="stem.pt")
    assert (tmp_path / "t0002" / "stem.json").exists()
    assert whole["state"] == "complete", whole
    assert first["weights"] == second["weights"] == whole["weights"]
    assert whole["arithmetic"] == "Pretended, bf16, no TF32, deterministic"


def test_a_confirmation_is_tested_and_watched(machine: Machine, tmp_path: Path) -> None:
    trained = machine.run(work, tmp_path, "c", "cuda")
    tested = machine.run(work, tmp_path, "c", "cuda", kind="test", attacks=("clean", "pgd2"))
    assert tested["state"] == "complete" and tested["weights"] == trained["weights"]
    alone = (tmp_path / "c" / TEST).read_bytes()
    (tmp_path / "c" / TEST).unlink()
    part = machine.run(work, tmp_path, "c", "cuda", kind="part", attacks=("clean", "pgd2"))
    assert part["state"] == "complete", part
    assert len(list((tmp_path / "c" / TEST_BATCHES).glob("*/*.json"))) == 2  # every second
    again = machine.run(work, tmp_path, "c", "cuda", kind="test", attacks=("clean", "pgd2"))
    assert again["lent_s"] > 0 and (tmp_path / "c" / TEST).read_bytes() == alone
    watched = machine.run(work, tmp_path, "c", "cuda", kind="sentinel")
    assert watched["state"] == "complete", watched


def card_of(folder: Path, device: str, state: str) -> dict[str, Any]:
    """The card of a training, measured on a device."""
    (target,) = find_targets(str(folder), folder)
    attacks = ("clean", "pgd2", "square")
    request = Request(attacks=attacks, images=40, device=device, sentinel=False)
    with _gpu(device):
        return evaluate_model(target, request, state=folder / state)


def curves(folder: Path, device: str) -> tuple[list[float], list[int], list[int]]:
    """What figures attack: accuracies by step, predictions under PGD, answers by radius."""
    with _gpu(device):
        sources = read_sources([folder], device=device, images=40)
        run = sources.recipes[0].first
        steps = accuracy_over_steps(run, sources, steps=2).accuracies
        shown = test_features(run, sources, steps=1).predicted.tolist()
        (answers,) = answers_at(run, sources, [1.0])
        return steps, shown, answers.predicted.tolist()


def test_cards_and_figures_measure_what_the_cpu_measures(machine: Machine, tmp_path: Path) -> None:
    machine.run(work, tmp_path, "t0000", "cpu")
    folder = tmp_path / "t0000"
    here, there = (machine.run(card_of, folder, d, d) for d in ("cpu", "cuda"))
    assert [row["numbers"] for row in there["rows"]] == [row["numbers"] for row in here["rows"]]
    assert there["arithmetic"] == "Pretended, fp32, no TF32, deterministic"
    assert here["arithmetic"] == "cpu, fp32"
    heading = [str(card_text(card).renderables[0]) for card in (here, there)]
    assert "computed on Pretended, fp32, no TF32, deterministic" in heading[1]
    assert "computed on" not in heading[0]
    assert machine.run(curves, folder, "cuda") == machine.run(curves, folder, "cpu")
