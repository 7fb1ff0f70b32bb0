"""Measures models one after another, or side by side in Ray workers, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ltat_tune.attacks.named import STEPS_IN_EPS, parse_attack
from ltat_tune.config.attack_names import is_slow
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import ConfigError, LtatError
from ltat_tune.evaluation import card
from ltat_tune.evaluation.card import Request
from ltat_tune.evaluation.loading import Loaded, load_target
from ltat_tune.evaluation.measures import Answers
from ltat_tune.evaluation.runner import (
    AttackOutcome,
    OnBatch,
    Setting,
    evaluate_attack,
    evaluate_clean,
)
from ltat_tune.evaluation.targets import Target, threads_of
from ltat_tune.models.arithmetic import chosen_device, computing_on
from ltat_tune.seeding import prepare_process
from ltat_tune.training.evaluation import MeasuredPart

# at scale 1 a cosine head's logits lie within +-1, and PGD finds less (RoBal's own README)
_COSINE_SCALES = (1.0, 10.0)
_ADAPTIVE = "adaptive20"
_LONGEST = 100  # the limit of attack.eps; the diagonal of CIFAR's images in l2 is 55

# (present measurement, images done, images in all, right answers so far)
OnProgress = Callable[[str, int, int, int], None]


def resolve(request: Request, config: TrialConfig) -> Request:
    """Return the request with every default filled in from the model's configuration.

    Raises:
        ConfigError: the norm is not the configured one, and there is no radius in it.
    """
    measured = config.evaluation
    configured = config.measured_norm
    norm = request.norm or configured
    if norm != configured and request.eps is None:
        raise ConfigError(
            f"--norm is {norm} and the model is configured for {configured}, so --eps must be "
            "given: a radius in one norm means nothing in the other"
        )
    step_size = request.step_size
    if step_size is None and request.eps is None and request.norm is None:
        step_size = measured.step_size
    scales, attacks = request.scales, tuple(dict.fromkeys(request.attacks))
    if scales is None:
        scales = (config.model.inference_scale,)
        # after subtracting a log-prior, another scale would be another classifier
        model = config.model
        if (
            model.head == "cosine"
            and model.inference_scale in _COSINE_SCALES
            and model.posthoc_tau == 0
        ):
            scales = _COSINE_SCALES
            if not any(name.startswith("adaptive") for name in attacks):
                attacks = (*attacks, _ADAPTIVE)
    images = request.images
    if images is None and request.worst_case and any(map(is_slow, attacks)):
        images = measured.aa_images  # in a chain, all attacks see the same images
    return replace(
        request, attacks=attacks, norm=norm, scales=scales, step_size=step_size, images=images,
        eps=(config.measured_eps,) if request.eps is None else request.eps,
        batch_size=request.batch_size or measured.batch_size,
    )  # fmt: skip


def check_request(request: Request) -> None:
    """Check what is known without the model; after `resolve`, the norm's radius too.

    Raises:
        ConfigError: an attack does not exist, or lacks its source or its norm; a radius or step
            goes beyond the images; or the device is not on this machine.
    """
    problems = []
    for name in request.attacks:
        try:
            attack = parse_attack(name)
            if attack.parts.family.startswith("cwl2") and request.norm == "linf":
                problems.append(f"{name} must be run in norm l2, got norm linf; add --norm l2")
            if attack.needs_source and request.source is None:
                problems.append(f"{name} needs the model it is made on: name it with --source")
        except ConfigError as error:
            problems += error.problems
    for option, values in (("--eps", request.eps or ()), ("--step-size", (request.step_size,))):
        for value in values:
            if value is not None and value > 1 and request.norm == "linf":
                problems.append(
                    f"{option} must be <= 1 in the norm linf, because images are in [0, 1], got "
                    f"{value:g}; did you mean {value:g}/255, or --norm l2?"
                )
            elif value is not None and value > _LONGEST:
                problems.append(
                    f"{option} must be <= {_LONGEST}, in pixel units of [0, 1], got {value:g}; "
                    f"did you mean {value:g}/255?"
                )
    try:
        chosen_device(request.device)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)


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
    request = resolve(request, loaded.config)
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
    whole = MeasuredPart.of(request.split, data, request.images)
    limit = loaded.config.evaluation.aa_images
    given = request.images is not None
    short = whole if given or limit is None else MeasuredPart.of(request.split, data, limit)
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
    from ltat_tune.evaluation.sentinel import BATCH_SIZE, MAX_IMAGES, watch

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
        max_images=min(request.images or MAX_IMAGES, MAX_IMAGES),
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
