"""Which model a word means, and what is refused with an explanation."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ltat_tune.config.config_file import dump_config
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError, ConfigError, LtatError, StudyError
from ltat_tune.evaluation import card
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import Target, find_targets, threads_of
from ltat_tune.files import write_json
from ltat_tune.models import Classifier
from ltat_tune.training.checkpoint import save_checkpoint
from ltat_tune.training.trainer import Trainer
from tests.evaluation.trainings import train_into


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("trained")
    train_into(path)
    yield path
    torch.set_num_threads(threads)


def _changed(folder: Path, tmp_path: Path, **values: Any) -> Target:
    """The trained checkpoint beside a configuration with other values."""
    config = load_target(_target(folder)).config
    values = {name.replace("__", "."): value for name, value in values.items()}
    dump_config(tmp_path / "config.yaml", config.replace(values), comment="changed")
    return Target("changed", tmp_path / "config.yaml", folder / "checkpoint.pt")


def _target(folder: Path) -> Target:
    (found,) = find_targets(str(folder), Path("nowhere"))
    return found


def test_the_model_is_the_one_that_the_training_returned(folder: Path) -> None:
    loaded = load_target(_target(folder))
    trained = Trainer(loaded.config).fit()
    images = loaded.splits.test().images[:20].float() / 255
    with torch.no_grad():
        assert torch.equal(loaded.model(images), trained.model.eval()(images))
    assert loaded.weights == trained.weights
    assert not loaded.model.training
    assert not loaded.selected_on_test


def test_a_configuration_and_a_checkpoint_mean_the_same_model(
    folder: Path, tmp_path: Path
) -> None:
    by_config = find_targets(str(folder / "config.yaml"), tmp_path)
    by_checkpoint = find_targets(str(folder / "checkpoint.pt"), tmp_path)
    assert by_config == by_checkpoint == [_target(folder)]
    alone = tmp_path / "mine.pt"
    shutil.copy(folder / "checkpoint.pt", alone)
    with pytest.raises(ConfigError, match="mine.pt needs the configuration .* --config"):
        find_targets(str(alone), tmp_path)
    (named,) = find_targets(str(alone), tmp_path, config=folder / "config.yaml")
    assert load_target(named).weights == load_target(_target(folder)).weights


def test_models_of_a_study_have_names_that_tell_them_apart(folder: Path, tmp_path: Path) -> None:
    study = tmp_path / "mine"
    places = ("confirmations/one/a-seed0/checkpoint.pt", "best/best-one.pt", "best/best-two.pt",
              "checkpoint.pt")  # fmt: skip
    for place in places:
        (study / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "checkpoint.pt", study / place)
        shutil.copy(folder / "config.yaml", (study / place).with_suffix(".yaml"))
    write_json(study / "study.json", {"format": 1})
    targets = [_target(study / place) for place in places]
    assert [target.name for target in targets] == [
        "mine-one-a-seed0", "mine-best-one", "mine-best-two", "mine-checkpoint",
    ]  # fmt: skip
    assert not any(card.log({}, target) for target in targets)  # there is no store


def test_a_configuration_without_a_model_names_the_command_that_trains_it(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "config.yaml", tmp_path / "best.yaml")
    command = f"ltat-tune train {tmp_path}/best.yaml --checkpoint {tmp_path}/best.pt"
    with pytest.raises(CheckpointError, match=command):
        find_targets(str(tmp_path / "best.yaml"), tmp_path)


@pytest.mark.parametrize(
    ("space", "recorded", "threads"),
    [
        ("resources: {cpus_per_trial: 3}", None, 3),
        ("resources: {cpus_per_trial: 3}", {"threads": 2}, 3),
        ("name: small", {"threads": 2}, 1),
        ("- no mapping", None, 1),
        (None, {"threads": 2}, 2),
        (None, {}, 1),
        (None, None, 1),
    ],
)
def test_the_threads_are_those_of_the_study_or_of_the_export(
    tmp_path: Path, space: str | None, recorded: dict[str, Any] | None, threads: int
) -> None:
    """1 is the default of a study, too."""
    dump_config(tmp_path / "config.yaml", TrialConfig(), comment="", recorded=recorded)
    if space is not None:
        (tmp_path / "space.yaml").write_text(space)
    study = None if space is None else tmp_path
    target = Target("a", tmp_path / "config.yaml", tmp_path / "checkpoint.pt", study=study)
    assert threads_of(target) == threads


def test_an_unknown_name_says_which_studies_there_are(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is not a study, folder or file; studies in .*none"):
        find_targets("nothing", tmp_path)
    with pytest.raises(StudyError, match="must hold config.yaml and checkpoint.pt, or be a study"):
        find_targets(str(tmp_path), tmp_path)


class _Bomb:
    """A pickle of this makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(
    folder: Path, tmp_path: Path, zipped: bool
) -> None:
    struck, path = tmp_path / "struck", tmp_path / "bomb.pt"
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["history"] = _Bomb(struck)
    if zipped:
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state["history"]))
    with pytest.raises(CheckpointError, match="bomb.pt is refused: .* might run code"):
        load_target(Target("bomb", folder / "config.yaml", path))
    assert not struck.exists()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_torn_checkpoint_is_called_torn(folder: Path, tmp_path: Path, part: float) -> None:
    path, whole = tmp_path / "torn.pt", (folder / "checkpoint.pt").read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CheckpointError, match="torn.pt is (not a whole checkpoint|refused)"):
        load_target(Target("torn", folder / "config.yaml", path))


