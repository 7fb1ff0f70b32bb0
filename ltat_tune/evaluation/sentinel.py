"""The gradient-masking sentinel: checks whether a robust accuracy is too good to be true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from ltat_tune.attacks.autoattack import L2_SQUARE_SIDE
from ltat_tune.attacks.named import STEPS_IN_EPS
from ltat_tune.data.batches import to_unit
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import ConfigError
from ltat_tune.evaluation.sentinel_attacks import (
    RANDOM_DIRECTIONS,
    Batch,
    MarginAttack,
    build_attacks,
    margins,
    slope_and_pull,
)
from ltat_tune.evaluation.sentinel_checks import CHECKS, FEWEST_RIGHT, Check, Evidence
from ltat_tune.files import read_json, write_json
from ltat_tune.planning.cost import MAX_IMAGES
from ltat_tune.provenance import versions
from ltat_tune.training.evaluation import EVALUATION_SEED, MeasuredPart

Verdict = Literal["clear", "suspicious", "masked"]
# (attack that comes next, attacks done, attacks in all)
Progress = Callable[[str, int, int], None]

# Square's windows depend on the batch size. `ltat-tune evaluate` and a study use the same size, so
# that both report the same on one model.
BATCH_SIZE = 100

_MEANING: dict[Verdict, str] = {
    "clear": "no check contradicts the robust accuracy that PGD finds",
    "suspicious": "PGD-20 may overstate the robustness; quote the lowest figure of all attacks",
    "masked": "the gradient misleads PGD, so its accuracy says little about robustness; quote the "
    "lowest figure of all attacks",
}


@dataclass(frozen=True)
class SentinelReport:
    """The sentinel's report on one model.

    Attributes:
        verdict: `masked` if a serious check triggered, `suspicious` if only warnings did, else
            `clear`.
        images: images in the measured part, N.
        right: images of it that are answered right without an attack, M; only these are attacked.
        eps: radius, pixel units in [0, 1].
        norm: `linf` or `l2`.
        seed: seed of all noise.
        square_queries: forwards of Square for an image that withstands.
        checks: all checks that were made, triggered or not.
        left_out: why a check was not made, one sentence each.
        step_size: length of a step at this radius, pixel units; None is a share of the radius.
    """

    verdict: Verdict
    images: int
    right: int
    eps: float
    norm: str
    seed: int
    square_queries: int
    checks: tuple[Check, ...]
    left_out: tuple[str, ...] = ()
    step_size: float | None = None

    @property
    def resolution(self) -> float:
        """The smallest gap between two attacks that chance does not explain, in points."""
        return 100 * FEWEST_RIGHT / max(1, self.images)

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        if self.right == 0:
            return f"{self.verdict}: none of {self.images} images is answered right, so there is "\
                "nothing to attack"  # fmt: skip
        return f"{self.verdict}: {_MEANING[self.verdict]}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data: every field, the headline and the resolution."""
        return {**asdict(self), "headline": self.headline, "resolution": self.resolution}


def watch(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    step_size: float | None = None,
    split: str = "test",
    seed: int = EVALUATION_SEED,
    batch_size: int = BATCH_SIZE,
    square_queries: int = 1000,
    max_images: int = MAX_IMAGES,
    state: Path | None = None,
    weights: str | None = None,
    progress: Progress | None = None,
) -> SentinelReport:
    """Attack a class-balanced part in ways that must agree on a sound model, and compare them.

    Takes about 260 forward-backward passes over the images that are answered right, and at most
    `square_queries` forwards. The model is attacked in eval mode and left unchanged, as is the
    global random state. With `state`, attacks that an earlier process finished are read from
    there, where each is written whole or not at all: a kill costs at most one attack.

    Source: see `sentinel_checks`.

    Args:
        model: images in [0, 1] to logits (N, K), deterministic in eval mode.
        images: all images of the split, shape (N, C, H, W), float, in [0, 1], or uint8, in 0..255.
        targets: their classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1], > 0.
        norm: `linf` or `l2`.
        step_size: length of a step at this radius, pixel units in [0, 1]; at other radii it is in
            proportion. None is a quarter of the radius in linf and a fifth in l2.
        split: name of the split; the noise of an image is that of `ltat-tune evaluate` on it.
        seed: seed of all noise.
        batch_size: images attacked together; it decides the random windows of Square, and of the
            other attacks at most the last digits of a sum.
        square_queries: forwards of Square, which is left out in l2 below 15 pixels a side.
        max_images: most images in the part; every class has the same number, or all it has. It is
            the part that every measurement of so many images of this split has.
        state: folder of the finished attacks; None keeps none.
        weights: identifies this model among all that use `state`: a hash of its weights, and the
            scale at which it is measured.
        progress: called before each attack, and at the end with an empty name.

    Raises:
        ConfigError: there is no radius or no image, the norm is unknown, a state has no weights,
            or the model's logits have no gradient at all, for example because it detaches its
            input.
        CheckpointError: the model's logits are not finite.
    """
    if not eps > 0:
        raise ConfigError(f"`eps > 0` must hold for the masking sentinel, got {eps}")
    if max_images < 1:
        raise ConfigError(f"`max_images >= 1` must hold, got {max_images}")
    if norm not in STEPS_IN_EPS:
        raise ConfigError(f"unknown norm {norm!r}; choose from: {', '.join(STEPS_IN_EPS)}")
    if state is not None and not weights:
        raise ConfigError("`state` needs `weights`: the name of the model whose attacks it keeps")
    whole = LabelledImages(images.detach(), targets)
    part = MeasuredPart.of(split, whole, max_images, at_most=True)
    images, targets = to_unit(part.data.images), part.data.targets
    batches = _right(model, images, targets, part.places, batch_size)
    attacks = build_attacks(
        model, eps=eps, norm=norm, step_size=step_size, seed=seed, split=split,
        queries=square_queries,
    )  # fmt: skip
    left_out: tuple[str, ...] = ()
    side = min(images.shape[-2:])
    if norm == "l2" and side < L2_SQUARE_SIDE:
        del attacks["square"]
        left_out = (
            f"Square was left out: its l2 windows need {L2_SQUARE_SIDE} pixels a side, the "
            f"images have {side}.",
        )
    kept = None
    if state is not None:
        kept = _folder(
            state, part, weights=weights, eps=eps, norm=norm, step_size=step_size, split=split,
            seed=seed, batch_size=batch_size, square_queries=square_queries,
        )  # fmt: skip
    evidence = _measure(model, batches, attacks, images=len(part), kept=kept, progress=progress)
    checks = tuple(
        check(evidence) for name, check in CHECKS.items() if name != "black_box" or not left_out
    )
    return SentinelReport(
        _verdict(checks), evidence.images, evidence.right, eps, norm, seed, square_queries, checks,
        left_out, step_size,
    )  # fmt: skip


