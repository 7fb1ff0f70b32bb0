"""In what a training computes, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ltat_tune.models import Classifier
from ltat_tune.training.checkpoint import load_checkpoint, save_checkpoint
from ltat_tune.training.fit_result import FitResult
from ltat_tune.training.optim import build_optimizer, load_optimizer
from ltat_tune.training.trainer import Trainer
from tests.training.toys import tiny

CONFIG = tiny(optim__epochs=2)


@pytest.fixture(scope="module")
def exact() -> FitResult:
    return Trainer(CONFIG).fit()


@pytest.fixture(scope="module")
def coarse() -> FitResult:
    return Trainer(CONFIG.replace({"compute.precision": "bf16"})).fit()


def test_bfloat16_is_repeatable_close_to_float32_and_recorded(
    exact: FitResult, coarse: FitResult
) -> None:
    assert (exact.precision, coarse.precision) == ("fp32", "bf16")
    assert coarse.weights != exact.weights
    assert coarse.metrics["train/loss"] == pytest.approx(exact.metrics["train/loss"], rel=0.05)
    again = Trainer(CONFIG, precision="bf16").fit()  # what auto is told to be
    assert again.weights == coarse.weights and again.metrics == coarse.metrics


def test_a_wish_for_float32_gives_the_digits_of_a_cpus_default(exact: FitResult) -> None:
    wished = Trainer(CONFIG.replace({"compute.precision": "fp32"}), precision="bf16").fit()
    assert wished.weights == exact.weights and wished.metrics == exact.metrics


def test_the_finished_model_computes_in_float32(coarse: FitResult) -> None:
    model = coarse.model
    assert isinstance(model, Classifier)
    assert model.compute_dtype is None
    assert all(value.dtype != torch.bfloat16 for value in model.state_dict().values())


def test_a_resumed_training_keeps_the_precision_that_it_began_in(
    tmp_path: Path, coarse: FitResult
) -> None:
    path = tmp_path / "checkpoint.pt"

    def stop(done: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(CONFIG, precision="bf16").fit(stop, checkpoint=path)
    resumed = Trainer(CONFIG).fit(checkpoint=path)  # by itself this machine would take float32
    assert (resumed.precision, resumed.weights) == ("bf16", coarse.weights)


def test_a_checkpoint_that_does_not_say_is_from_before_and_float32(
    tmp_path: Path, exact: FitResult
) -> None:
    path = tmp_path / "checkpoint.pt"
    Trainer(CONFIG).fit(checkpoint=path)
    state = load_checkpoint(path, identity=CONFIG.identity)
    del state["precision"]
    save_checkpoint(path, state)
    read = Trainer(CONFIG, precision="bf16").fit(checkpoint=path)
    assert (read.precision, read.weights) == ("fp32", exact.weights)


def test_the_precision_is_part_of_an_identity_only_where_it_is_chosen() -> None:
    chosen = {p: CONFIG.replace({"compute.precision": p}).identity for p in ("fp32", "bf16")}
    assert len({CONFIG.identity, *chosen.values()}) == 3
    assert CONFIG.replace({"compute.graphs": "off"}).identity == CONFIG.identity


def test_a_training_goes_on_where_its_weights_lie_otherwise_in_memory() -> None:
    """Momentum and weights of a 3x3 convolution, saved in one layout and loaded into the other."""
    config = CONFIG.optim
    layouts = (torch.contiguous_format, torch.channels_last)
    steps = {}
    for saved in layouts:
        for loaded in layouts:
            torch.manual_seed(0)
            nets = [torch.nn.Conv2d(3, 4, 3) for _ in layouts]
            for net, form in zip(nets, (saved, loaded), strict=True):
                net.weight.data = net.weight.data.contiguous(memory_format=form)
            nets[1].load_state_dict(nets[0].state_dict())
            gradients = [torch.randn(4, 3, 3, 3), torch.randn(4, 3, 3, 3)]
            optimizers = [build_optimizer(config, net) for net in nets]
            nets[0].weight.grad = torch.empty_like(nets[0].weight).copy_(gradients[0])
            optimizers[0].step()
            nets[1].load_state_dict(nets[0].state_dict())
            load_optimizer(optimizers[1], optimizers[0].state_dict())
            nets[1].weight.grad = torch.empty_like(nets[1].weight).copy_(gradients[1])
            optimizers[1].step()
            steps[saved, loaded] = nets[1].weight.detach().contiguous()
    expected = steps[layouts[0], layouts[0]]
    for found in steps.values():
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_an_average_is_measured_in_the_precision_that_it_was_trained_in(tmp_path: Path) -> None:
    config = CONFIG.replace({"optim.ema_decay": 0.5})
    path = tmp_path / "checkpoint.pt"
    whole = Trainer(config, precision="bf16").fit()

    def stop(done: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(config, precision="bf16").fit(stop, checkpoint=path)
    resumed = Trainer(config).fit(checkpoint=path)
    assert (resumed.weights, resumed.metrics) == (whole.weights, whole.metrics)
