"""What is validated of a training: its weights, their average, or the better of the two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ltat_tune.attacks.shaped_replays import ShapedReplays
from ltat_tune.config.attack_names import read_name
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import TrainingDiverged
from ltat_tune.losses.counts import log_prior
from ltat_tune.methods.fairness.class_state import ClassState
from ltat_tune.models import measured
from ltat_tune.training.batch_statistics import estimate_statistics, statistics_layers
from ltat_tune.training.evaluation import Validation, correct_answers, measured_part, validate
from ltat_tune.training.metrics import ClassGroups

# FGSM finds this much less than the validation attack only where the gradient at the image says
# nothing of the ball: 3 to 8 points are usual
OVERFITTED = 0.2
_FEW_STEPS = 5  # a validation attack of fewer may be fooled as FGSM is


@dataclass(frozen=True)
class Look:
    """A validation, and the module that it measured.

    Attributes:
        found: its metrics; with `optim.ema_keep: better`, `val/of_average` is 1 if they are those
            of the average and 0 if they are those of the plain weights.
        module: the weights, without the scale and the shift that they are measured with.
    """

    found: Validation
    module: nn.Module


class Validator:
    """Validates a training's weights as they are kept.

    Args:
        config: the configuration.
        train: training images, on the device that trains.
        val: validation images, there too.
        samples_per_class: training images by class, (K,).
        replays: records the validation attack and replays it; None runs it for each batch.
    """

    def __init__(
        self, config: TrialConfig, train: LabelledImages, val: LabelledImages,
        samples_per_class: Tensor, *, replays: ShapedReplays | None = None,
    ) -> None:  # fmt: skip
        self._config, self._train, self._val, self._replays = config, train, val, replays
        self._measured: dict[nn.Module, nn.Module] = {}  # a recording is of one module
        self._counts = samples_per_class
        self._groups = ClassGroups.from_counts(samples_per_class.tolist())

    def measured(self, module: nn.Module) -> nn.Module:
        """Return a module with the scale and the log-prior that it is measured with."""
        if module not in self._measured:
            self._measured[module] = self._with_scale(module)
        self._measured[module].training = module.training
        return self._measured[module]

    def _with_scale(self, module: nn.Module) -> nn.Module:
        config, shift = self._config.model, None
        if config.posthoc_tau > 0:
            prior = log_prior(self._counts.double())
            shift = (config.posthoc_tau * prior).float().to(self._val.targets.device)
        return measured(module, scale=config.inference_scale, shift=shift)

    @property
    def copies(self) -> bool:
        """Whether what is kept may differ from the module that is validated first."""
        optim = self._config.optim
        return optim.keeps_better or optim.estimates_statistics

    @contextmanager
    def look(
        self, model: nn.Module, average: nn.Module | None, *, epoch: int, classes: ClassState
    ) -> Iterator[Look]:
        """Validate; inside, the module has the statistics that it was measured with.

        Neither module is changed afterwards.

        Args:
            model: the network that is trained.
            average: its average, if it has one.
            epoch: the last epoch that was trained, from 0.
            classes: what is known of the classes after it.

        Raises:
            TrainingDiverged: the training overfits one attack step.
        """
        first = model if average is None else average
        with self._statistics(average, epoch, classes):
            looks = [Look(self._found(first), first)]
            if average is not None and self._config.optim.keeps_better:
                looks.append(Look(self._found(model), model))
                looks = [_of_average(look, average) for look in looks]
            best = max(looks, key=self._score)  # the first, if they are equal
            self._check(best)
            yield best

    def _found(self, module: nn.Module) -> Validation:
        return validate(
            self.measured(module), self._val, self._config, self._groups, replays=self._replays
        )

    def _score(self, look: Look) -> float:
        return look.found.metrics[f"val/{self._config.evaluation.val_attack}_balanced_acc"]

    def _check(self, look: Look) -> None:
        """Refuse a training that has learnt to mislead the gradient at the image.

        Source: Wong2020Fast 5 (catastrophic overfitting of FGSM).
        """
        config = self._config
        name = read_name(config.evaluation.val_attack)
        attacked = not config.trains_elsewhere and config.method.name != "natural"
        if config.attack.steps != 1 or not attacked or name is None:
            return
        if name.family not in ("pgd", "cw", "adaptive") or name.steps < _FEW_STEPS:
            return
        part = measured_part(self._val, "fgsm", config, split="val")
        right = correct_answers(self.measured(look.module), part, "fgsm", config)
        fgsm, robust = float(right.float().mean()), look.found.metrics[f"val/{name}_acc"]
        if fgsm - robust > OVERFITTED:
            raise TrainingDiverged(
                f"catastrophic overfitting: {100 * fgsm:.1f} % of the validation images withstand "
                f"FGSM, and {100 * robust:.1f} % {config.evaluation.val_attack}; train with more "
                "steps, or with noise (attack.start_radius 2, attack.projection false)"
            )

    @contextmanager
    def _statistics(
        self, average: nn.Module | None, epoch: int, classes: ClassState
    ) -> Iterator[None]:
        """Give an average the BatchNorm statistics of adversarial training images, for a while."""
        if average is None or not self._config.optim.estimates_statistics:
            yield
            return
        layers = statistics_layers(average)
        kept = [{n: b.clone() for n, b in layer.named_buffers()} for layer in layers]
        try:
            estimate_statistics(
                average, self._config, self._train, self._counts, epoch=epoch, classes=classes
            )
            yield
        finally:
            for layer, buffers in zip(layers, kept, strict=True):
                for name, value in buffers.items():
                    getattr(layer, name).copy_(value)


def _of_average(look: Look, average: nn.Module) -> Look:
    metrics = {**look.found.metrics, "val/of_average": float(look.module is average)}
    return replace(look, found=look.found._replace(metrics=metrics))