def test_a_text_file_is_told_from_a_torn_checkpoint(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.pt"
    text.write_text("hello\n")
    with pytest.raises(CheckpointError, match="text.pt .* this file does not begin like one"):
        load_target(Target("text", folder / "config.yaml", text))


def test_a_state_dict_from_elsewhere_must_fill_the_configured_network(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="the network small_cnn with 10 classes; missing:"):
        load_target(Target("weights", folder / "config.yaml", path))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"model__width": 8}, r"must hold the network of .*\(small_cnn, width 8, linear head\)"),
        ({"model__head": "cosine"}, r"cosine head\), but it has head.bias besides"),
        ({"model__name": "resnet18", "model__stem": "conv"}, r"\(resnet18, width 4.*lacks "),
        ({"method__name": "srat"}, "but it lacks projection"),
        ({"data__classes": list("0123456")}, "must have 7 classes, .* got 10"),
        ({"model__normalisation": "data"}, r"normalisation data, that is mean \(0\.3.*mean \(0\)"),
        ({"seeds__seed": 1}, "its weights fit, but another value differs"),
        ({"data__imbalance_ratio": 2}, "its weights fit, but another value differs"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_explained(
    folder: Path, tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(LtatError, match=problem):
        load_target(_changed(folder, tmp_path, **values))


def test_wrong_normalisation_is_found_where_all_else_is_the_same(
    folder: Path, tmp_path: Path
) -> None:
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["model"]["std"] = torch.full((1, 1, 1, 1), 0.5)
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    shutil.copy(folder / "config.yaml", tmp_path)
    with pytest.raises(CheckpointError, match=r"that is std \(1\), got std \(0\.5\)"):
        load_target(_target(tmp_path))


def test_an_unfinished_training_names_the_command_that_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["history"] = state["history"][:1]
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    shutil.copy(folder / "config.yaml", tmp_path)
    with pytest.raises(CheckpointError, match="has 1 of 2 epochs; train it .*--checkpoint"):
        load_target(_target(tmp_path))


def test_other_scales_keep_the_log_prior(tmp_path: Path) -> None:
    """Logits s z - tau ln(N_c / N_max): from scale 2 to 10 only the first term grows."""
    train_into(tmp_path, model__posthoc_tau=1.0, model__inference_scale=2.0, optim__epochs=1)
    loaded = load_target(_target(tmp_path))
    images = loaded.splits.test().images[:4].float() / 255
    counts = loaded.splits.samples_per_class.double()
    with torch.no_grad():
        two, ten = loaded.model(images), loaded.at_scale(10.0)(images)
        prior = (counts / counts.max()).log()
        assert loaded.at_scale(2.0) is loaded.model
        expected = 5 * (two + prior) - prior
    assert torch.allclose(ten.double(), expected, atol=1e-4)


def test_a_plain_model_at_another_scale_has_its_logits_multiplied(folder: Path) -> None:
    loaded = load_target(_target(folder))
    images = loaded.splits.test().images[:4].float() / 255
    assert isinstance(loaded.model, Classifier)
    with torch.no_grad():
        assert torch.equal(loaded.at_scale(10.0)(images), 10 * loaded.model(images))
