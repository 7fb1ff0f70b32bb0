"""Measures trained models under attack from notebooks and scripts, as `ltat-tune evaluate`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltat_tune.api.isolation import process_kept
from ltat_tune.config.notebook import ShownList, html_table, text_lines
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from ltat_tune.evaluation.loading import Loaded
    from ltat_tune.evaluation.targets import Target


@dataclass(frozen=True, repr=False)
class Measured:
    """The measurements of a model under one attack.

    Attributes:
        attack: `clean`, `pgd20`, ...
        eps: the radius, in pixel units; 0 for clean.
        norm: `linf` or `l2`.
        scale: factor on the logits, `model.inference_scale`.
        images: how many images were measured.
        numbers: fractions by name: `acc`, `balanced_acc`, `tail_acc`, `class_3_acc`, ...
        intervals: the ends of the 95 % interval of some numbers, by name.
    """

    attack: str
    eps: float
    norm: str
    scale: float
    images: int
    numbers: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]

    def __repr__(self) -> str:
        return text_lines(
            f"{self._setting} on {self.images} images",
            {"accuracy": ", ".join(f"{name} {text}" for name, text in self._shown().items())},
        )

    def _repr_html_(self) -> str:
        caption = f"{self._setting} on {self.images} images"
        return html_table(caption, ["accuracy", "value"], list(self._shown().items()))

    @property
    def _setting(self) -> str:
        radius = "" if self.attack == "clean" else f", {self.norm} eps {self.eps:.4g}"
        return f"{self.attack}{radius}{'' if self.scale == 1 else f', scale {self.scale:g}'}"

    def _shown(self) -> dict[str, str]:
        """Return the numbers over groups of classes in percent, with their intervals."""
        shown = {}
        for name, value in self.numbers.items():
            if not name.startswith("class_"):
                low, high = self.intervals.get(name, (math.nan, math.nan))
                ends = "" if math.isnan(low) else f" ({100 * low:.1f} to {100 * high:.1f})"
                shown[name] = f"{100 * value:.1f} %{ends}"
        return shown


def evaluate(
    model: nn.Module | str | Path,
    config: TrialConfig | str | Path | None = None,
    *,
    data: str | None = None,
    attacks: Sequence[str] = ("clean", "pgd20"),
    split: str = "test",
    images: int | None = None,
    eps: Sequence[float] | None = None,
    norm: str | None = None,
    step_size: float | None = None,
    worst_case: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    out: str | Path = "studies",
) -> list[Measured]:
    """Return the numbers of a trained model under attacks, as `ltat-tune evaluate` measures them.

    Args:
        model: a checkpoint, or any target of the command that names one model; or a model in
            memory, such as `Trainer(config).fit().model`.
        config: the configuration that the model was trained with, or the description of a
            checkpoint that another script wrote; None uses the file beside a checkpoint.
        data: data set, or folder of images, of a checkpoint that another script wrote.
        attacks: names of attacks; see `ltat-tune ls attacks`.
        split: `test` or `val`.
        images: the size of a class-balanced, seeded subset; None is all images.
        eps: radii, in pixel units; None is the configured radius.
        norm: `linf` or `l2`; None is the configured norm.
        step_size: in pixel units; None is the configured step size, or a share of eps.
        worst_case: each attack gets only the images that withstood those before it.
        seed: seed of the attacks' random starts.
        batch_size: images in a batch; None is the configured number.
        device: the device, such as `cpu` or `cuda:1`; `auto` is the first GPU, else the CPU.
        threads: CPU threads; the last digits depend on them. None is those of the model's study or
            export, else 1.
        out: folder of all studies, if `model` is the name of a study.

    Returns:
        One entry for each attack and radius, clean images first.

    Raises:
        ConfigError: an attack does not exist, a model in memory has no configuration, or `model`
            names several models.
        CheckpointError, DataError, StudyError: as for the command.
    """
    if split not in ("test", "val"):
        raise ConfigError(f"split must be one of test, val, got {split}")
    with tempfile.TemporaryDirectory(prefix="ltat-tune-") as scratch, process_kept():
        from ltat_tune.evaluation.loading import load_target
        from ltat_tune.evaluation.parallel import measure_targets
        from ltat_tune.evaluation.request import Request, check_request
        from ltat_tune.evaluation.targets import threads_of
        from ltat_tune.models.arithmetic import chosen_device
        from ltat_tune.seeding import prepare_process

        device = str(chosen_device(device))
        request = Request(
            attacks=tuple(attacks), split=split, images=images,
            eps=None if eps is None else tuple(eps), norm=norm, step_size=step_size, seed=seed,
            batch_size=batch_size, device=device, threads=threads, sentinel=False,
            worst_case=worst_case,
        )  # fmt: skip
        check_request(request)
        if isinstance(model, str | Path):
            target = _target(model, config, data, Path(out), Path(scratch))
            prepare_process(threads or threads_of(target))
            loaded = load_target(target, device=device)
        else:
            prepare_process(threads or 1)
            loaded = _in_memory(model, config, device)
        card = measure_targets(loaded, request, state=Path(scratch))
    return ShownList(_measured(row) for row in card["rows"])


def _target(
    model: str | Path, config: TrialConfig | str | Path | None, data: str | None, out: Path,
    scratch: Path,
) -> Target:  # fmt: skip
    from ltat_tune.config.config_file import dump_config
    from ltat_tune.config.foreign.description import read_description
    from ltat_tune.evaluation.foreign import config_of_checkpoint
    from ltat_tune.evaluation.targets import find_targets

    if isinstance(config, TrialConfig):
        dump_config(scratch / "config.yaml", config, comment="")
        config = scratch / "config.yaml"
    described = None
    if config is not None and (described := read_description(Path(config))):
        config = None
    config = config or config_of_checkpoint(str(model), scratch, described, data)
    targets = find_targets(str(model), out, config=None if config is None else Path(config))
    if len(targets) != 1:
        names = ", ".join(str(target.checkpoint) for target in targets)
        raise ConfigError(
            f"model must name one model, got {model}, which names {len(targets)}: {names}"
        )
    return targets[0]


def _in_memory(model: nn.Module, config: TrialConfig | str | Path | None, device: str) -> Loaded:
    from ltat_tune.config.config_file import load_config
    from ltat_tune.data.datasets import load_splits
    from ltat_tune.evaluation.loading import Loaded
    from ltat_tune.evaluation.targets import Target
    from ltat_tune.training.checkpoint import weights_hash
    from ltat_tune.training.metrics import ClassGroups

    if config is None:
        raise ConfigError(
            "config must be given for a model in memory; it says on which images and with which "
            "radius the model was trained"
        )
    if not isinstance(config, TrialConfig):
        config, _ = load_config(Path(config))
    splits = load_splits(config)
    return Loaded(
        target=Target("model", Path("config.yaml"), Path("checkpoint.pt")),
        config=config,
        model=model.to(device).eval(),
        splits=splits,
        groups=ClassGroups.from_counts(splits.samples_per_class.tolist()),
        weights=weights_hash(model.state_dict()),
        epoch=0,
        selected_on_test=config.data.val_source == "test",
    )


def _measured(row: Mapping[str, Any]) -> Measured:
    return Measured(
        attack=row["attack"],
        eps=row["eps"],
        norm=row["norm"],
        scale=row["scale"],
        images=row["images"],
        numbers=row["numbers"],
        intervals={n: (ends["low"], ends["high"]) for n, ends in row["intervals"].items()},
    )
