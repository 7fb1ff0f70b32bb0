"""The loop: resumed to the last bit, repeatable, and silent where it must be."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages, Splits, load_splits
from ltat_tune.errors import CheckpointError, TrainingDiverged
from ltat_tune.methods import StepOutput, build_method
from ltat_tune.models import Classifier
from ltat_tune.training import trainer as module
from ltat_tune.training import validator
from ltat_tune.training.checkpoint import load_checkpoint, weights_hash
from ltat_tune.training.evaluation import Validation
from ltat_tune.training.fit_result import EpochMetrics, FitResult
from ltat_tune.training.metrics import Accuracy, ClassGroups
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny


@dataclass(frozen=True)
class _Digits:
    """Everything about a training that must come out again."""

    weights: str
    epoch: int
    metrics: dict[str, float]
    per_class: dict[str, list[float | None]]
    history: list[tuple[int, dict[str, float]]]
    final_weights: str  # of the last epoch, whichever is kept


def _digits(trainer: Trainer, result: FitResult, final_weights: str) -> _Digits:
    history = [(past.epoch, past.metrics) for past in trainer.history]
    return _Digits(
        result.weights, result.epoch, result.metrics, result.per_class, history, final_weights
    )


def _train(
    config: TrialConfig,
    *,
    checkpoint: Path | None = None,
    validate_at: tuple[int, ...] = (),
    cache_dir: Path | None = None,
) -> _Digits:
    trainer = Trainer(config, cache_dir=cache_dir)
    finals: list[str] = []

    def on_epoch(done: EpochMetrics) -> None:
        finals.append(weights_hash(trainer.model.state_dict()))

    result = trainer.fit(on_epoch, checkpoint=checkpoint, validate_at=validate_at)
    assert weights_hash(result.model.state_dict()) == result.weights
    return _digits(trainer, result, finals[-1])


def _weights_by_epoch(config: TrialConfig) -> list[str]:
    trainer = Trainer(config)
    found: list[str] = []
    trainer.fit(lambda done: found.append(weights_hash(trainer.model.state_dict())))
    return found


class _Interrupted(Exception):
    """Raised by a callback."""


def _interrupt_after(config: TrialConfig, epoch: int, checkpoint: Path) -> None:
    def on_epoch(done: EpochMetrics) -> None:
        if done.epoch == epoch and not done.replayed:
            raise _Interrupted

    with pytest.raises(_Interrupted):
        Trainer(config).fit(on_epoch, checkpoint=checkpoint)


# --- resume ---


def _natural(folder: Path) -> TrialConfig:
    return tiny(
        method__name="natural",
        data__augmentation="crop",
        data__crop_padding=1,
        loss__name="focal",
        optim__lr_schedule="constant",
    )


def _pgd_at(folder: Path) -> TrialConfig:
    return tiny(
        optim__lr_schedule="cosine",
        optim__nesterov=True,
        model__normalisation="data",
        loss__name="balanced_softmax",
        attack__start="uniform_clipped",
        evaluation__every_epochs=2,
    )


def _write_digits(folder: Path) -> None:
    """Digits 0 to 3 as PNG files: 50 of each to train on and 5 to test."""
    raw = load_digits()
    for digit in range(4):
        scans = raw.images[raw.target == digit][:55]
        for number, scan in enumerate(scans):
            path = folder / ("train" if number < 50 else "test") / str(digit) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((scan * 15).astype(np.uint8)).save(path)


def _srat(folder: Path) -> TrialConfig:
    """All that keeps state: projection, BatchNorm moved by attacks, deferral, best epoch."""
    _write_digits(folder)
    return tiny(
        data__name="image_folder",
        data__root=str(folder),
        data__max_per_class=30,
        data__augmentation="crop_flip",
        data__crop_padding=2,
        method__name="srat",
        loss__name="ldam",
        reweight__name="class_balanced",
        reweight__start_fraction=0.5,
        attack__bn_mode="train",
        optim__epochs=4,
        optim__warmup_epochs=1,
        evaluation__select_epoch="best",
    )


CONFIGS = {"natural": _natural, "pgd_at": _pgd_at, "srat": _srat}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_interrupted_after_any_epoch_is_resumed_to_the_last_bit(
    name: str, tmp_path: Path
) -> None:
    config = CONFIGS[name](tmp_path / "images")
    expected = _train(config)
    for epoch in range(1, config.optim.epochs + 1):
        checkpoint = tmp_path / f"{epoch}.pt"
        _interrupt_after(config, epoch, checkpoint)
        if epoch < config.optim.epochs:
            assert _train(config, checkpoint=checkpoint) == expected
        else:  # nothing is left to train
            trainer = Trainer(config)
            result = trainer.fit(checkpoint=checkpoint)
            assert _digits(trainer, result, expected.final_weights) == expected


@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_interrupted_after_every_epoch_comes_to_the_same_end(
    name: str, tmp_path: Path
) -> None:
    config = CONFIGS[name](tmp_path / "images")
    expected = _train(config)
    checkpoint = tmp_path / "checkpoint.pt"
    for epoch in range(1, config.optim.epochs):
        _interrupt_after(config, epoch, checkpoint)
    assert _train(config, checkpoint=checkpoint) == expected


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_the_best_epoch_is_kept_over_an_interruption(
    interrupted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = _scripted(monkeypatch, {1: 3, 2: 7, 3: 5, 4: 6})
    config = tiny(optim__epochs=4, evaluation__select_epoch="best")
    expected = _kept(config, bind)
    trainer = Trainer(config)
    bind(trainer)

    def on_epoch(done: EpochMetrics) -> None:
        if done.epoch == interrupted:
            raise _Interrupted

    with pytest.raises(_Interrupted):
        trainer.fit(on_epoch, checkpoint=tmp_path / "checkpoint.pt")
    found = _kept(config, bind, checkpoint=tmp_path / "checkpoint.pt")
    assert found.epoch == expected.epoch == 2
    assert found.weights == expected.weights
    assert found.per_class == expected.per_class


def test_a_checkpoint_and_a_cache_change_no_digit(tmp_path: Path) -> None:
    config = _srat(tmp_path / "images")
    expected = _train(config)
    assert _train(config, checkpoint=tmp_path / "c.pt", cache_dir=tmp_path / "cache") == expected


def test_resuming_in_the_middle_of_an_epoch_trains_that_epoch_again(tmp_path: Path) -> None:
    config = tiny()
    expected = _train(config)
    checkpoint = tmp_path / "checkpoint.pt"
    _interrupt_after(config, 1, checkpoint)
    trainer = Trainer(config)
    step = 0

    class _Dying:
        def training_step(self, *arguments: object, **named: object) -> StepOutput:
            nonlocal step
            step += 1
            if step == 3:
                raise _Interrupted
            found: StepOutput = method.training_step(*arguments, **named)  # type: ignore[arg-type]
            return found

    with pytest.MonkeyPatch.context() as patched:
        method = build_method(config, trainer.counts)
        patched.setattr(module, "build_method", lambda *arguments, **named: _Dying())
        with pytest.raises(_Interrupted):
            trainer.fit(checkpoint=checkpoint)
    assert len(load_checkpoint(checkpoint, identity=config.identity)["history"]) == 1
    assert _train(config, checkpoint=checkpoint) == expected


def test_on_epoch_hears_every_epoch_once_those_read_back_marked(tmp_path: Path) -> None:
    config = tiny()
    checkpoint = tmp_path / "checkpoint.pt"
    _interrupt_after(config, 2, checkpoint)
    heard: list[EpochMetrics] = []
    trainer = Trainer(config)
    trainer.fit(heard.append, checkpoint=checkpoint)
    assert [(past.epoch, past.replayed) for past in heard] == [(1, True), (2, True), (3, False)]
    assert [past.metrics for past in heard] == [past.metrics for past in trainer.history]


def test_an_exception_of_on_epoch_comes_after_the_epoch_was_saved(tmp_path: Path) -> None:
    config = tiny()
    _interrupt_after(config, 2, tmp_path / "checkpoint.pt")
    state = load_checkpoint(tmp_path / "checkpoint.pt", identity=config.identity)
    assert [epoch for epoch, _, _ in state["history"]] == [1, 2]


def test_another_configurations_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    _interrupt_after(tiny(), 1, checkpoint)
    with pytest.raises(CheckpointError, match="must belong to configuration"):
        Trainer(tiny(seeds__seed=1)).fit(checkpoint=checkpoint)


def test_a_checkpoint_of_other_images_is_refused(tmp_path: Path) -> None:
    """The files of a folder may change under one configuration."""
    config, checkpoint = _srat(tmp_path / "images"), tmp_path / "checkpoint.pt"
    _interrupt_after(config, 1, checkpoint)
    before = Trainer(config).splits.subset_hash
    for image in (tmp_path / "images" / "train" / "0").iterdir():
        image.write_bytes((tmp_path / "images" / "test" / "0" / "50.png").read_bytes())
    after = Trainer(config).splits.subset_hash
    with pytest.raises(CheckpointError) as caught:
        Trainer(config).fit(checkpoint=checkpoint)
    assert str(caught.value) == (
        f"{checkpoint} must belong to the images {after}, got {before}: the data set has changed; "
        "use another folder"
    )


# --- validation and the kept epoch ---


def _scripted(
    monkeypatch: pytest.MonkeyPatch, scores: dict[int, int]
) -> Callable[[Trainer], None]:
    """The validation of epoch e finds `scores[e]` of 10 images of each class right."""

    def bind(trainer: Trainer) -> None:
        def validate(
            model: Classifier, data: LabelledImages, config: TrialConfig, groups: ClassGroups,
            *, replays: object,
        ) -> Validation:  # fmt: skip
            score = scores[len(trainer.history) + 1]
            measured = Accuracy([score] * groups.classes, [10] * groups.classes)
            names = [f"val/{name}" for name in ("clean", config.evaluation.val_attack)]
            metrics: dict[str, float] = {}
            for name in names:
                metrics |= measured.metrics(name, groups)
            answers = torch.zeros(len(data), dtype=torch.bool)
            return Validation({name: measured.per_class for name in names}, metrics, answers)

        monkeypatch.setattr(validator, "validate", validate)

    return bind


def _kept(config: TrialConfig, bind: Callable[[Trainer], None], **named: object) -> FitResult:
    trainer = Trainer(config)
    bind(trainer)
    return trainer.fit(**named)  # type: ignore[arg-type]


def test_the_best_epochs_weights_and_metrics_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(optim__epochs=4, evaluation__select_epoch="best")
    by_epoch = _weights_by_epoch(config)
    bind = _scripted(monkeypatch, {1: 3, 2: 7, 3: 5, 4: 6})
    result = _kept(config, bind)
    assert result.epoch == 2
    assert result.metrics["val/pgd2_balanced_acc"] == pytest.approx(0.7)
    assert result.per_class["val/pgd2"] == [0.7] * 10
    assert result.weights == by_epoch[1]


def test_of_equal_scores_the_earlier_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = _scripted(monkeypatch, {1: 3, 2: 7, 3: 7})
    assert _kept(tiny(evaluation__select_epoch="best"), bind).epoch == 2


@pytest.mark.parametrize(
    ("tenths", "epoch"),
    [({1: 3, 2: 7, 3: 7}, 3), ({1: 7, 2: 7, 3: 6}, 2), ({1: 8, 2: 7, 3: 7}, 1)],
)
def test_best_late_keeps_the_latest_of_equal_scores(
    monkeypatch: pytest.MonkeyPatch, tenths: dict[int, int], epoch: int
) -> None:
    config = tiny(evaluation__select_epoch="best_late")
    by_epoch = _weights_by_epoch(config)
    result = _kept(config, _scripted(monkeypatch, tenths))
    assert (result.epoch, result.weights) == (epoch, by_epoch[epoch - 1])


def test_the_last_epoch_is_kept_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = _scripted(monkeypatch, {1: 9, 2: 7, 3: 2})
    result = _kept(tiny(), bind)
    assert result.epoch == 3
    assert result.metrics["val/pgd2_balanced_acc"] == pytest.approx(0.2)


def test_a_score_of_0_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = _scripted(monkeypatch, {1: 0, 2: 0, 3: 0})
    assert _kept(tiny(evaluation__select_epoch="best"), bind).epoch == 1


def test_validation_comes_every_so_many_epochs_after_the_last_and_where_it_is_asked_for() -> None:
    trainer = Trainer(tiny(optim__epochs=5, evaluation__every_epochs=2))
    trainer.fit(validate_at=(3, 99))
    validated = [past.epoch for past in trainer.history if "val/clean_acc" in past.metrics]
    assert validated == [2, 3, 4, 5]


def test_without_an_interval_only_rungs_and_the_last_epoch_are_validated() -> None:
    config = tiny(optim__epochs=4, evaluation__every_epochs=None)
    every = _train(config.replace({"evaluation.every_epochs": 1}))
    for rungs, validated in (((), [4]), ((2,), [2, 4]), ((2, 4, 99), [2, 4])):
        found = _train(config, validate_at=rungs)
        epochs = [epoch for epoch, metrics in found.history if "val/clean_acc" in metrics]
        assert epochs == validated
        assert (found.weights, found.metrics) == (every.weights, every.metrics)


@pytest.mark.parametrize(
    "values",
    [
        {"optim__ema_epochs": 1.5, "optim__ema_keep": "better",
         "optim__ema_statistics": "adversarial"},
        {"method__name": "cfa", "method__fawa_span": 0.5, "method__fawa_threshold": 0.05},
    ],
)  # fmt: skip
def test_the_better_of_average_and_weights_and_cfas_average_need_no_interval(
    values: dict[str, object],
) -> None:
    """The last epoch alone decides between the two; CFA's guard measures every epoch itself."""
    config = tiny(optim__epochs=4, **values)
    every, rungs = (
        _train(config.replace({"evaluation.every_epochs": n}), validate_at=(2,)) for n in (1, None)
    )
    assert (rungs.weights, rungs.metrics) == (every.weights, every.metrics)


