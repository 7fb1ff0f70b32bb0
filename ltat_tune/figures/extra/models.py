"""Figures in neither paper that attack trained models: eps, calibration, differences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from ltat_tune.attacks.frozen import frozen
from ltat_tune.attacks.named import parse_attack
from ltat_tune.config.scalars import pixels
from ltat_tune.errors import MissingData
from ltat_tune.evaluation.measures import Answers, calibration_error, reliability, wilson
from ltat_tune.figures import panels, style
from ltat_tune.figures.captions import ball_text, norm_text, small_print
from ltat_tune.figures.extra.studies import contestants, one_scenario
from ltat_tune.figures.features import Trained, evaluation_ball, shown_part, trained
from ltat_tune.figures.sources import Recipe, Sources
from ltat_tune.figures.spec import Drawing
from ltat_tune.presentation import palette
from ltat_tune.presentation.units import percent
from ltat_tune.storage.trained_run import Run
from ltat_tune.training.evaluation import EVALUATION_SEED
from ltat_tune.training.metrics import Accuracy

TIMES_EPS = (0.0, 0.5, 1.0, 1.5, 2.0)
FEWEST = 10  # images in a bin that is drawn; the calibration error uses all bins
_STEPS = 20  # if the run's own attack is not PGD


def steps_of(run: Run) -> int:
    """Return the steps of the PGD that the run was measured with, else 20."""
    match = re.fullmatch(r"pgd(\d+)", run.attack)
    return int(match.group(1)) if match else _STEPS


def _attack(run: Run) -> str:
    """Return the attack that `answers` uses, such as `PGD-20, L∞, ε = 8/255`."""
    return f"PGD-{steps_of(run)}, {ball_text(run.config)}"


def answers(run: Run, sources: Sources, *, times_eps: float) -> Answers:
    """Return `answers_at` for one radius."""
    return answers_at(run, sources, (times_eps,))[0]


def answers_at(run: Run, sources: Sources, times: Sequence[float]) -> list[Answers]:
    """Return answers to `sources.images` test images under PGD at multiples of the eps.

    Eps and noise are the evaluation's, and the step grows with the radius. Every image is
    attacked, even if it is misclassified, so that confidences are those of adversarial images. The
    model is loaded once, and only if an answer is not cached.

    Raises:
        MissingData, CheckpointError, DataError: as `features.trained`.
    """
    loaded = cache(lambda: trained(run, sources.device))
    return [
        sources.once(
            ("answers", run.path, factor, steps_of(run)),
            partial(_attacked, loaded, run, sources, factor),
        )
        for factor in times
    ]


def _attacked(loaded: Callable[[], Trained], run: Run, sources: Sources, factor: float) -> Answers:
    restored = loaded()
    part = shown_part(restored, sources)
    eps, norm, step_size = evaluation_ball(run.config)
    attack = parse_attack(f"pgd{steps_of(run)}" if factor else "clean")
    probabilities = []
    with frozen(restored.model, training=False):
        for batch, targets, places in part.batches(run.config.evaluation.batch_size):
            adv_images = attack.run(
                restored.model, batch, targets, eps=factor * eps, norm=norm,
                step_size=factor * step_size, seed=EVALUATION_SEED, split=part.split,
                places=places,
            )  # fmt: skip
            with torch.no_grad():
                probabilities.append(restored.model(adv_images).double().softmax(dim=1).cpu())
    confidence, predicted = torch.cat(probabilities).max(dim=1)
    return Answers(part.data.targets.cpu(), predicted, confidence)


def accuracy_over_eps(sources: Sources) -> Drawing:
    """Draw accuracy over the radius of the attack, of all classes and of the tail."""
    chosen = contestants(sources, 3)
    run = chosen[0][1].first
    eps = run.config.measured_eps
    scale, unit = (255, "/255") if pixels(eps).endswith("/255") else (1, "[0, 1] pixels")
    x = [scale * eps * times for times in TIMES_EPS]
    fig, axes = style.paper_figure(2, cols=2, height_in=2.8)
    for place, (name, recipe) in enumerate(chosen):
        recalls = np.array([_recalls(run, sources) for run in recipe.runs])  # (seeds, R, K)
        for column, group in enumerate(("all", "tail")):
            every = list(range(len(run.samples_per_class)))
            members = run.groups.members["tail"] if group == "tail" else every
            values = 100 * recalls[:, :, members].mean(axis=2)
            spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(len(x))
            points = list(zip(values.mean(axis=0).tolist(), spread.tolist(), strict=True))
            panels.spread_line(axes[0, column], x, points, index=place, label=name)
    for column, title in enumerate(("all classes", "tail classes")):
        panel = axes[0, column]
        panel.axvline(scale * eps, color=palette.GREY, linestyle=":", linewidth=0.8)
        panel.set_xlabel(f"radius ε of the attack ({unit})")
        panel.set_ylabel(f"balanced PGD-{steps_of(run)} accuracy (%)")
        panel.set_xticks(x, [f"{value:g}" for value in x])
        panel.set_ylim(bottom=0)
        style.letter(panel, column, title)
        style.horizontal_grid(panel)
    panels.legend_above(fig, axes[0, 0])
    recipes = [recipe for _, recipe in chosen]
    images = len(answers(run, sources, times_eps=0.0).targets)
    small_print(
        fig, recipes, attack=f"PGD-{steps_of(run)}, {norm_text(run.config)}",
        images=f"{images} test images", more=["dotted: the ε of the evaluation"],
    )  # fmt: skip
    return Drawing(fig, one_scenario(sources, run))


def _recalls(run: Run, sources: Sources) -> list[list[float]]:
    """Return recalls at every radius, (R, K), NaN for a class without test images."""
    recalls = []
    for answered in answers_at(run, sources, TIMES_EPS):
        count = Accuracy.count(answered.correct, answered.targets, len(run.samples_per_class))
        recalls.append([math.nan if recall is None else recall for recall in count.per_class])
    return recalls


def calibration(sources: Sources) -> Drawing:
    """Draw accuracy over confidence, clean and adversarial, with each calibration error."""
    chosen = contestants(sources, 3)
    run = chosen[0][1].first
    fig, axes = style.paper_figure(2, cols=2, height_in=3.0)
    for column, (times, title) in enumerate(((0.0, "clean"), (1.0, f"PGD-{steps_of(run)}"))):
        panel, errors = axes[0, column], []
        panel.plot([0, 100], [0, 100], color=palette.GREY, linestyle=":", linewidth=0.9)
        for place, (name, recipe) in enumerate(chosen):
            bins = reliability(answers(recipe.first, sources, times_eps=times))
            filled = [(b["confidence"], b["acc"]) for b in bins if int(b["images"] or 0) >= FEWEST]
            panel.plot(
                [100 * float(c or 0) for c, _ in filled], [100 * float(a or 0) for _, a in filled],
                color=palette.PALETTE[place], marker=style.MARKERS[place], clip_on=False,
                linestyle=style.LINES[place], label=name,
            )  # fmt: skip
            errors.append(percent(calibration_error(bins)))
        panel.set_xlim(0, 100)
        panel.set_ylim(0, 100)
        panel.set_box_aspect(1)
        panel.set_xlabel(f"confidence (%)\ncalibration error: {', '.join(errors)} %")
        panel.set_ylabel("accuracy (%)")
        style.letter(panel, column, title)
    panels.legend_above(fig, axes[0, 0])
    images = len(answers(run, sources, times_eps=0.0).targets)
    small_print(
        fig, [recipe for _, recipe in chosen], attack=_attack(run), seeds=f"seed {run.seed}",
        images=f"{images} test images in 15 bins of equal width, drawn with {FEWEST} or more",
        more=["errors in the order of the legend", "dotted: confidence equals accuracy"],
    )  # fmt: skip
    return Drawing(fig, one_scenario(sources, run))


@dataclass(frozen=True)
class Difference:
    """How much more often the first of two models is right, with the ends of its interval."""

    mean: float
    low: float
    high: float


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """Return the difference of two shares of right answers to the same images, (N,) each, 95 %.

    Newcombe's square-and-add interval from both Wilson intervals and the correlation of the
    answers; it has a width even if both models are always right or always wrong.

    Source: Newcombe1998Improved, Statistics in Medicine 17, 2635, method 10.
    """
    n = len(first)
    both, only_first = int((first & second).sum()), int((first & ~second).sum())
    only_second = int((~first & second).sum())
    neither = n - both - only_first - only_second
    p, q = (both + only_first) / n, (both + only_second) / n
    of_p, of_q = wilson(both + only_first, n), wilson(both + only_second, n)
    margins = (
        (both + only_first) * (only_second + neither)
        * (both + only_second) * (only_first + neither)
    )  # fmt: skip
    product = both * neither - only_first * only_second
    corrected = max(product - n / 2, 0) if product > 0 else product
    phi = corrected / math.sqrt(margins) if margins else 0.0
    low = _together(p - of_p.low, of_q.high - q, phi)
    high = _together(of_p.high - p, q - of_q.low, phi)
    return Difference(p - q, p - q - low, p - q + high)


def _together(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first**2 - 2 * phi * first * second + second**2))


def class_differences(
    first: Recipe, second: Recipe, sources: Sources, *, times_eps: float
) -> list[tuple[Difference, list[float]]]:
    """Return, for every class, the mean difference over common seeds, and each seed's difference.

    The ends of the interval are averaged too: the seeds answer to the same images, so this is on
    the safe side. The interval is about which images were drawn; the seeds' own spread is the
    second entry.
    """
    pairs = [(a, b) for a in first.runs for b in second.runs if a.seed == b.seed]
    if not pairs:
        raise MissingData(f"a seed that is in both {first.first.name} and {second.first.name}")
    answered = [[answers(run, sources, times_eps=times_eps) for run in pair] for pair in pairs]
    differences = []
    for c in range(len(first.first.samples_per_class)):
        of_seeds = []
        for both in answered:
            of_class = both[0].targets == c
            of_seeds.append(paired_difference(*(a.correct[of_class].numpy() for a in both)))
        mean = Difference(*(
            sum(getattr(d, field) for d in of_seeds) / len(of_seeds)
            for field in ("mean", "low", "high")
        ))  # fmt: skip
        differences.append((mean, [d.mean for d in of_seeds]))
    return differences


def difference_by_class(sources: Sources) -> Drawing:
    """Draw recall by class, best recipe minus the first configuration or second best."""
    chosen = contestants(sources, 2)
    if len(chosen) < 2:
        raise MissingData("a second configuration to compare with")
    (name, first), (other, second) = chosen
    run = first.first
    fig, axes = style.paper_figure(2, cols=2, height_in=2.7, sharey=True)
    under = run.groups.members.get("under", [])
    seeds = 0
    for column, (times, title) in enumerate(((0.0, "clean"), (1.0, f"PGD-{steps_of(run)}"))):
        panel = axes[0, column]
        panel.axhline(0, color=palette.GREY, linewidth=0.8)
        for c, (difference, by_seed) in enumerate(
            class_differences(first, second, sources, times_eps=times)
        ):
            seeds = len(by_seed)
            colour = palette.GROUP_COLOURS["under" if c in under else "well"]
            mean, low, high = (100 * v for v in (difference.mean, difference.low, difference.high))
            panel.errorbar(
                c, mean, yerr=[[mean - low], [high - mean]], color=colour, linestyle="",
                marker=style.GROUP_MARKERS["under" if c in under else "well"], markersize=4,
            )  # fmt: skip
            if seeds > 1:
                panel.scatter([c + 0.28] * seeds, [100 * v for v in by_seed], s=5, color=colour,
                              alpha=0.6, linewidths=0)  # fmt: skip
        style.class_ticks(panel, run.class_names)
        style.letter(panel, column, title)
        style.horizontal_grid(panel)
    axes[0, 0].set_ylabel("difference in accuracy\n(percentage points)")
    fig.suptitle(f"{name} minus {other}", fontsize=8)
    images = len(answers(run, sources, times_eps=0.0).targets)
    small_print(
        fig, [first, second], attack=_attack(run), images=f"{images} test images",
        seeds=f"small dots: each of {seeds} seeds" if seeds > 1 else "one seed",
        more=["bars: paired 95 % interval over images (Newcombe 1998, method 10)",
              "triangles: under-represented classes"],
    )  # fmt: skip
    return Drawing(fig, one_scenario(sources, run))