def _verdict(checks: tuple[Check, ...]) -> Verdict:
    triggered = {check.severity for check in checks if check.triggered}
    if "serious" in triggered:
        return "masked"
    return "suspicious" if triggered else "clear"


def _right(
    model: nn.Module, images: Tensor, targets: Tensor, places: Tensor, size: int
) -> list[Batch]:
    """Return the images that the model answers right, in batches; at least one, perhaps empty."""
    kept = torch.cat(
        [
            margins(model, i, t) > 0
            for i, t in zip(images.split(size), targets.split(size), strict=True)
        ]
    )
    chosen = kept.nonzero().squeeze(1).split(size)
    return [Batch(images[here], targets[here], places[here]) for here in chosen]


def _measure(
    model: nn.Module,
    batches: list[Batch],
    attacks: Mapping[str, MarginAttack],
    *,
    images: int,
    kept: Path | None,
    progress: Progress | None,
) -> Evidence:
    slope, pull = zip(
        *(slope_and_pull(model, batch.images, batch.targets) for batch in batches), strict=True
    )
    left: dict[str, Tensor] = {}
    for done, (name, attack) in enumerate(attacks.items()):
        if progress is not None:
            progress(name, done, len(attacks))
        path = None if kept is None else kept / f"{name}.json"
        values = None if path is None else _read(path, sum(len(b.targets) for b in batches))
        if values is None:
            values = torch.cat([attack(batch) for batch in batches]).double().cpu()
            if path is not None:
                write_json(path, {"attack": name, "margins": values.tolist()})
        left[name] = values
    if progress is not None:
        progress("", len(attacks), len(attacks))
    broken = {name: margins <= 0 for name, margins in left.items()}
    return Evidence(
        images, len(left["pgd20"]), broken, left["pgd20"] < left["noise"],
        torch.cat(slope).cpu(), torch.cat(pull).cpu(), RANDOM_DIRECTIONS,
    )  # fmt: skip


def _folder(state: Path, part: MeasuredPart, **about: Any) -> Path:
    """Return the folder that keeps the margins of these attacks on these images."""
    about |= {
        "images": part.hash, "device": part.places.device.type,
        "versions": {name: versions()[name] for name in ("ltat-tune", "torch", "pyautoattack")},
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = state / key
    if not (folder / "about.json").exists():
        write_json(folder / "about.json", about)
    return folder


def _read(path: Path, right: int) -> Tensor | None:
    """Return the margins (M,) that an earlier process kept; None if there are none or torn."""
    try:
        record = read_json(path)
        kept = torch.tensor(record["margins"], dtype=torch.float64) if record else None
    except (ValueError, TypeError, KeyError):  # torn: the attack runs again
        return None
    return kept if kept is not None and kept.shape == (right,) else None


def sentinel_text(report: SentinelReport) -> Table:
    """Return the report for a terminal: the verdict above, then a row for each check."""
    table = Table("", "check", "threshold", "finding", box=None, title_justify="left")
    table.title = Text(f"gradient masking: {report.headline}", "bold")
    for check in report.checks:
        mark = Text("✗", "bold red") if check.triggered else Text("✓", "green")
        if check.triggered and check.severity == "warning":
            mark = Text("!", "bold yellow")
        table.add_row(mark, check.title, _threshold(check), Text(check.sentence))
    notes = [
        f"{report.right} of {report.images} images are answered right; {report.norm} eps "
        f"{report.eps:.4g}; gaps below {report.resolution:.1f} points cannot be told from chance",
        *report.left_out,
    ]
    table.caption = Text("\n".join(notes), "dim")
    table.caption_justify = "left"
    return table


def _threshold(check: Check) -> str:
    return f"{100 * check.threshold:g} % of {check.unit}"