def test_validating_at_further_epochs_changes_no_weight() -> None:
    config = tiny(optim__epochs=4, evaluation__every_epochs=4)
    plain, validated = _train(config), _train(config, validate_at=(1, 2, 3))
    assert validated.weights == plain.weights
    assert validated.metrics == plain.metrics
    for (_, metrics), (_, more) in zip(plain.history, validated.history, strict=True):
        assert metrics.items() <= more.items()


def test_validating_at_further_epochs_does_not_change_which_epoch_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A study validates at its rungs; trained alone, the same configuration keeps the same."""
    bind = _scripted(monkeypatch, {1: 9, 2: 5, 3: 9, 4: 4})
    config = tiny(optim__epochs=4, evaluation__every_epochs=2, evaluation__select_epoch="best")
    plain, validated = _kept(config, bind), _kept(config, bind, validate_at=(1, 3))
    assert plain.epoch == validated.epoch == 2
    assert plain.weights == validated.weights


# --- randomness ---


def test_equal_seeds_give_equal_digits_and_other_seeds_differ() -> None:
    first, again, other = _train(tiny()), _train(tiny()), _train(tiny(seeds__seed=1))
    assert first == again
    assert other.weights != first.weights
    assert other.metrics != first.metrics


def test_a_second_fit_of_one_trainer_starts_anew() -> None:
    trainer = Trainer(tiny())
    first = trainer.fit()
    assert trainer.fit().weights == first.weights


def test_the_global_generators_neither_matter_nor_move(tmp_path: Path) -> None:
    config = _srat(tmp_path / "images")
    expected = _train(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        state = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))
        assert _train(config) == expected
        assert torch.equal(torch.get_rng_state(), state[0])
        assert random.getstate() == state[1]
        assert str(np.random.get_state()) == state[2]


# --- divergence ---


def test_weights_that_explode_end_the_training_with_epoch_and_reason(tmp_path: Path) -> None:
    """Each step multiplies the weights by 1 - 100 * 10, past float32's range in 13 steps."""
    config = tiny(optim__lr=100, optim__weight_decay=10, optim__momentum=0)
    heard: list[int] = []
    with pytest.raises(TrainingDiverged) as caught:
        Trainer(config).fit(
            lambda done: heard.append(done.epoch), checkpoint=tmp_path / "checkpoint.pt"
        )
    words = str(caught.value)
    epoch = len(heard) + 1  # four steps an epoch, so the third or fourth
    assert f"became non-finite in epoch {epoch} of 3 (optim.lr 100)" in words
    assert words.startswith("train/")


