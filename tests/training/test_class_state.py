"""What a training keeps of its classes: counted by hand, resumed, forked and branched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.methods import ClassState, StepOutput
from ltat_tune.methods.fairness.class_state import class_factors
from ltat_tune.training.checkpoint import save_checkpoint, weights_hash
from ltat_tune.training.epoch_sums import EpochSums
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.metrics import Accuracy
from ltat_tune.training.trainer import Trainer
from ltat_tune.training.weight_average import FairnessAverage, kept_mean
from tests.training.toys import tiny

SETTINGS: dict[str, dict[str, Any]] = {
    "dafa": {"method.name": "dafa", "method.start_fraction": 0.5},
    "dafa around pgd_at": {
        "method.name": "dafa", "method.base": "pgd_at", "method.start_fraction": 0.25,
    },
    "faal": {"method.name": "faal", "method.base": "mart"},
    "cfa": {"method.name": "cfa", "method.cfa_smoothing": 0.5, "method.start_fraction": 0.0},
    "fawa": {
        "method.name": "cfa", "method.base": "pgd_at", "method.fawa_span": 0.5,
        "method.fawa_threshold": 0.1, "method.fawa_guard": "balanced",
    },
    "wat": {"method.name": "wat", "method.wat_rate": 1.0, "method.wat_weight_max": 1.5},
}  # fmt: skip
each_setting = pytest.mark.parametrize("name", SETTINGS)


class _Killed(Exception):
    pass


def _config(name: str) -> TrialConfig:
    return tiny(**{"optim.epochs": 4, "evaluation.every_epochs": 2, **SETTINGS[name]})


def _run(config: TrialConfig, checkpoint: Path | None = None, **more: Any) -> tuple[object, ...]:
    trainer = Trainer(config)
    result = trainer.fit(checkpoint=checkpoint, **more)
    history = [
        {n: v for n, v in past.metrics.items() if not n.startswith("probe/")}
        for past in trainer.history
    ]
    return result.weights, weights_hash(trainer.model.state_dict()), history


@each_setting
def test_a_training_killed_after_any_epoch_is_resumed_to_the_last_bit(
    name: str, tmp_path: Path
) -> None:
    config = _config(name)
    expected = _run(config)
    for epoch in (1, 2, 3):

        def die(done: EpochMetrics, epoch: int = epoch) -> None:
            if done.epoch == epoch:
                raise _Killed

        checkpoint = tmp_path / f"{epoch}.pt"
        with pytest.raises(_Killed):
            Trainer(config).fit(die, checkpoint=checkpoint)
        assert _run(config, checkpoint) == expected


@each_setting
def test_a_probe_leaves_the_training_as_it_was(name: str) -> None:
    config = _config(name)
    assert _run(config, probe_at=(1, 2, 3), probe_epochs=1) == _run(config)


def test_dafa_and_cfa_act_in_a_probe_before_they_act_in_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []

    def watched(*args: Any, **more: Any) -> Any:
        factors = class_factors(*args, **more)
        seen.append(factors.radius is not None)
        return factors

    monkeypatch.setattr("ltat_tune.methods.class_factors", watched)
    Trainer(tiny(**{**SETTINGS["dafa"], "optim.epochs": 2})).fit(probe_at=(1,), probe_epochs=1)
    assert seen == [False, True, True]  # the first epoch, the probe, the second epoch


@pytest.mark.parametrize("base", ["pgd_at", "trades"])
def test_before_its_classes_differ_dafa_is_its_base_to_the_last_bit(base: str) -> None:
    values = {"optim.epochs": 2, "evaluation.every_epochs": 1}
    plain, dafa = (
        Trainer(tiny(**{**values, **more}))
        for more in (
            {"method.name": base},
            {"method.name": "dafa", "method.base": base, "method.start_fraction": 0.5},
        )
    )
    plain.fit()
    dafa.fit()
    first, other = plain.history[0].metrics, dafa.history[0].metrics
    assert first == other
    assert plain.history[1].metrics != dafa.history[1].metrics


@pytest.mark.parametrize("base", ["pgd_at", "trades", "mart"])
def test_faal_of_radius_0_is_its_base_to_the_last_bit(base: str) -> None:
    faal = {"method.name": "faal", "method.base": base, "method.faal_radius": 0.0}
    assert _run(tiny(**faal)) == _run(tiny(**{"method.name": base}))


def test_dafa_without_strength_is_its_base_but_for_rounding() -> None:
    dafa = {"method.name": "dafa", "method.start_fraction": 0.0, "method.dafa_strength": 0.0}
    one, two = Trainer(tiny(**dafa)), Trainer(tiny(**{"method.name": "trades"}))
    one.fit()
    two.fit()
    for name, value in one.model.state_dict().items():
        assert torch.allclose(value, two.model.state_dict()[name], atol=1e-5), name


def test_correct_answers_and_softmax_sums_are_counted_by_class() -> None:
    sums = EpochSums(3, torch.device("cpu"), correct=True, confusion=True)
    even, sure = torch.zeros(1, 3), torch.tensor([[math.log(4.0), math.log(3.0), math.log(1.0)]])
    logits = torch.cat([sure, sure, even])  # softmax (1/2, 3/8, 1/8) twice, (1/3, 1/3, 1/3)
    loss = torch.tensor(0.0)
    sums.add(StepOutput(loss, logits, {}), torch.tensor([0, 1, 2]))
    sums.add(StepOutput(loss, logits[:1], {}), torch.tensor([0]))
    correct, confusion, costs = sums.read_classes()
    assert correct == [2, 0, 0]
    assert confusion is not None and confusion.dtype == torch.float64
    expected = [[1.0, 0.75, 0.25], [0.5, 0.375, 0.125], [1 / 3] * 3]
    assert torch.allclose(confusion, torch.tensor(expected, dtype=torch.float64), atol=1e-7)
    assert costs is None
    assert EpochSums(3, torch.device("cpu")).read_classes() == (None, None, None)


def test_costs_are_added_up_by_class() -> None:
    sums = EpochSums(3, torch.device("cpu"), costs=True)
    for costs, targets in (([1.0, 2.0, 4.0], [0, 2, 0]), ([8.0], [2])):
        step = StepOutput(torch.tensor(0.0), torch.zeros(len(costs), 3), {},
                          costs=torch.tensor(costs))  # fmt: skip
        sums.add(step, torch.tensor(targets))
    assert sums.read_classes() == (None, None, [5.0, 0.0, 10.0])


@pytest.mark.parametrize("around", [{}, {"method.awp_gamma": 0.01}, {"loss.etf_weight": 0.1}])
def test_wat_keeps_the_costs_of_every_epoch_whatever_stands_around_it(
    around: dict[str, Any],
) -> None:
    trainer = Trainer(tiny(**{"method.name": "wat", "optim.epochs": 3, **around}))
    trainer.fit()
    costs = trainer.classes.costs
    assert [len(epoch) for epoch in costs] == [len(trainer.counts)] * 3
    assert min(min(epoch) for epoch in costs) > 0
    means = torch.tensor(costs).sum(dim=1) / trainer.counts.sum()
    if not around:  # the first epoch trains at twice the loss of TRADES
        assert trainer.history[0].metrics["train/loss"] == pytest.approx(2 * means[0].item())


def test_the_first_epoch_of_wat_is_trades_at_twice_the_learning_rate() -> None:
    plain = {"optim.epochs": 1, "optim.weight_decay": 0.0}
    one = Trainer(tiny(**{**plain, "method.name": "wat", "optim.lr": 0.05}))
    two = Trainer(tiny(**{**plain, "method.name": "trades", "optim.lr": 0.1}))
    one.fit()
    two.fit()
    for name, value in one.model.state_dict().items():
        assert torch.allclose(value, two.model.state_dict()[name], atol=1e-5), name


def test_dafa_reads_class_means_of_the_sums() -> None:
    # the confusion of tests/losses/test_dafa.py times 10, 100 and 1 images
    means = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64)
    counts = torch.tensor([10, 100, 1])
    state = ClassState(confusion=means * counts[:, None])
    config = tiny(**{"method.name": "dafa", "optim.epochs": 10})
    factors = class_factors(config, counts, state, 6)
    assert factors.radius is not None and factors.prediction is not None
    assert factors.radius.tolist() == pytest.approx([1.33, 0.65, 1.02])
    assert torch.equal(factors.radius, factors.prediction)
    assert class_factors(config, counts, state, 5).radius is None  # .64 of 10 epochs are 6


def test_the_first_epoch_knows_nothing_of_the_classes() -> None:
    counts = torch.tensor([10, 4])
    for name in ("dafa", "cfa"):
        config = tiny(**{"method.name": name, "method.start_fraction": 0.0})
        assert class_factors(config, counts, ClassState(), 0).radius is None
    # TRADES / (1 + beta): 1/7 of cross-entropy, 6/7 of the KL
    factors = class_factors(config, counts, ClassState(), 0)
    assert factors.prediction is not None and factors.consistency is not None
    assert factors.prediction.tolist() == pytest.approx([1 / 7, 1 / 7])
    assert factors.consistency.tolist() == pytest.approx([6 / 7, 6 / 7])


def test_a_checkpoint_from_before_there_was_class_state_is_resumed(tmp_path: Path) -> None:
    config = tiny(**{"method.name": "trades"})
    checkpoint = tmp_path / "checkpoint.pt"

    def die(done: EpochMetrics) -> None:
        raise _Killed

    with pytest.raises(_Killed):
        Trainer(config).fit(die, checkpoint=checkpoint)
    state = torch.load(checkpoint, weights_only=True)
    for name in ("classes", "fair_average"):
        del state[name]
    save_checkpoint(checkpoint, state)
    assert _run(config, checkpoint) == _run(config)


def _constant(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, value)
    return model


def test_fawa_leaves_out_epochs_that_are_unfair_and_copies_the_first_that_is_fair() -> None:
    model = _constant(8.0)
    fair = FairnessAverage(model, span=1 / math.log(2), threshold=0.4, guard="worst")  # halves
    values = []
    for value, right in [(8.0, [9, 3]), (4.0, [6, 4]), (2.0, [10, 3]), (0.0, [4, 4])]:
        with torch.no_grad():
            model.weight.fill_(value)
        fair.admit(Accuracy(right, [10, 10]))
        kept = kept_mean(None, fair)
        values.append(None if kept is None else next(kept.parameters()).item())
    # not yet; a copy; left out; half of 4 and 0
    assert values[0] is None and values[1:] == pytest.approx([4.0, 4.0, 2.0])
    assert Accuracy([4, 4], [10, 10]).per_class == [0.4, 0.4]


def test_fawa_by_balanced_accuracy_admits_a_class_without_a_hit() -> None:
    fair = FairnessAverage(_constant(3.0), span=1.0, threshold=0.4, guard="balanced")
    fair.admit(Accuracy([9, 0], [10, 10]))
    assert fair.average.begun


def test_weights_that_are_never_fair_are_the_plain_ones() -> None:
    plain = {"method.name": "cfa", "optim.epochs": 2}
    fair = {**plain, "method.fawa_span": 0.5, "method.fawa_threshold": 1.0}
    assert _run(tiny(**fair))[:2] == _run(tiny(**plain))[:2]


def test_an_average_that_has_begun_is_what_is_kept() -> None:
    values = {
        "method.name": "cfa", "optim.epochs": 3, "method.fawa_span": 0.9,
        "method.fawa_threshold": 0.0,
    }  # fmt: skip
    trainer = Trainer(tiny(**values))
    result = trainer.fit()
    assert trainer.fair_average is not None
    average = trainer.fair_average.average.module.state_dict()
    assert result.weights == weights_hash(average)
    assert result.weights != weights_hash(trainer.model.state_dict())
