"""`--smoke`: every space file runs in seconds, tuned parameters and all, and is marked as nothing
to go by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
import yaml
from PIL import Image

from ltat_tune.engine.study import StudyRun
from ltat_tune.errors import SpaceError, StudyError
from ltat_tune.preflight.load import load_space
from ltat_tune.space.space import Space
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.trainer import Trainer
from tests.drive import call, mlflow_runs

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "search_spaces").rglob("*.yaml"))
ROWS = """\
name: rows
objective: {metric: val/cw20_tail_acc}
fixed:
  data.name: cifar10
  data.val_source: test
  data.augmentation: crop_flip
  optim.epochs: 200
  optim.warmup_epochs: 5
  attack.steps: 10
  evaluation.val_attack: cw20
scenarios:
  data.imbalance_ratio: [50, 100]
  data.profile: [exp, step]
tuned:
  model.name: {type: categorical, choices: [resnet18, wrn28_10]}
  model.width: {type: int, low: 16, high: 64, when: {model.name: resnet18}}
  method.name: {type: categorical, choices: [pgd_at, srat]}
  method.temperature: {type: categorical, choices: [0.07, 0.1], when: {method.name: srat}}
start_from:
  - {model.name: resnet18, model.width: 64, method.name: pgd_at}
  - {model.name: wrn28_10, method.name: pgd_at}
  - {model.name: wrn28_10, method.name: srat, method.temperature: 0.1}
searcher: {name: list}
scheduler: {name: none}
confirm: {top: 3, seeds: [3, 4], attacks: [clean, pgd20, cw100, aa]}
resources: {cpus_per_trial: 16, gpus_per_trial: 1}
"""


@pytest.fixture(autouse=True)
def nothing_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No official data set in reach, one thread, and a folder of one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def _smoke(folder: Path, text: str = ROWS, *overrides: str) -> Space:
    path = folder / "space.yaml"
    path.write_text(text)
    return load_space(path, overrides=overrides, smoke=True)


def _first_two(space: Space) -> list[dict[str, Any]]:
    """What the study would train: its own configurations first, then what is proposed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in space.enumerated or space.start_from:
        study.enqueue_trial(dict(point), skip_if_exists=True)
    return [space.suggest(study.ask()) for _ in range(space.searcher.trials)]


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits are decoded once for all files."""
    return tmp_path_factory.mktemp("decoded")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.name))
def test_every_shipped_file_trains_and_is_measured_in_a_smoke_run(
    path: Path, decoded: Path
) -> None:
    """In this process, because Ray's start alone would take longer than all of it."""
    # without its teacher, what distillation.yaml tunes has no effect
    space = load_space(path, smoke=True, allow_inert=path.stem == "distillation")
    assert space.smoke.startswith("smoke: ")
    for params in _first_two(space):
        config = space.config(space.scenarios[0], params)
        trainer = Trainer(config, cache_dir=decoded)
        assert sum(trainer.counts.tolist()) < 1500
        assert min(trainer.counts.tolist()) > 0
        found = trainer.fit()
        assert found.epoch in (1, 2)
        assert space.objective.metric in found.metrics
    test, classes = trainer.splits.test(), len(trainer.splits.classes)
    for attack in space.confirm.attacks:
        accuracy = measure_accuracy(
            found.model, test, attack, config, split="test", classes=classes
        )
        assert sum(recall is not None for recall in accuracy.per_class) == classes


