"""Whether a robust accuracy is too good to be true: the gradient-masking sentinel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from ltat_tune.attacks.autoattack import L2_SQUARE_SIDE
from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.objectives import cross_entropy, margin
from ltat_tune.attacks.pgd import pgd
from ltat_tune.errors import ConfigError
from ltat_tune.evaluation.attacks import STEPS_IN_EPS, parse_attack
from ltat_tune.evaluation.sentinel_checks import (
    BLACK_BOX_POINTS,
    CHECKS,
    LEVEL,
    Check,
    Evidence,
)
from ltat_tune.losses.precision import full_precision
from ltat_tune.training.seeding import new_generator

Verdict = Literal["clear", "suspicious", "masked"]
# (attack that comes next, attacks done, attacks in all)
Progress = Callable[[str, int, int], None]

MAX_IMAGES = 200
RANDOM_DIRECTIONS = 20  # as many looks at the model as PGD-20 has
_UNBOUNDED_STEPS = 40
_UNBOUNDED_STRIDE = 20  # steps that cross all of [0, 1]
_DOWN = 0.1

_MEANING: dict[Verdict, str] = {
    "clear": "nothing speaks against the robust accuracy that PGD finds",
    "suspicious": "PGD-20 may overstate the robustness; quote the lowest figure of all attacks",
    "masked": "the gradient misleads PGD; its accuracy says little about robustness, quote the "
    "lowest figure of all attacks",
}


@dataclass(frozen=True)
class SentinelReport:
    """What the sentinel found on one model.

    Attributes:
        verdict: `masked` with a serious check triggered, `suspicious` with only warnings, else
            `clear`.
        images: attacked part of the images, N.
        right: of them answered right without an attack, M; only these are attacked.
        eps: radius, pixel units in [0, 1].
        norm: `linf` or `l2`.
        seed: of the part and of all noise.
        square_queries: forwards of Square for an image that withstands.
        checks: all that were made, triggered or not.
        left_out: why a check was not made, one sentence each.
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

    @property
    def resolution(self) -> float:
        """The smallest gap between two attacks that could trigger, points of all images.

        Below ceil(log2(1 / level)) images the exact test cannot reject, whatever they show.
        """
        fewest = math.ceil(math.log2(1 / LEVEL))
        return max(100 * fewest / max(1, self.images), BLACK_BOX_POINTS)

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        if self.right == 0:
            return f"{self.verdict}: none of {self.images} images is answered right, so there is "\
                "nothing to attack"  # fmt: skip
        return f"{self.verdict}: {_MEANING[self.verdict]}"

    def to_json(self) -> dict[str, Any]:
        """Plain data: every field, the headline and the resolution."""
        return {**asdict(self), "headline": self.headline, "resolution": self.resolution}


def watch(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    seed: int = 0,
    batch_size: int = 500,
    square_queries: int = 1000,
    max_images: int = MAX_IMAGES,
    progress: Progress | None = None,
) -> SentinelReport:
    """Attacks a class-balanced part in ways that must agree on a sound model, and compares.

    About 260 forward-backward passes over the images that are answered right and at most
    `square_queries` forwards. The model is attacked in eval mode and left as found, as is the
    global random state.

    Source: see `sentinel_checks`.

    Args:
        model: images in [0, 1] to logits (N, K), deterministic in eval mode.
        images: shape (N, C, H, W), float, in [0, 1].
        targets: classes, shape (N,).
        eps: radius of the ball, pixel units in [0, 1], > 0.
        norm: `linf` or `l2`.
        seed: of the choice of the part and of all noise.
        batch_size: images attacked together.
        square_queries: forwards of Square, which is left out in l2 below 15 pixels a side.
        max_images: most images in the part; every class has the same number, or all it has.
        progress: told of each attack before it starts, and of the end with an empty name.

    Raises:
        ConfigError: no radius, no images, an unknown norm, or a model whose logits have no
            gradient at all, such as one that detaches its input.
    """
    if not eps > 0:
        raise ConfigError(f"`eps > 0` must hold for the masking sentinel, got {eps}")
    if max_images < 1:
        raise ConfigError(f"`max_images >= 1` must hold, got {max_images}")
    if norm not in STEPS_IN_EPS:
        raise ConfigError(f"unknown norm {norm!r}; choose from: {', '.join(STEPS_IN_EPS)}")
    part = _class_balanced(targets, max_images, seed)
    images, targets = images[part].detach().float(), targets[part]
    batches = _right(model, images, targets, batch_size)
    found, left_out = _measure(
        model, batches, len(part), eps=eps, norm=norm, seed=seed, queries=square_queries,
        progress=progress,
    )  # fmt: skip
    checks = tuple(
        check(found) for name, check in CHECKS.items() if name != "black_box" or not left_out
    )
    return SentinelReport(
        _verdict(checks), found.images, found.right, eps, norm, seed, square_queries, checks,
        left_out,
    )  # fmt: skip


