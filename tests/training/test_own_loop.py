"""Training functions of plugins: what they get, how they are stopped, and how they continue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ltat_tune.config import plugin_loader
from ltat_tune.config.effects import acts_from_epoch
from ltat_tune.config.plugin_loader import load_plugins
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError, ConfigError, LtatError, TrainingDiverged
from ltat_tune.results.model import read_results
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.trainer import Trainer
from tests.config.test_plugins import block
from tests.drive import MINI, call, write_space

SHOWN = block("register_trainer")
_VALUES = {
    "data.name": "digits", "data.imbalance_ratio": 4, "data.max_per_class": 8,
    "data.val_per_class": 4, "optim.epochs": 3, "optim.lr": 0.05, "model.width": 4,
    "optim.batch_size": 16, "attack.eps": 0.1, "evaluation.val_attack": "pgd1",
    "method.name": "noisy",
}  # fmt: skip


class _Stop(Exception):
    """What a study raises where it stops a trial."""


@pytest.fixture(autouse=True)
def no_plugin_stays() -> Iterator[None]:
    yield
    for plugin in plugin_loader.loaded():
        plugin_loader.forget(plugin)


def _config(folder: Path, text: str = SHOWN, **values: Any) -> TrialConfig:
    (folder / "noisy.py").write_text(text)
    load_plugins(["noisy"], beside=folder)
    return TrialConfig.from_flat({**_VALUES, **values})


def _stops_at(last: int) -> Any:
    def on_epoch(done: EpochMetrics) -> None:
        if done.epoch == last:
            raise _Stop

    return on_epoch


def test_a_stopped_training_continues_to_the_same_weights(tmp_path: Path) -> None:
    config = _config(tmp_path)
    whole = Trainer(config).fit(checkpoint=tmp_path / "whole.pt")
    with pytest.raises(_Stop):
        Trainer(config).fit(_stops_at(2), checkpoint=tmp_path / "part.pt")
    seen: list[tuple[int, bool]] = []
    again = Trainer(config).fit(
        lambda done: seen.append((done.epoch, done.replayed)), checkpoint=tmp_path / "part.pt"
    )
    assert seen == [(1, True), (2, True), (3, False)]
    assert again.weights == whole.weights
    assert {"train/loss", "val/pgd1_balanced_acc"} <= set(whole.metrics)
    late = config.replace({"reweight.name": "inverse", "reweight.start_fraction": 0.8})
    assert acts_from_epoch(late, "reweight.name") == 0  # only the function's author knows


def test_without_a_state_it_begins_again_and_what_it_catches_is_raised(tmp_path: Path) -> None:
    text = SHOWN.replace(", state=optimizer.state_dict()", "").replace(
        "        run.report(", "        try:\n            run.report("
    )
    text = text.replace("loss.item()})", "loss.item()})\n        except Exception:\n            0")
    config = _config(tmp_path, text)
    whole = Trainer(config).fit()
    with pytest.raises(_Stop):  # although the function went on
        Trainer(config).fit(_stops_at(2), checkpoint=tmp_path / "part.pt")
    epochs: list[int] = []
    again = Trainer(config).fit(
        lambda done: epochs.append(done.epoch), checkpoint=tmp_path / "part.pt"
    )
    assert epochs == [1, 2, 3]
    assert again.weights == whole.weights


def test_weights_of_its_own_network_are_taken_or_refused(tmp_path: Path) -> None:
    begin = "    optimizer ="
    text = SHOWN.replace(begin, f"    import copy; mine = copy.deepcopy(run.model)\n{begin}")
    text = text.replace("run.model.", "mine.").replace("run.model(", "mine(")
    text = text.replace("state=optimizer.state_dict()", "weights={}")
    plain = Trainer(_config(tmp_path)).fit()
    assert Trainer(_config(tmp_path, text.replace("{})", "mine)"))).fit().weights == plain.weights
    with pytest.raises(CheckpointError, match="weights of epoch 1 must hold the weights of the"):
        Trainer(_config(tmp_path, text)).fit()


@pytest.mark.parametrize(
    ("old", "new", "error", "sentence"),
    [
        ("run.report(epoch,", "run.report(epoch + 1,", LtatError, "from 1 to 3, got epoch 2"),
        ("in run.epochs", "in list(run.epochs)[:2]", LtatError, "must report 3 epochs, and its"),
        ("loss.item()", "float('nan')", TrainingDiverged, "train/loss became non-finite"),
    ],
)
def test_a_function_that_breaks_the_contract_is_refused(
    old: str, new: str, error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=sentence):
        Trainer(_config(tmp_path, SHOWN.replace(old, new))).fit()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("def noisy(run, *, noise)", "def noisy(run)", "trainer noisy is constructed as noisy"),
        ('"noisy", noisy', '"pgd_at", noisy', "method.name pgd_at is taken by ltat-tune itself"),
    ],
)
def test_what_cannot_be_registered_is_refused(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        _config(tmp_path, SHOWN.replace(old, new))


def test_a_study_searches_confirms_tests_and_exports_what_it_trains(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(SHOWN)
    tuned = {"method.noise": {"type": "float", "low": 0.01, "high": 1.0, "log": True}}
    space = write_space(
        tmp_path, plugins=["noisy"], tuned=tuned,
        fixed={**MINI["fixed"], "method.name": "noisy", "data.imbalance_ratio": 2},
        start_from=[{"method.noise": 0.1}], scenarios={}, searcher={"trials": 3},
    )  # fmt: skip
    done = call("--space", space, "--in-process", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = read_results(StudyFolder(tmp_path / "studies" / "mini"))
    assert results is not None
    winner = results.scenarios[0].winner
    assert winner is not None and len(winner.test["test/pgd3_balanced_acc"]) == 2
    exported = call("export", "mini", "--checkpoint", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert "equal to the last bit" in exported.stderr