def test_what_is_pinned_and_what_stays(tmp_path: Path) -> None:
    space = _smoke(tmp_path)
    assert space.name == "rows-smoke"
    assert [s.values for s in space.scenarios] == [
        {"data.imbalance_ratio": 10, "data.profile": "exp"}
    ]
    assert space.objective.metric == "val/cw2_tail_acc"
    assert (space.confirm.top, space.confirm.seeds) == (1, (3,))
    assert space.confirm.attacks == ("clean", "pgd2")
    assert not space.confirm.sentinel  # of such a network it would say nothing
    assert (space.resources.cpus_per_trial, space.resources.gpus_per_trial) == (1, 0)
    assert space.scheduler.name == "none"
    config = space.config(space.scenarios[0], {})
    assert (config.data.name, config.data.max_per_class) == ("digits", 60)
    assert config.data.val_source == "test"  # the file's own protocol, which is marked
    assert config.data.augmentation == "crop_flip"
    assert (config.optim.epochs, config.optim.warmup_epochs) == (2, 1)
    assert (config.attack.steps, config.attack.eps) == (2, 8 / 255)
    assert config.evaluation.val_attack == "cw2"
    assert (config.model.name, config.model.width) == ("small_cnn", 8)
    assert config.model.stem == "space_to_depth"


def test_entries_that_differ_in_what_is_pinned_only_are_one(tmp_path: Path) -> None:
    space = _smoke(tmp_path)
    assert list(space.tuned) == ["method.name", "method.temperature"]
    assert space.enumerated == (
        {"method.name": "pgd_at"},
        {"method.name": "srat", "method.temperature": 0.1},
    )
    assert space.searcher.trials == 2


def test_a_grid_is_smoked_by_its_first_two_combinations(tmp_path: Path) -> None:
    text = """\
tuned:
  optim.lr: {type: categorical, choices: [0.1, 0.2, 0.3]}
  loss.name: {type: categorical, choices: [cross_entropy, ldam]}
searcher: {name: grid, trials: 6}
"""
    space = _smoke(tmp_path, text)
    assert space.enumerated == (
        {"optim.lr": 0.1, "loss.name": "cross_entropy"},
        {"optim.lr": 0.1, "loss.name": "ldam"},
    )


def test_what_is_proposed_keeps_its_ranges_and_gets_two_trials(tmp_path: Path) -> None:
    text = """\
tuned:
  optim.lr: {type: float, low: 0.01, high: 0.3, log: true}
  optim.warmup_epochs: {type: int, low: 0, high: 5}
searcher: {trials: 50}
"""
    space = _smoke(tmp_path, text)
    assert (space.searcher.name, space.searcher.trials) == ("predict", 2)
    assert list(space.tuned) == ["optim.lr"]
    assert (space.tuned["optim.lr"].low, space.tuned["optim.lr"].high) == (0.01, 0.3)
    assert space.config(space.scenarios[0], {}).optim.warmup_epochs == 1


def test_the_only_tuned_parameter_is_never_taken_away(tmp_path: Path) -> None:
    space = _smoke(tmp_path, "tuned: {attack.steps: {type: int, low: 1, high: 3}}\n")
    assert list(space.tuned) == ["attack.steps"]


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    space = _smoke(
        tmp_path, ROWS, "model.name=resnet18", "model.width=4", "optim.epochs=6",
        "objective.metric=val/pgd3_acc", "evaluation.val_attack=pgd3", "confirm.seeds=[7, 8]",
        "confirm.sentinel=true",
    )  # fmt: skip
    config = space.config(space.scenarios[0], {})
    assert (config.model.name, config.model.width, config.optim.epochs) == ("resnet18", 4, 6)
    assert space.objective.metric == "val/pgd3_acc"
    assert config.evaluation.val_attack == "pgd3"
    assert space.confirm.seeds == (7, 8)
    assert space.confirm.sentinel


def test_digits_that_stand_in_are_said_and_leave_nothing_of_the_other_data_set(
    tmp_path: Path,
) -> None:
    text = """\
fixed:
  data.name: image_folder
  data.root: nowhere
  data.classes: [cat, dog]
  data.image_size: 64
  data.val_source: folder
  data.profile: given
  data.counts: [500, 5]
tuned: {optim.lr: {type: float, low: 0.01, high: 0.3}}
"""
    space = _smoke(tmp_path, text)
    assert space.notes[0] == (
        "smoke: 2 trials of the first scenario, 2 epochs, digits in place of image_folder, "
        "which is missing. It shows that the file runs. Its numbers mean nothing"
    )
    data = space.config(space.scenarios[0], {}).data
    assert (data.name, data.profile, data.val_source) == ("digits", "exp", "train")
    assert (data.root, data.classes, data.image_size, data.counts) == (None, None, None, None)