def _verdict(checks: tuple[Check, ...]) -> Verdict:
    triggered = {check.severity for check in checks if check.triggered}
    if "serious" in triggered:
        return "masked"
    return "suspicious" if triggered else "clear"


def _class_balanced(targets: Tensor, most: int, seed: int) -> Tensor:
    """Places of at most `most` images, (N,): the same number of every class, or all it has.

    With more classes than that, one image each of so many classes.
    """
    generator = new_generator(seed, "sentinel")
    order = torch.randperm(len(targets), generator=generator)
    shuffled = targets.cpu()[order]
    labels = shuffled.unique()
    if len(labels) > most:
        labels = labels[torch.randperm(len(labels), generator=generator)[:most]]
    each = most // max(1, len(labels))
    chosen = [order[shuffled == label][:each] for label in labels] or [order]
    return torch.cat(chosen).to(targets.device)


Batches = list[tuple[Tensor, Tensor]]


def _right(model: nn.Module, images: Tensor, targets: Tensor, size: int) -> Batches:
    """The images that the model answers right, in batches; one empty batch if there is none."""
    kept = torch.cat(
        [
            _margins(model, i, t) > 0
            for i, t in zip(images.split(size), targets.split(size), strict=True)
        ]
    )
    images, targets = images[kept], targets[kept]
    return list(zip(images.split(size), targets.split(size), strict=True))


