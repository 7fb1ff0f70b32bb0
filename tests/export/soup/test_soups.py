"""`ltat-tune soup` on a real study whose trials share a stem."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ltat_tune.comparison.entries import Reviewed, review
from ltat_tune.config.config_file import load_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import to_unit
from ltat_tune.evaluation.loading import Loaded, load_target
from ltat_tune.evaluation.targets import find_targets
from ltat_tune.export.soup.fresh import confirm_soup
from ltat_tune.export.soup.greedy import averaged
from ltat_tune.export.soup.make import make_soups
from ltat_tune.export.soup.starts import shared_start
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.training.batch_statistics import estimate_statistics
from ltat_tune.training.evaluation import measure_accuracy, validate
from ltat_tune.training.weights_file import read_weights
from tests.drive import MINI, call, write_space
from tests.small_study import made_once

METRIC = "val/pgd3_balanced_acc"
SCENARIO = "imbalance_ratio_4"
DEFERRED = {
    "method.name": "srat", "reweight.name": "under_represented", "reweight.schedule": "deferred",
    "reweight.start_fraction": 0.5, "optim.lr": 0.2, "loss.name": "balanced_softmax",
}  # fmt: skip


@pytest.fixture(scope="session")
def shared_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study whose five trials share a stem; only read."""

    def make(folder: Path) -> None:
        weight = {"type": "float", "low": 1.0, "high": 40.0, "log": True}
        space = write_space(
            folder, fixed={**MINI["fixed"], **DEFERRED},
            scenarios={"data.imbalance_ratio": [4]}, tuned={"reweight.under_weight": weight},
            start_from=[], searcher={"trials": 5, "branches": 5}, scheduler={"name": "none"},
            confirm={**MINI["confirm"], "top": 5},
        )  # fmt: skip
        done = call("run", space, "--in-process", "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "shared-study", make) / "studies" / "mini"


@pytest.fixture
def root(shared_study: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the study in `studies`."""
    shutil.copytree(shared_study, tmp_path / "studies" / "mini")
    return tmp_path


def _reviewed(root: Path) -> Reviewed:
    return review(StudyFolder.open(root / "studies" / "mini"))


def _loaded(root: Path, text: str) -> Loaded:
    (target,) = find_targets(str(root / text), root / "studies")
    return load_target(target)


def _score(loaded: Loaded) -> float:
    return validate(loaded.model, loaded.splits.val, loaded.config, loaded.groups).metrics[METRIC]


def _data(root: Path, *options: str) -> dict[str, Any]:
    done = call("soup", "mini", "--format", "json", "--quiet", *options, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def test_the_soup_is_the_mean_of_its_trials_and_scores_what_it_says(root: Path) -> None:
    (one,) = _data(root)["soups"]
    (group,) = one["groups"]
    assert group["start"] == "a stem of 3 epochs"
    assert one["left_out"] == {}
    trials = [row["trial"] for row in group["trials"]]
    assert sorted(trials) == [f"t{number:04d}" for number in range(5)]
    alone = [row["alone"] for row in group["trials"]]
    assert alone == sorted(alone, reverse=True)
    # a soup of one is the trial: its own statistics, its own score
    assert group["best_alone"] == alone[0] == group["trials"][0]["average_with_it"]
    assert group["score"] > alone[0] and len(group["members"]) > 1
    assert group["members"] == [row["trial"] for row in group["trials"] if row["added"]]

    soup = _loaded(root, one["file"])
    assert _score(soup) == group["score"]
    found = read_weights(root / one["file"]).tensors
    states = [
        _loaded(root, f"studies/mini/trials/{SCENARIO}/{name}").model.state_dict()
        for name in group["members"]
    ]
    for name, value in found.items():
        if "running_" in name or "num_batches" in name:
            continue
        mean = np.mean([state[name].double().numpy() for state in states], axis=0)
        assert value.numpy() == pytest.approx(mean, rel=1e-6, abs=1e-8)
    # the mean of the statistics is not what the mean of the weights has
    layers = [name for name in found if name.endswith("running_var")]
    assert layers
    for name in layers:
        mean = np.mean([state[name].double().numpy() for state in states], axis=0)
        assert np.abs(found[name].numpy() - mean).max() > 1e-3 * np.abs(mean).max()
        assert (found[name] > 0).all()


def test_the_statistics_of_a_soup_are_those_of_its_own_activations(root: Path) -> None:
    """Measured at the first BatchNorm layer on the training images, which eps moves little."""
    (made,) = make_soups(_reviewed(root), device="cpu")
    assert made.path is not None
    soup = _loaded(root, str(made.path.relative_to(root)))
    layer = next(m for m in soup.model.modules() if isinstance(m, nn.BatchNorm2d))
    assert layer.running_mean is not None and layer.running_var is not None
    found, variance = layer.running_mean.clone().numpy(), layer.running_var.clone().numpy()
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        soup.model.train()(to_unit(soup.splits.train.images))
    (activations,) = seen
    mean = activations.double().mean(dim=(0, 2, 3)).numpy()
    spread = activations.double().std(dim=(0, 2, 3)).numpy()
    assert (np.abs(found - mean) < 0.3 * spread).all()
    assert (0.6 < variance / spread**2).all() and (variance / spread**2 < 1.6).all()


def test_it_is_tested_beside_the_winner_and_evaluate_agrees(root: Path) -> None:
    data = _data(root, "--test")
    file = data["soups"][0]["file"]
    (block,) = data["test"]
    soup, trial = block["checkpoints"]
    assert soup["name"] == file
    assert trial["name"].endswith(f"{data['soups'][0]['groups'][0]['trials'][0]['trial']}"
                                  "/checkpoint.pt")  # fmt: skip
    assert set(soup["scores"]) == {"test/pgd3_balanced_acc", "test/clean_balanced_acc"}
    ahead = soup["winner_ahead"]
    assert ahead["low"] < ahead["gain"] < ahead["high"]
    assert "of the search's seed" in block["notes"][0]
    done = call("evaluate", file, "--attacks", "clean,pgd3", "--format", "json", "--quiet",
                cwd=root)  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)
    assert card["model"]["soup"] == " ".join(data["soups"][0]["groups"][0]["members"])
    assert card["model"]["name"] == f"mini-soups-{SCENARIO}"
    assert card["sentinel"]
    for row in card["rows"]:
        score = soup["scores"][f"test/{row['attack']}_balanced_acc"]
        assert row["numbers"]["balanced_acc"] == score
    said = " ".join(call("soup", "mini", "--test", "--quiet", cwd=root).stdout.split())
    assert "A soup is of one training seed." in said and "winner ahead" in said
    rows = list(csv.DictReader(io.StringIO(
        call("soup", "mini", "--format", "csv", "--quiet", cwd=root).stdout
    )))  # fmt: skip
    assert [row["added"] for row in rows].count("true") == len(card["model"]["soup"].split())


def test_with_fresh_seeds_the_same_trials_are_averaged_anew(root: Path) -> None:
    """Against the mean of the confirmations' weights, which the winner is tested beside."""
    study = _reviewed(root)
    (made,) = make_soups(study, device="cpu")
    fresh = confirm_soup(study, made, device="cpu", folder=root / "kept")
    assert fresh is not None and made.best is not None
    assert list(fresh.seeds) == [1, 2]
    winner = study.results.scenarios[0].winner
    assert winner is not None and fresh.lead is not None
    assert fresh.lead.low is not None and fresh.lead.low <= fresh.lead.gain
    gain = np.mean(fresh.scores) - np.mean(winner.test["test/pgd3_balanced_acc"])
    assert fresh.lead.gain == pytest.approx(gain)
    for seed, score in zip(fresh.seeds, fresh.scores, strict=True):
        loaded = [
            _loaded(root, str(study.folder.confirmation(
                SCENARIO, one.config.replace({"seeds.seed": seed}).recipe, seed)))
            for one in made.best.members
        ]  # fmt: skip
        first = loaded[0]
        states = [one.model.state_dict() for one in loaded]
        first.model.load_state_dict(averaged(states))
        estimate_statistics(
            first.model, first.config, first.splits.train, first.splits.samples_per_class,
            epoch=first.config.optim.epochs - 1, classes=first.class_state,
        )  # fmt: skip
        measured = measure_accuracy(
            first.model, first.splits.test(), "pgd3", first.config, split="test", classes=10
        )
        found = measured.metrics("test", first.groups)["test_balanced_acc"]
        assert found == pytest.approx(score)
    said = " ".join(call("soup", "mini", "--test", "--quiet", cwd=root).stdout.split())
    assert "trained and averaged anew with the fresh seeds 1, 2, reach" in said
    member = made.best.members[-1].config.replace({"seeds.seed": 1})
    for seed in (1, 2):
        (study.folder.confirmation(SCENARIO, member.recipe, seed) / "checkpoint.pt").unlink()
    said = " ".join(call("soup", "mini", "--test", "--quiet", cwd=root).stdout.split())
    assert f"to confirm the soup, run `ltat-tune resume mini --confirm {fresh.top}`" in said
    ranks = [row["trial"] for row in _data(root)["soups"][0]["groups"][0]["trials"]]
    assert fresh.top == 1 + max(ranks.index(one.name) for one in made.best.members)


def test_no_training_makes_a_soup(root: Path) -> None:
    (made,) = make_soups(_reviewed(root), device="cpu")
    assert made.path is not None
    config, recorded = load_config(made.path.with_suffix(".yaml"))
    assert recorded is not None and made.best is not None
    assert config.identity == made.best.trials[0].config.identity
    assert recorded["soup"].split() == [one.name for one in made.best.members]
    done = call("train", made.path.with_suffix(".yaml"), cwd=root)
    assert done.returncode == 2
    assert "which no training makes" in done.stderr


def test_a_file_is_written_only_where_an_average_scores_more(root: Path) -> None:
    """Of every pair of the best trial and another one."""
    study = _reviewed(root)
    (whole,) = make_soups(study, device="cpu")
    best = whole.best_trial.number
    file = root / f"studies/mini/soups/{SCENARIO}.safetensors"
    assert file.exists()
    rises = []
    for other in set(range(5)) - {best}:
        pair = [row for row in study.trials if row.number in (best, other)]
        (made,) = make_soups(replace(study, trials=pair), device="cpu")
        alone, together = (one.score for one in made.soups[0].tried)
        rises.append(together > alone)
        assert made.soups[0].score == max(alone, together)
        assert (made.path is not None) == rises[-1] == (made.best is not None)
        assert file.exists() == file.with_suffix(".yaml").exists() == rises[-1]
    assert set(rises) == {True, False}


def test_trials_without_a_common_start_are_refused_with_the_reason(
    small_study: Path, root: Path
) -> None:
    done = call("soup", str(small_study), cwd=root)
    assert done.returncode == 2
    assert "imbalance_ratio_2: two trials must share a start" in done.stderr
    assert "t0000, t0001: everything in it acts from the first epoch on" in done.stderr
    assert "imbalance_ratio_4: two trials" in done.stderr
    for number in range(1, 5):
        (root / f"studies/mini/trials/{SCENARIO}/t{number:04d}/checkpoint.pt").unlink()
    lone = call("soup", "mini", cwd=root).stderr
    assert "t0000: no other trial shares its start (a stem of 3 epochs)" in lone
    assert "its weights were deleted" in lone


def test_trials_share_model_init_only_with_the_same_network_data_and_seeds(
    tmp_path: Path,
) -> None:
    file = tmp_path / "start.pt"
    file.write_bytes(b"weights")

    def start(**changes: object) -> tuple[str, str] | None:
        values = {path.replace("__", "."): value for path, value in changes.items()}
        return shared_start(TrialConfig.from_flat({**values, "model.init": str(file)}))

    first = start()
    assert first is not None and first[0] == f"model.init {file}"
    assert start(optim__lr=0.3) == start(method__name="trades") == first
    for other in (
        start(model__width=8), start(data__imbalance_ratio=20), start(seeds__seed=5),
        start(method__name="srat"),
    ):  # fmt: skip
        assert other != first
    assert shared_start(TrialConfig.from_flat({})) is None
