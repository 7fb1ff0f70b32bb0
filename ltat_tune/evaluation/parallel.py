"""Measures models one after another, or side by side in Ray workers, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ltat_tune.attacks.named import STEPS_IN_EPS, parse_attack
from ltat_tune.config.attack_names import is_slow
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import LtatError
from ltat_tune.evaluation import card
from ltat_tune.evaluation.loading import Loaded, load_target
from ltat_tune.evaluation.measures import Answers
from ltat_tune.evaluation.request import Request, check_request, resolve
from ltat_tune.evaluation.runner import (
    AttackOutcome,
    OnBatch,
    Setting,
    evaluate_attack,
    evaluate_clean,
)
from ltat_tune.evaluation.targets import Target, part_of_study, threads_of
from ltat_tune.models.arithmetic import chosen_device, computing_on
from ltat_tune.seeding import prepare_process
from ltat_tune.training.evaluation import MeasuredPart

# (present measurement, images done, images in all, right answers so far)
OnProgress = Callable[[str, int, int, int], None]


def evaluate_model(
    target: Target, request: Request, *, state: Path, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """Measure everything requested of one model. Return its card.

    Args:
        target: the model.
        request: what to measure.
        state: folder of the finished batches.
        on_progress: called after every batch.

    Raises:
        LtatError: as `load_target`, `MeasuredPart.of` and `evaluate_attack`.
    """
    loaded = load_target(target, device=request.device)
    source = None
    if request.source is not None:
        checkpoint, config_file = request.source
        source = load_target(
            Target("source", Path(config_file), Path(checkpoint)), device=request.device
        )
    return measure_targets(loaded, request, source=source, state=state, on_progress=on_progress)


def measure_targets(
    loaded: Loaded,
    request: Request,
    *,
    state: Path,
    source: Loaded | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Measure a model in memory, as `evaluate_model` does. Return its card.

    Raises:
        LtatError: as `MeasuredPart.of` and `evaluate_attack`.
    """
    request = resolve(request, loaded.config, most=part_of_study(loaded.target))
    check_request(request)
    with computing_on(chosen_device(request.device), loaded.config.compute):
        return _measured_targets(loaded, request, state, source, on_progress)


