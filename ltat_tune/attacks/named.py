"""Evaluation attacks by name, such as `pgd20x5` or `cwl2`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ltat_tune.attacks.autoattack import AA_NORMS, autoattack
from ltat_tune.attacks.cw_l2 import Nearest, cw_l2
from ltat_tune.attacks.noise import start_noise
from ltat_tune.attacks.objectives import (
    ImageObjective,
    cross_entropy,
    margin,
    scaled_cross_entropy,
)
from ltat_tune.attacks.pgd import pgd
from ltat_tune.attacks.restarts import worst_of_restarts
from ltat_tune.attacks.shaped_replays import ShapedReplays
from ltat_tune.attacks.sizes import attacked_alone
from ltat_tune.attacks.square import STANDARD_QUERIES, square
from ltat_tune.config.attack_names import WRITTEN, AttackName, read_name, unknown_attack
from ltat_tune.errors import ConfigError
from ltat_tune.seeding import stream_seed

# REAT's evaluations: 2/255 for 8/255 and 0.2 for 1.0
STEPS_IN_EPS = {"linf": 4, "l2": 5}
CW_ITERATIONS = 10000  # for each c, as in the authors' implementation
_MOMENTUM = 1.0  # Dong2018Boosting; RoBal's release
_ITERATED: dict[str, ImageObjective] = {
    "pgd": cross_entropy,
    "mim": cross_entropy,
    "cw": margin,
    "adaptive": scaled_cross_entropy,
    "transfer": cross_entropy,
}

# their authors' code draws one random sequence for a whole batch
_NOISE_BY_BATCH = ("aa", "square")

_CHOICE = WRITTEN.replace("adaptive<steps>", "adaptive<steps>, transfer<steps>")

Noise = Literal["none", "place", "batch"]


@dataclass(frozen=True)
class EvaluationAttack:
    """One attack of the grammar in `attack_names`, ready to run.

    fgsm: one step of eps from the image. pgd, cw, adaptive: steps on cross-entropy, the margin of
    Carlini and Wagner, or cross-entropy on ten times the logits, from a uniform start clipped to
    [0, 1]. mim: pgd with momentum 1 from the image itself; later restarts have a uniform start.
    transfer: pgd on another model. square, aa: `attacks.square`, `attacks.autoattack`. cwl2 and
    cwl2_fixed: the two readings of `attacks.cw_l2`, in l2 only.

    Attributes:
        parts: family, steps and restarts of the name.
        cw_iterations: iterations of Adam in cwl2 for each of its nine values of c.
        queries: number of forwards of square.
    """

    parts: AttackName
    cw_iterations: int = CW_ITERATIONS
    queries: int = STANDARD_QUERIES

    @property
    def name(self) -> str:
        """The name in the grammar of `attack_names`."""
        return str(self.parts)

    @property
    def needs_source(self) -> bool:
        """Whether `run` needs another model, on which the images are made."""
        return self.parts.family == "transfer"

    @property
    def noise(self) -> Noise:
        """What the random numbers of an image depend on, besides the seed.

        place: the image's place alone, see `noise.start_noise`. batch: all images that are
        attacked together. none: the attack draws no random numbers.
        """
        family = self.parts.family
        if family in _NOISE_BY_BATCH:
            return "batch"
        random_start = family in _ITERATED and (family != "mim" or self.parts.restarts > 1)
        return "place" if random_start else "none"

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        *,
        eps: float,
        norm: str,
        step_size: float | None = None,
        seed: int,
        split: str | None = None,
        places: Tensor | None = None,
        source: nn.Module | None = None,
        replays: ShapedReplays | None = None,
    ) -> Tensor:
        """Attack images: (N, C, H, W), (N,) -> (N, C, H, W), inside the ball and [0, 1].

        The models are attacked in eval mode. Their modes and parameters and the global random
        state are restored. In attacks with steps, the start of an image depends on the seed, the
        attack, the split and the image's place in it, so that other images change only the last
        digits of a sum. The first of several restarts is the attack without restarts. For other
        attacks see `noise`.

        Args:
            model: images in [0, 1] to logits (N, K).
            images: shape (N, C, H, W), float, in [0, 1].
            targets: classes, shape (N,).
            eps: radius of the ball, pixel units in [0, 1]. cwl2 and cwl2_fixed return the clean
                image where the nearest adversarial one is farther away; infinity returns all.
            norm: `linf` or `l2`.
            step_size: length of a step, pixel units in [0, 1]; None is a quarter of eps in linf
                and a fifth in l2. fgsm, square, aa and cwl2 do not use it.
            seed: seed of starts and searches.
            split: name of the split that the images are from, such as `test`; every split has
                noise of its own. None is images of no split.
            places: places of the images in the whole split, shape (N,), int64; None is 0 to N - 1.
            source: for transfer only: the model that gives the gradients, on the images' device.
            replays: records attacks with steps and replays them; None runs them each time.

        Raises:
            ConfigError: the norm is unknown, transfer has no source, another attack has a source,
                or cwl2 is run in linf.
        """
        if norm not in STEPS_IN_EPS:
            raise ConfigError(f"unknown norm {norm!r}; choose from: {', '.join(STEPS_IN_EPS)}")
        if self.needs_source != (source is not None):
            verb = "needs" if self.needs_source else "has no"
            raise ConfigError(f"{self.name} {verb} source model")
        family = self.parts.family
        if family == "clean" or len(images) == 0:
            return images.detach().clone()
        if family == "fgsm":
            return attacked_alone(
                lambda chosen, targets: pgd(
                    model, images[chosen], targets, eps=eps, step_size=eps, steps=1, norm=norm,
                    start="none",
                ),
                torch.arange(len(images), device=images.device), targets,
            )  # fmt: skip
        if family == "square":
            return square(
                model, images, targets, eps=eps, seed=seed, queries=self.queries, norm=norm
            )
        if family == "aa":
            return autoattack(
                model, images, targets, eps=eps, seed=seed, batch_size=len(images),
                norm=AA_NORMS[norm],
            )  # fmt: skip
        if family in _ITERATED:
            return self._iterated(
                model, images, targets, eps=eps, norm=norm,
                step_size=step_size or eps / STEPS_IN_EPS[norm], seed=seed, split=split,
                source=source, replays=replays,
                places=torch.arange(len(images)) if places is None else places,
            )  # fmt: skip
        if norm != "l2":
            raise ConfigError(f"{self.name} must be run in norm l2, got norm {norm}")
        return self.nearest(model, images, targets).within(images.detach(), eps)

    def nearest(self, model: nn.Module, images: Tensor, targets: Tensor) -> Nearest:
        """Run cwl2 or cwl2_fixed without a radius; return adversarial images and L2 distances.

        Raises:
            ConfigError: this is another attack.
        """
        if self.parts.family == "cwl2":
            return cw_l2(model, images, targets, iterations=self.cw_iterations)
        if self.parts.family == "cwl2_fixed":
            return cw_l2(
                model, images, targets, search_steps=1, first_c=1.0, iterations=50,
                abort_early=False,
            )  # fmt: skip
        raise ConfigError(
            f"{self.name} does not search for the nearest image; choose from: cwl2, cwl2_fixed"
        )

    def start(
        self,
        images: Tensor,
        places: Tensor,
        *,
        eps: float,
        norm: str,
        seed: int,
        split: str | None,
        attempt: int = 0,
    ) -> Tensor:
        """Return the images from which an attack with steps starts: (N, C, H, W), in [0, 1].

        The arguments are those of `run`; `attempt` counts the restarts from 0.
        """
        once = replace(self.parts, restarts=1)
        noise = start_noise(
            images, places, eps, norm=norm, seed=noise_seed(seed, split),
            stream=f"{once}/{attempt}",
        )  # fmt: skip
        return (images + noise).clamp_(0, 1)

    def _iterated(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        *,
        eps: float,
        norm: str,
        step_size: float,
        seed: int,
        split: str | None,
        places: Tensor,
        source: nn.Module | None,
        replays: ShapedReplays | None,
    ) -> Tensor:
        family = self.parts.family
        objective = _ITERATED[family]
        places = places.to(images.device)
        attacked_model = model if source is None else source

        def from_first(model: nn.Module, images: Tensor, targets: Tensor, first: Tensor) -> Tensor:
            return pgd(
                model, images, targets, eps=eps, step_size=step_size, steps=self.parts.steps,
                norm=norm, start=first, objective=_summed(objective),
                momentum=_MOMENTUM if family == "mim" else None,
            )  # fmt: skip

        def attempt(chosen: Tensor, targets: Tensor, number: int) -> Tensor:
            return attacked_alone(partial(alone, number), chosen, targets)

        def alone(number: int, chosen: Tensor, targets: Tensor) -> Tensor:
            attacked = images[chosen]
            start = attacked
            if family != "mim" or number > 0:
                start = self.start(
                    attacked, places[chosen], eps=eps, norm=norm, seed=seed, split=split,
                    attempt=number,
                )  # fmt: skip
            if replays is None:
                return from_first(attacked_model, attacked, targets, start)
            knobs = (self, eps, norm, step_size)
            return replays(knobs, from_first, attacked_model, attacked, targets, start)

        # Numbers stand for the images, because a later attempt must know whose noise it needs.
        everything = torch.arange(len(images), device=images.device)
        return worst_of_restarts(
            model, everything, targets, attempt=attempt, restarts=self.parts.restarts,
            objective=objective,
        )  # fmt: skip


def _summed(objective: ImageObjective) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda logits, targets: objective(logits, targets, None).sum()


def noise_seed(seed: int, split: str | None) -> int:
    """Return the seed of the noise that images of one split meet, by their places in it."""
    return seed if split is None else stream_seed(seed, split)


def parse_attack(
    name: str, *, cw_iterations: int = CW_ITERATIONS, queries: int = STANDARD_QUERIES
) -> EvaluationAttack:
    """Return the attack of a name such as `pgd20x5`. `attack_names` defines the grammar.

    Args:
        name: clean, fgsm, pgd<k>, mim<k>, cw<k>, adaptive<k>, transfer<k>, square, aa, cwl2 or
            cwl2_fixed. x<r> after the steps gives the number of restarts.
        cw_iterations: see `EvaluationAttack`.
        queries: see `EvaluationAttack`.

    Raises:
        ConfigError: there is no attack of this name.
    """
    parts = read_name(name)
    if parts is None:
        raise ConfigError(unknown_attack(name, _CHOICE))
    return EvaluationAttack(parts, cw_iterations, queries)