def test_a_file_that_is_wrong_is_refused_as_it_is_and_not_as_it_would_be(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        _smoke(tmp_path, ROWS.replace("optim.warmup_epochs: 5", "optim.warmup_epochs: 200"))
    assert caught.value.problems == [
        f"{tmp_path}/space.yaml:8: optim.warmup_epochs must be below optim.epochs (200), got 200"
    ]


def test_the_document_of_a_smoke_run_loads_again_to_the_same_study(tmp_path: Path) -> None:
    first = _smoke(tmp_path)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(dict(first.document)))
    again = load_space(tmp_path / "again.yaml", allow_inert=True)
    assert (again.enumerated, again.fixed) == (first.enumerated, first.fixed)
    assert again.scenarios == first.scenarios


def test_a_smoke_run_gives_way_to_the_next_and_nothing_else_does(tmp_path: Path) -> None:
    space = _smoke(tmp_path)
    first = StudyRun.create(space, tmp_path / "studies", source="space.yaml")
    second = StudyRun.create(space, tmp_path / "studies", source="space.yaml")
    assert first.folder.root == second.folder.root
    reopened = StudyRun.open(second.folder.root)
    assert reopened.space.smoke == space.smoke
    assert reopened.space.notes[0] == space.smoke
    facts = second.folder.read_facts()
    second.folder.facts.write_text(json.dumps({**facts, "smoke": ""}))
    with pytest.raises(StudyError, match="already exists"):
        StudyRun.create(space, tmp_path / "studies", source="space.yaml")


def _images(root: Path) -> Path:
    """A folder of three classes, 20 and 4 images each, of unlike sizes."""
    generator = np.random.RandomState(0)
    for split, count in (("train", 20), ("test", 4)):
        for name in ("airplane", "cat", "ship"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                side = 40 + number % 3
                pixels = generator.randint(0, 256, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def _check_marks(study: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((study / "results.json").read_text())
    assert results["smoke"] is True
    assert json.loads((study / "study.json").read_text())["smoke"].startswith("smoke: ")
    assert "its numbers mean nothing" in (study / "summary.txt").read_text()
    parent = [r for r in mlflow_runs(study) if r.data.tags.get("smoke")]
    assert [r.data.tags["smoke"] for r in parent] == ["true"]
    return results


def test_the_command_runs_a_file_whose_data_set_is_not_here(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text(ROWS)
    done = call("--space", "rows.yaml", "--smoke", "--in-process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "note: smoke: 2 trials of the first scenario, 2 epochs, digits in place of" in done.stderr
    )
    assert "--trials" not in done.stdout  # nobody searches on from here
    results = _check_marks(tmp_path / "studies" / "rows-smoke")
    scenario = results["scenarios"][0]
    assert [t["params"] for t in sorted(scenario["best_trials"], key=lambda t: t["number"])] == [
        {"method.name": "pgd_at"},
        {"method.name": "srat", "method.temperature": 0.1},
    ]
    refused = call("resume", "rows-smoke", "--trials", "9", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: --trials cannot extend rows-smoke: its searcher list runs exactly 2 "
        "configurations, which its space file decides; for more, change the file and start a "
        "study of another name\n"
    )


def test_the_command_runs_on_images_that_are_here(tmp_path: Path) -> None:
    root = _images(tmp_path / "images")
    space = ROOT / "search_spaces" / "image_folder.yaml"
    done = call(
        "--space", space, "--smoke", "--in-process", "--set", f"data.root={root}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    results = _check_marks(tmp_path / "studies" / "image_folder-smoke")
    winner = results["scenarios"][0]["confirmed"][0]
    assert winner["samples_per_class"] == [10, 3, 1]  # of 20: 10 held out, a tail of ratio 10
    assert winner["test_images"] == {"clean": 12, "pgd2": 12}