class _Broken:
    """A training step with a finite loss and an infinite gradient."""

    def training_step(
        self,
        model: Classifier,
        images: Tensor,
        targets: Tensor,
        *,
        class_weights: Tensor | None,
        generator: torch.Generator,
    ) -> StepOutput:
        logits = model(images)
        loss = (model.head.bias - model.head.bias.detach()).sqrt().sum()
        return StepOutput(loss, logits, {})


def test_a_weight_that_breaks_under_a_finite_loss_is_noticed_in_the_same_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "build_method", lambda *arguments, **named: _Broken())
    with pytest.raises(TrainingDiverged) as caught:
        Trainer(tiny(optim__batch_size=200)).fit()
    assert str(caught.value) == "a weight became non-finite in epoch 1 of 3 (optim.lr 0.1)"


# --- class weights ---


def test_deferred_weights_act_from_the_deferral_epoch_on_and_not_before() -> None:
    """0.5 of 4 epochs: two epochs as without weights, and two with."""
    plain = _weights_by_epoch(tiny(optim__epochs=4))
    deferred, immediate = (
        _weights_by_epoch(
            tiny(
                optim__epochs=4,
                reweight__name="class_balanced",
                reweight__schedule=schedule,
                reweight__start_fraction=0.5,
            )
        )
        for schedule in ("deferred", "immediate")
    )
    assert [a == b for a, b in zip(deferred, plain, strict=True)] == [True, True, False, False]
    assert [a == b for a, b in zip(immediate, plain, strict=True)] == [False] * 4