def _measured_targets(
    loaded: Loaded,
    request: Request,
    state: Path,
    source: Loaded | None,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    data = loaded.splits.test() if request.split == "test" else loaded.splits.val
    most = _study_part(loaded, request)
    whole = MeasuredPart.of(request.split, data, most or request.images, at_most=most is not None)
    limit = loaded.config.evaluation.aa_images
    shorter = request.images is None and limit is not None and limit < (most or len(data))
    short = MeasuredPart.of(request.split, data, limit) if shorter else whole
    outcomes: list[AttackOutcome] = []
    reports: list[dict[str, Any]] = []
    assert request.scales is not None
    for scale in request.scales:
        outcomes += _at_scale(
            loaded, request, scale, whole=whole, short=short, source=source, state=state,
            on_progress=on_progress,
        )  # fmt: skip
        if request.sentinel:
            reports.append(
                _watch(loaded, request, scale, data.to(request.device), state, on_progress)
            )
    return card.build(loaded, request, outcomes, sentinel=reports, split_images=len(data))


def _study_part(loaded: Loaded, request: Request) -> int | None:
    """Return the most test images that the model's study tests on, unless others are asked for."""
    if request.images is not None or request.split != "test":
        return None
    return part_of_study(loaded.target)


def _at_scale(
    loaded: Loaded,
    request: Request,
    scale: float,
    *,
    whole: MeasuredPart,
    short: MeasuredPart,
    source: Loaded | None,
    state: Path,
    on_progress: OnProgress | None,
) -> list[AttackOutcome]:
    assert request.eps is not None and request.norm is not None and request.batch_size is not None
    model, weights = loaded.at_scale(scale), loaded.fingerprint(scale)
    setting = Setting(
        attack="clean", scale=scale, eps=0.0, norm=request.norm, step_size=None,
        seed=request.seed, batch_size=request.batch_size,
    )  # fmt: skip
    many_scales = len(request.scales or ()) > 1
    title = f"{loaded.target.name} scale {scale:g} " if many_scales else f"{loaded.target.name} "
    outcomes = [
        evaluate_clean(
            model, whole, setting, weights=weights, state=state,
            on_batch=_named(on_progress, f"{title}clean"),
        )
    ]  # fmt: skip
    clean = outcomes[0].answers
    names = [name for name in request.attacks if name != "clean"]
    for eps in request.eps:
        for number, name in enumerate(names):
            part = short if is_slow(name) else whole
            attack = parse_attack(name)
            step_size = request.step_size or eps / STEPS_IN_EPS[request.norm]
            attacked = replace(
                setting, attack=name, eps=eps,
                step_size=step_size if attack.parts.steps else None,
                source=card.source_hash(source) if source and attack.needs_source else None,
                after=tuple(names[:number]) if request.worst_case else None,
            )  # fmt: skip
            chained = request.worst_case and number > 0
            before = outcomes[-1].answers if chained else _restricted(clean, whole, part)
            outcomes.append(
                evaluate_attack(
                    model, part, attacked, before=before,
                    weights=weights, state=state, source=source.model if source else None,
                    on_batch=_named(on_progress, f"{title}{name} eps {eps:.4g}"),
                )
            )  # fmt: skip
    return outcomes


def _restricted(answers: Answers, whole: MeasuredPart, part: MeasuredPart) -> Answers:
    """Return the answers to the images of a smaller part."""
    if part is whole:
        return answers
    place = {int(p): i for i, p in enumerate(whole.places.tolist())}
    chosen = [place[p] for p in part.places.tolist()]
    return Answers(answers.targets[chosen], answers.predicted[chosen], answers.confidence[chosen])


def _named(on_progress: OnProgress | None, title: str) -> OnBatch | None:
    if on_progress is None:
        return None
    return lambda done, total, right: on_progress(title, done, total, right)


def _watch(
    loaded: Loaded,
    request: Request,
    scale: float,
    data: LabelledImages,
    state: Path,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    """Return the sentinel's report on the model at one scale, at the first radius."""
    from ltat_tune.evaluation.sentinel import BATCH_SIZE, watch
    from ltat_tune.planning.cost import MAX_IMAGES

    assert request.eps is not None and request.norm is not None and request.batch_size is not None
    title = f"{loaded.target.name} sentinel"
    report = watch(
        loaded.at_scale(scale),
        data.images,
        data.targets,
        split=request.split,
        eps=request.eps[0],
        norm=request.norm,
        step_size=request.step_size,
        seed=request.seed,
        batch_size=min(request.batch_size, BATCH_SIZE),
        max_images=min(request.images or _study_part(loaded, request) or MAX_IMAGES, MAX_IMAGES),
        state=state / "sentinel",
        weights=loaded.fingerprint(scale),
        progress=None
        if on_progress is None
        else lambda name, done, total: on_progress(f"{title} {name}".strip(), done, total, -1),
    )
    return {"scale": scale, **report.to_json()}


def evaluate_models(
    targets: Sequence[Target],
    request: Request,
    *,
    state: Path,
    parallel: int = 1,
    on_progress: OnProgress | None = None,
) -> Iterator[dict[str, Any] | LtatError]:
    """Yield a card for every model, in order, as soon as it and those before it are done.

    A model that cannot be measured gives its error, and the others go on.

    Args:
        targets: the models.
        request: what to measure of each.
        state: folder of the finished batches.
        parallel: models at once, each in a Ray worker of its own with `request.threads` threads.
        on_progress: called after every batch, or, in parallel, after every model.
    """
    if parallel == 1 or len(targets) == 1:
        for target in targets:
            yield _outcome(target, request, state, on_progress)
        return
    yield from _in_workers(targets, request, state, parallel, on_progress)


def _in_workers(
    targets: Sequence[Target],
    request: Request,
    state: Path,
    parallel: int,
    on_progress: OnProgress | None,
) -> Iterator[dict[str, Any] | LtatError]:
    from ltat_tune.backend.pool import in_workers

    def on_done(ready: int) -> None:
        if on_progress is not None:
            on_progress("models", ready, len(targets), -1)

    yield from in_workers(
        _work,
        [(target, request, state.resolve()) for target in targets],
        slots=min(parallel, len(targets)),
        cpus=request.threads or max(map(threads_of, targets)),
        gpus=0 if request.device == "cpu" else torch.cuda.device_count(),
        on_done=on_done,
    )


def _work(target: Target, request: Request, state: Path) -> dict[str, Any] | LtatError:
    """Measure one model in a worker."""
    return _outcome(target, request, state, None)


def _outcome(
    target: Target, request: Request, state: Path, on_progress: OnProgress | None
) -> dict[str, Any] | LtatError:
    threads = request.threads or threads_of(target)
    prepare_process(threads)
    request = replace(request, threads=threads)
    try:
        return evaluate_model(target, request, state=state, on_progress=on_progress)
    except LtatError as error:
        return LtatError(str(error))
