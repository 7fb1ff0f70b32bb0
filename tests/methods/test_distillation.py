"""Self-distillation, a reconstruction: by hand, frozen, named as such, in the identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import CheckpointError
from ltat_tune.methods import AWP, SelfDistillation, StepOutput, build_method
from ltat_tune.models import Classifier
from ltat_tune.presentation.names import method_name
from ltat_tune.training.trainer import Trainer
from tests.methods.toys import COUNTS, batch, config, gradients, model, seeded
from tests.training.toys import tiny


class _Plain:
    """A method whose logits are given, with the loss of their sum."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def training_step(self, *args: Any, **more: Any) -> StepOutput:
        return StepOutput(self.logits.sum(), self.logits, {"prediction": torch.tensor(0.0)})


class _Teacher(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_value_and_gradient_are_those_of_the_formula() -> None:
    wanted = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64)
    logits = torch.tensor([[1.0, 0, 0], [0, 0, 2.0]], dtype=torch.float64, requires_grad=True)
    method = SelfDistillation(_Plain(logits), _Teacher(), weight=3.0)
    step = method.training_step(
        model(), wanted.log()[:, :, None, None], torch.tensor([0, 2]), class_weights=None,
        generator=seeded(),
    )  # fmt: skip
    p, z = wanted.numpy(), logits.detach().numpy()
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    divergence = (p * np.log(p / q)).sum(1).mean()
    assert step.terms["distillation"].item() == pytest.approx(divergence)
    assert step.loss.item() == pytest.approx(z.sum() + 3 * divergence)
    step.loss.backward()
    assert logits.grad is not None
    # of the sum 1; of the mean KL (q - p) / N
    np.testing.assert_allclose(logits.grad.numpy(), 1 + 3 * (q - p) / 2)


def _frozen() -> Classifier:
    return model().eval().requires_grad_(False)


def _taught(**values: object) -> TrialConfig:
    return config(**{"method__teacher": "teacher.pt@0123456789abcdef", **values})


@pytest.mark.parametrize("name", ["pgd_at", "trades", "dafa", "reat"])
def test_a_step_moves_the_student_and_not_the_teacher(name: str) -> None:
    teacher, student = _frozen(), model()
    before = {n: v.clone() for n, v in teacher.state_dict().items()}
    built = build_method(_taught(method__name=name), COUNTS, teacher=teacher)
    step = built.training_step(student, *batch(), class_weights=None, generator=seeded())
    step.loss.backward()
    assert all(torch.equal(v, before[n]) for n, v in teacher.state_dict().items())
    assert gradients(teacher) == {} and not teacher.training
    assert len(gradients(student)) > 0
    assert step.terms["distillation"].item() > 0  # in train mode the student is another


def test_the_perturbation_of_weights_sees_the_teacher_too() -> None:
    values = _taught(method__awp_gamma=0.01)
    built = build_method(values, COUNTS, teacher=_frozen())
    assert isinstance(built, AWP)
    step = built.training_step(model(), *batch(), class_weights=None, generator=seeded())
    assert "distillation" in step.terms


def test_without_weight_or_teacher_nothing_is_added() -> None:
    for values in (config(), _taught(method__distillation_weight=0.0)):
        assert not isinstance(build_method(values, COUNTS), SelfDistillation)


def test_it_is_called_a_reconstruction_wherever_it_is_named() -> None:
    for path in ("method.teacher", "method.distillation_weight"):
        assert "reconstruction" in PARAMETERS[path].meaning
        assert "reconstruction" in PARAMETERS[path].source
    assert "reconstruction" in (SelfDistillation.__doc__ or "")
    name = method_name(_taught(loss__name="balanced_softmax"))
    assert name == "PGD-AT (BSL) + self-distillation (reconstruction)"
    assert method_name(_taught(method__distillation_weight=0.0)) == "PGD-AT (CE)"


def _file(folder: Path, **more: object) -> Path:
    """A checkpoint of a training of one epoch."""
    path = folder / "teacher.pt"
    Trainer(tiny(**{"optim.epochs": 1, **more})).fit(checkpoint=path)
    return path


def test_a_training_is_taught_by_the_weights_of_the_file_and_resumed(tmp_path: Path) -> None:
    path = _file(tmp_path, **{"model.normalisation": "data", "seeds.seed": 5})
    values = {"model.normalisation": "data", "method.teacher": str(path)}
    taught = tiny(**values)
    trainer = Trainer(taught)
    whole = trainer.fit()
    assert "train/distillation" in trainer.history[0].metrics
    assert trainer.teacher is not None
    state = torch.load(path, weights_only=True)["model"]
    for name, value in trainer.teacher.state_dict().items():
        assert torch.equal(value, state[name]), name
    checkpoint = tmp_path / "c.pt"

    def stop(done: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(taught).fit(stop, checkpoint=checkpoint)
    resumed = Trainer(taught).fit(checkpoint=checkpoint, probe_at=(2,), probe_epochs=1)
    assert resumed.weights == whole.weights
    assert whole.weights != Trainer(tiny(**{"model.normalisation": "data"})).fit().weights


def test_the_content_of_the_file_is_part_of_the_identity_and_its_place_is_not(
    tmp_path: Path,
) -> None:
    path = _file(tmp_path)
    taught = tiny(**{"method.teacher": str(path)})
    other = tmp_path / "elsewhere.pt"
    other.write_bytes(path.read_bytes())
    assert taught.identity == tiny(**{"method.teacher": str(other)}).identity
    assert taught.identity != tiny().identity
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match="method.teacher .* the file has changed"):
        Trainer(taught).fit()


def test_a_teacher_of_another_network_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, **{"model.width": 8})
    taught = tiny(**{"method.teacher": str(path)})
    with pytest.raises(CheckpointError, match="method.teacher .* must fill the whole network"):
        Trainer(taught).fit()