def test_weights_deferred_by_0_are_immediate() -> None:
    settings = {"reweight__name": "inverse", "reweight__start_fraction": 0}
    deferred, immediate = (
        _weights_by_epoch(tiny(**settings, reweight__schedule=schedule))
        for schedule in ("deferred", "immediate")
    )
    assert deferred == immediate


def test_the_method_is_given_the_weights_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """inverse: 20 over 20, 17, 14, 12, 10, 9, 7, 6, 5 and 5."""
    given: list[list[float] | None] = []

    class _Spy:
        def training_step(
            self,
            model: Classifier,
            images: Tensor,
            targets: Tensor,
            *,
            class_weights: Tensor | None,
            generator: torch.Generator,
        ) -> StepOutput:
            given.append(None if class_weights is None else class_weights.tolist())
            logits = model(images)
            return StepOutput(nn.functional.cross_entropy(logits, targets), logits, {})

    monkeypatch.setattr(module, "build_method", lambda *arguments, **named: _Spy())
    Trainer(
        tiny(reweight__name="inverse", reweight__start_fraction=0.34, optim__batch_size=200)
    ).fit()
    counts = [20, 17, 14, 12, 10, 9, 7, 6, 5, 5]
    assert given == [
        None,
        pytest.approx([20 / n for n in counts]),
        pytest.approx([20 / n for n in counts]),
    ]


