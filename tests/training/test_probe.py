"""A probe judges the end of a run early, and leaves the run untouched to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.training.checkpoint import weights_hash
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.optim import learning_rate
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny

_SETTINGS: list[dict[str, object]] = [
    {},
    {"optim.ema_decay": 0.9, "optim.momentum": 0.9},
    {"method.name": "srat", "reweight.name": "class_balanced", "reweight.start_fraction": 0.5},
    {"method.name": "reat", "attack.bn_mode": "train"},
]


def _run(
    config: TrialConfig, probe_at: tuple[int, ...], checkpoint: Path | None = None
) -> tuple[str, list[dict[str, float]]]:
    trainer = Trainer(config)
    result = trainer.fit(probe_at=probe_at, probe_epochs=1, checkpoint=checkpoint)
    return (
        result.weights + weights_hash(trainer.model.state_dict()),
        [past.metrics for past in trainer.history],
    )


@pytest.mark.parametrize("setting", _SETTINGS, ids=["plain", "ema", "srat", "reat"])
def test_a_probed_training_is_the_training_to_the_last_bit(setting: dict[str, object]) -> None:
    config = tiny(**{"optim.epochs": 4, **setting})
    weights, history = _run(config, ())
    probed, probed_history = _run(config, (1, 3))
    assert probed == weights
    own = [
        {n: v for n, v in epoch.items() if not n.startswith("probe/")} for epoch in probed_history
    ]
    assert own == history
    probes = [{n for n in epoch if n.startswith("probe/")} for epoch in probed_history]
    wanted = {"probe/" + n.removeprefix("val/") for n in history[3] if n.startswith("val/")}
    assert probes == [wanted, set(), wanted, set()]


def test_a_probe_is_the_same_after_a_resume(tmp_path: Path) -> None:
    config = tiny(**{"optim.epochs": 4})
    whole = _run(config, (2, 3))

    class Killed(Exception):
        pass

    def die(done: EpochMetrics) -> None:
        if done.epoch == 2:
            raise Killed

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        Trainer(config).fit(die, probe_at=(2, 3), probe_epochs=1, checkpoint=path)
    assert _run(config, (2, 3), path) == whole


def test_a_diverging_probe_gives_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(**{"optim.epochs": 2})
    trainer = Trainer(config)
    trainer.fit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ltat_tune.training.trainer.learning_rate", lambda optim, epoch: 1e30)
        assert trainer.probe(1) == {}


def test_a_shortened_run_keeps_its_shape() -> None:
    config = TrialConfig.from_flat(
        {"optim.epochs": 200, "optim.lr_schedule": "multistep", "optim.milestones": [0.8, 0.9],
         "optim.warmup_epochs": 5, "evaluation.every_epochs": 10,
         "method.name": "srat", "reweight.name": "class_balanced",
         "reweight.schedule": "deferred", "reweight.start_fraction": 0.8}
    )  # fmt: skip
    short = config.shortened(40)
    # by hand: a fifth of everything
    assert (short.optim.epochs, short.optim.warmup_epochs, short.evaluation.every_epochs) == (
        40,
        1,
        2,
    )
    rates = [learning_rate(short.optim, epoch) for epoch in (0, 31, 32, 35, 36, 39)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert config.shortened(200) == config