def _margins(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The label's logit minus the largest other one, (N,); an answer is right above 0."""
    with torch.no_grad(), frozen(model, training=False):
        return -margin(full_precision(model(images)), targets, None)


def _measure(
    model: nn.Module,
    batches: Batches,
    images: int,
    *,
    eps: float,
    norm: str,
    seed: int,
    queries: int,
    progress: Progress | None,
) -> tuple[Evidence, tuple[str, ...]]:
    slope = torch.cat([_slope(model, *batch) for batch in batches])
    attacks = _attacks(model, eps=eps, norm=norm, seed=seed, queries=queries)
    left_out: tuple[str, ...] = ()
    side = min(batches[0][0].shape[-2:])
    if norm == "l2" and side < L2_SQUARE_SIDE:
        del attacks["square"]
        left_out = (
            f"Square was left out: its l2 windows need {L2_SQUARE_SIDE} pixels a side, the "
            f"images have {side}.",
        )
    margins: dict[str, Tensor] = {}
    for done, (name, attack) in enumerate(attacks.items()):
        if progress is not None:
            progress(name, done, len(attacks))
        margins[name] = torch.cat([attack(*batch) for batch in batches])
    if progress is not None:
        progress("", len(attacks), len(attacks))
    wins = margins["pgd20"] < margins["noise"]
    broken = {name: left <= 0 for name, left in margins.items()}
    found = Evidence(images, len(slope), broken, wins, slope, RANDOM_DIRECTIONS)
    return found, left_out


# (images (N, C, H, W), targets (N,)) -> margins that are left, (N,)
_Attack = Callable[[Tensor, Tensor], Tensor]


def _attacks(
    model: nn.Module, *, eps: float, norm: str, seed: int, queries: int
) -> dict[str, _Attack]:
    """Everything that the checks compare, in the order of the run: the quick ones first."""

    def named(name: str, radius: float = eps) -> _Attack:
        attack = parse_attack(name, queries=queries)
        return lambda images, targets: _margins(
            model,
            attack.run(model, images, targets, eps=radius, norm=norm, seed=seed),
            targets,
        )

    def noise(images: Tensor, targets: Tensor) -> Tensor:
        shifts = _directions(images, eps, norm, seed)
        left = [_margins(model, (images + s).clamp(0, 1), targets) for s in shifts]
        return torch.stack(left).amin(dim=0)

    def down(images: Tensor, targets: Tensor) -> Tensor:
        adv_images = pgd(
            model, images, targets, eps=eps, step_size=eps / STEPS_IN_EPS[norm], steps=20,
            norm=norm, start="uniform_clipped", generator=new_generator(seed, "adaptive_down20"),
            objective=lambda logits, t: cross_entropy(_DOWN * logits, t, None).sum(),
        )  # fmt: skip
        return _margins(model, adv_images, targets)

    def unbounded(images: Tensor, targets: Tensor) -> Tensor:
        # From the image itself: noise of this size is no longer an image of the class.
        radius = 1.0 if norm == "linf" else math.sqrt(images.shape[1:].numel())
        adv_images = pgd(
            model, images, targets, eps=radius, step_size=radius / _UNBOUNDED_STRIDE,
            steps=_UNBOUNDED_STEPS, norm=norm, start="none",
        )  # fmt: skip
        return _margins(model, adv_images, targets)

    return {
        "fgsm": named("fgsm"),
        "noise": noise,
        "pgd20": named("pgd20"),
        "cw20": named("cw20"),
        "adaptive20": named("adaptive20"),
        "adaptive_down20": down,
        "pgd20_2eps": named("pgd20", 2 * eps),
        "pgd20_4eps": named("pgd20", 4 * eps),
        "unbounded": unbounded,
        "pgd100": named("pgd100"),
        "square": named("square"),
    }


def _directions(images: Tensor, eps: float, norm: str, seed: int) -> Iterator[Tensor]:
    """Random shifts of length eps: corners of the L-inf ball, points on the L2 sphere."""
    generator = new_generator(seed, "noise")
    for _ in range(RANDOM_DIRECTIONS):
        shift = torch.randn(images.shape, generator=generator).to(images)
        if norm == "linf":
            yield eps * shift.sign()
        else:
            yield eps * F.normalize(shift.flatten(1), dim=1).view_as(shift)


def _slope(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """See `Evidence.slope`: 1 - p(label) with two classes, whatever the size of the logits."""
    lengths = []
    with torch.inference_mode(False), torch.enable_grad(), frozen(model, training=False):
        images, targets = images.clone().requires_grad_(True), targets.clone()
        for objective in (cross_entropy, margin):
            loss = objective(full_precision(model(images)), targets, None).sum()
            if not loss.requires_grad:
                raise ConfigError(
                    "the logits have no gradient with respect to the images (is the input "
                    "detached?): no white-box attack can run on this model"
                )
            (gradient,) = torch.autograd.grad(loss, images)
            lengths.append(gradient.flatten(1).abs().sum(dim=1, dtype=torch.float64))
    of_loss, of_margin = lengths
    return torch.where(of_margin > 0, of_loss / of_margin, torch.zeros_like(of_loss))


def render(report: SentinelReport) -> Table:
    """The report for a terminal: a row a check, triggered ones marked, the verdict above."""
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
    if check.unit == "points":
        return f"{check.threshold:g} points"
    return f"{100 * check.threshold:g} %"