# --- what the loop reports ---


def test_the_reported_training_terms_are_means_over_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches of 32, 32, 32 and 9 with losses 1, 2, 3 and 4: (32 + 64 + 96 + 36) / 105."""
    losses = iter([1.0, 2.0, 3.0, 4.0])

    class _Scripted:
        def training_step(
            self,
            model: Classifier,
            images: Tensor,
            targets: Tensor,
            *,
            class_weights: Tensor | None,
            generator: torch.Generator,
        ) -> StepOutput:
            logits = nn.functional.one_hot(targets, 10).float()  # right, but for the last batch
            if len(targets) == 9:
                logits = -logits
            value = next(losses)
            return StepOutput(
                value + 0 * model.head.bias.sum(), logits, {"part": torch.tensor(value / 2)}
            )

    monkeypatch.setattr(module, "build_method", lambda *arguments, **named: _Scripted())
    trainer = Trainer(tiny(optim__epochs=1))
    trainer.fit()
    metrics = trainer.history[0].metrics
    assert metrics["train/loss"] == pytest.approx(228 / 105)
    assert metrics["train/part"] == pytest.approx(114 / 105)
    assert metrics["train/acc"] == pytest.approx(96 / 105)
    assert metrics["train/lr"] == 0.1


def test_every_reported_number_is_finite_and_accuracies_are_fractions() -> None:
    trainer = Trainer(tiny(method__name="srat"))
    result = trainer.fit()
    for past in trainer.history:
        assert all(np.isfinite(value) for value in past.metrics.values())
        assert all(0 <= v <= 1 for name, v in past.metrics.items() if name.endswith("_acc"))
    assert trainer.score_name == "val/pgd2_balanced_acc"
    assert result.metrics[trainer.score_name] == pytest.approx(
        sum(r for r in result.per_class["val/pgd2"] if r is not None) / 10
    )
    assert not result.model.training


# --- the test split ---


def _untouchable(splits: Splits) -> Splits:
    def test() -> LabelledImages:
        raise AssertionError("the test split was read")

    return replace(splits, test=test)


@pytest.mark.parametrize("select_epoch", ["last", "best", "best_late"])
def test_the_test_split_is_never_read_by_a_training(select_epoch: str, tmp_path: Path) -> None:
    config = tiny(
        evaluation__select_epoch=select_epoch,
        model__normalisation="data",
        reweight__name="class_balanced",
    )
    splits = _untouchable(load_splits(config))
    Trainer(config, splits=splits).fit(checkpoint=tmp_path / "checkpoint.pt")
    Trainer(config, splits=splits).fit(checkpoint=tmp_path / "checkpoint.pt")


def test_normalisation_uses_the_training_subset_alone() -> None:
    trainer = Trainer(tiny(model__normalisation="data", optim__epochs=1))
    trainer.fit()
    images = trainer.splits.train.images
    assert trainer.model.mean.item() == pytest.approx(images.mean().item())
    assert trainer.model.std.item() == pytest.approx(images.std().item())


def test_predictions_of_the_training_images_are_counted_by_epoch_and_resumed(
    tmp_path: Path,
) -> None:
    config = tiny()
    whole = Trainer(config).fit()
    assert len(whole.predicted) == config.optim.epochs
    images = len(Trainer(config).splits.train)
    assert [sum(counts) for counts in whole.predicted] == [images] * config.optim.epochs

    def stop(done: EpochMetrics) -> None:
        raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        Trainer(config).fit(stop, checkpoint=checkpoint)
    assert Trainer(config).fit(checkpoint=checkpoint).predicted == whole.predicted
