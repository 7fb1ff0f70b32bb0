"""What is validated and kept of an averaged training, and a training that overfits one step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltat_tune.config.sections import OptimConfig
from ltat_tune.data.batches import steps_of_epoch, to_unit, training_batches
from ltat_tune.errors import TrainingDiverged
from ltat_tune.methods.fairness.class_state import ClassState
from ltat_tune.seeding import new_generator
from ltat_tune.training.checkpoint import weights_hash
from ltat_tune.training.trainer import Trainer
from ltat_tune.training.validator import Validator
from ltat_tune.training.weight_average import decay_of
from tests.training.toys import tiny


def test_a_span_in_epochs_is_the_same_decay_only_for_the_same_number_of_steps() -> None:
    span = OptimConfig(ema_epochs=2000 / 383, batch_size=128)
    assert decay_of(span, 383 * 128) == pytest.approx(0.9995, abs=1e-12)
    assert decay_of(span, 97 * 128) == pytest.approx(0.99803, abs=1e-5)  # 0.9995 ** (383 / 97)
    assert decay_of(OptimConfig(ema_decay=0.9), 10) == 0.9
    assert decay_of(OptimConfig(ema_epochs=0.001), 1000) == 0.0  # less than a step


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_the_steps_of_an_epoch_are_its_batches(size: int) -> None:
    trainer = Trainer(tiny())
    for images in (1, 2, 3, 6, 7, 8, 64, 65, 66):
        part = trainer.splits.train.at(torch.arange(images))
        batches: Iterator[tuple[Tensor, Tensor]] = training_batches(
            part, size, config=trainer.config.data, generator=new_generator(0, "batches")
        )
        assert len(list(batches)) == steps_of_epoch(images, size)


def _scores(trainer: Trainer) -> list[float]:
    return [past.metrics["val/pgd2_balanced_acc"] for past in trainer.history]


def test_the_better_of_average_and_plain_weights_is_kept_and_it_says_which() -> None:
    """The training itself is the same, so each epoch has the better of two known scores."""
    common = {"optim.epochs": 5, "optim.ema_decay": 0.97, "evaluation.select_epoch": "best"}
    average, plain, better = (
        Trainer(tiny(**{**common, **values})) for values in (
            {}, {"optim.ema_decay": 0.0}, {"optim.ema_keep": "better"},
        )
    )  # fmt: skip
    kept = [trainer.fit() for trainer in (average, plain, better)]
    pairs = list(zip(_scores(average), _scores(plain), strict=True))
    assert _scores(better) == [max(pair) for pair in pairs]
    says = [past.metrics["val/of_average"] for past in better.history]
    assert says == [float(first >= second) for first, second in pairs]
    assert 0 < sum(says) < 5 or len(set(says)) == 1
    best = max(_scores(better))
    from_average = says[_scores(better).index(best)] == 1
    assert kept[2].weights == kept[0 if from_average else 1].weights


def test_the_last_epoch_keeps_the_better_one_too() -> None:
    """After so few steps, an average over many is nearly the untrained network."""
    values = {"optim.ema_decay": 0.999, "optim.ema_keep": "better", "optim.epochs": 6,
              "evaluation.select_epoch": "last"}  # fmt: skip
    better = Trainer(tiny(**values))
    result = better.fit()
    assert better.average is not None
    assert better.history[-1].metrics["val/of_average"] == 0
    assert result.weights == weights_hash(better.model.state_dict())
    assert result.weights == Trainer(tiny(**{**values, "optim.ema_decay": 0.0})).fit().weights


@pytest.mark.parametrize("statistics", ["averaged", "adversarial"])
def test_it_resumes_to_the_last_bit_and_further_validations_change_nothing(
    tmp_path: Path, statistics: str
) -> None:
    config = tiny(
        **{"optim.ema_epochs": 1.5, "optim.ema_keep": "better", "evaluation.every_epochs": 3,
           "optim.ema_statistics": statistics}
    )  # fmt: skip

    class Killed(Exception):
        pass

    def die(done: object) -> None:
        raise Killed

    whole = Trainer(config).fit()
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        Trainer(config).fit(die, checkpoint=path)
    assert Trainer(config).fit(checkpoint=path).weights == whole.weights
    assert Trainer(config).fit(validate_at=(1, 2)).weights == whole.weights


@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_statistics_are_the_mean_of_batch_statistics_over_a_shuffled_epoch(
    augmentation: str,
) -> None:
    """Of a natural training, whose images are clean, at its first BatchNorm layer."""
    config = tiny(**{"method.name": "natural", "optim.ema_decay": 0.5, "optim.epochs": 1,
                     "optim.ema_statistics": "adversarial",
                     "data.augmentation": augmentation})  # fmt: skip
    trainer = Trainer(config)
    trainer.fit()
    assert trainer.average is not None
    model = trainer.average.module
    layer = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    before = {name: value.clone() for name, value in layer.named_buffers()}
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    train = trainer.splits.train
    model.train()
    draws = new_generator(0, "statistics of the average")
    if augmentation == "none":
        for part in torch.randperm(len(train), generator=draws).split(32):
            model(to_unit(train.images[part]))
    else:  # cropped as the training crops them
        for images, _ in training_batches(train, 32, config=config.data, generator=draws):
            model(images)
    hook.remove()
    for name, value in before.items():
        getattr(layer, name).copy_(value)
    batches = [batch.double().numpy() for batch in seen]
    mean = np.mean([b.mean(axis=(0, 2, 3)) for b in batches], axis=0)
    spread = np.mean([b.var(axis=(0, 2, 3), ddof=1) for b in batches], axis=0)
    validator = Validator(config, train, trainer.splits.val, trainer.counts)
    with validator.look(trainer.model, model, epoch=0, classes=ClassState()) as look:
        state = look.module.state_dict()
        found = {n: v.clone() for n, v in state.items()}
        names = [n.removesuffix(".running_mean") for n in state if n.endswith("running_mean")]
        assert found[f"{names[0]}.running_mean"].numpy() == pytest.approx(mean, rel=1e-4, abs=1e-6)
        assert found[f"{names[0]}.running_var"].numpy() == pytest.approx(spread, rel=1e-4)
    assert layer.running_mean is not None
    assert torch.equal(layer.running_mean, before["running_mean"])


class _Misleading(nn.Module):
    """Points the gradient the wrong way at the images, and the right way beside them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        levels = images * 4080  # whole numbers for k / 255 and for k / 16
        at = (levels - levels.round()).abs().amax(dim=(1, 2, 3)) < 1e-2
        return torch.where(at[:, None], 2 * logits.detach() - logits, logits)


def test_a_training_that_misleads_one_step_ends_with_the_reason() -> None:
    config = tiny(**{"method.name": "natural", "optim.epochs": 12})
    trainer = Trainer(config)
    trainer.fit()
    one_step = config.replace(
        {"method.name": "pgd_at", "attack.steps": 1, "attack.eps": 0.1,
         "evaluation.val_attack": "pgd10"}
    )  # fmt: skip
    validator = Validator(one_step, trainer.splits.train, trainer.splits.val, trainer.counts)
    with validator.look(trainer.model, None, epoch=0, classes=ClassState()) as look:
        assert 0 < look.found.metrics["val/pgd10_acc"]
    with (
        pytest.raises(TrainingDiverged, match=r"catastrophic overfitting: \d\d\.\d % .* FGSM"),
        validator.look(_Misleading(trainer.model), None, epoch=0, classes=ClassState()),
    ):
        pass
    ten = one_step.replace({"attack.steps": 10})
    trusting = Validator(ten, trainer.splits.train, trainer.splits.val, trainer.counts)
    with trusting.look(_Misleading(trainer.model), None, epoch=0, classes=ClassState()):
        pass
