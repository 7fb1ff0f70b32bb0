"""What `ltat-tune evaluate` is asked to measure: the options, their defaults and their rules."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ltat_tune.attacks.named import parse_attack
from ltat_tune.config.attack_names import is_slow
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.errors import ConfigError
from ltat_tune.models.arithmetic import chosen_device

# at scale 1 a cosine head's logits lie within +-1, and PGD finds less (RoBal's own README)
_COSINE_SCALES = (1.0, 10.0)
_ADAPTIVE = "adaptive20"
_LONGEST = 100  # the limit of attack.eps; the diagonal of CIFAR's images in l2 is 55


@dataclass(frozen=True)
class Request:
    """The options of the command line; None is the model's own configuration.

    Attributes:
        attacks: names; clean is always measured.
        split: `test` or `val`.
        images: number of images in a class-balanced, seeded part, for every attack.
        eps: radii, pixel units; every attack runs at each of them.
        norm: `linf` or `l2`.
        step_size: pixel units.
        scales: values of `model.inference_scale`.
        source: checkpoint for transfer attacks, and its configuration.
        seed: seed of random starts.
        batch_size: images attacked together.
        device: cpu, cuda or cuda:1.
        threads: CPU threads of one model; None is those of its study or export.
        sentinel: whether to check for gradient masking.
        worst_case: whether an attack sees only images that withstood those before it. All attacks
            then see the same part, that of slow attacks if there is one.
    """

    attacks: tuple[str, ...]
    split: str = "test"
    images: int | None = None
    eps: tuple[float, ...] | None = None
    norm: str | None = None
    step_size: float | None = None
    scales: tuple[float, ...] | None = None
    source: tuple[str, str] | None = None
    seed: int = 0
    batch_size: int | None = None
    device: str = "cpu"
    threads: int | None = None
    sentinel: bool = True
    worst_case: bool = False


def resolve(request: Request, config: TrialConfig, *, most: int | None = None) -> Request:
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
        if most is not None and request.split == "test":
            images = min(images or most, most)
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
