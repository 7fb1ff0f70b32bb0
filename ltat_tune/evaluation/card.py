"""The card of a model: what was measured and how, how certain it is, and the command for it."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ltat_tune import provenance
from ltat_tune.attacks.named import parse_attack
from ltat_tune.config.attack_names import is_slow
from ltat_tune.evaluation.loading import Loaded
from ltat_tune.evaluation.measures import INTERVALS, accuracies, summarise
from ltat_tune.evaluation.request import Request
from ltat_tune.evaluation.runner import AttackOutcome, worst_case
from ltat_tune.evaluation.targets import Target, part_of_study
from ltat_tune.files import write_json
from ltat_tune.models.arithmetic import described
from ltat_tune.presentation.names import reached_ratio, training_words
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.identity import settled_store, store_of
from ltat_tune.tracking import attach

CARD_FORMAT = 1

_NOTES = (
    "A misclassified clean image counts as misclassified under every attack. It keeps its answer "
    "and is not attacked.",
    "noise: in a row with `place`, an image's start depends only on the seed, the attack, the "
    "split and the image's place in it, not on the batch size or on other images. With `batch`, "
    "the attack's own code (pyautoattack: aa, square) draws one sequence for the images attacked "
    "together, so --batch-size, and which images still stand, may change its number. With `none`, "
    "nothing is drawn. Rounding still differs between batch sizes, in the last digits of "
    "confidences and, rarely, for an image at the edge.",
    "worst_case: images that survive every attack of its list, among those that all attacks saw.",
    "balanced_acc under attack is the mean recall over classes, which TAET calls balanced "
    "robustness: the same formula on the same images. On a class-balanced split it equals acc. "
    "TAET's own test images are long-tailed: there it differs, and rests on few tail images.",
    "confidence, ece, reliability and confusion describe the answers after the attack. Images "
    "that were not attacked count with their clean answer.",
)
_EACH_ALONE = (
    "Every attack sees every image that is right without attack, so no number depends on the "
    "order of attacks."
)
WORST_CASE = (
    "Worst case: each attack saw only the images that withstood those above it. A row shows what "
    "is left after its attack and all above. Only the first row shows what an attack does alone."
)


def command(loaded: Loaded, request: Request) -> str:
    """Return the command line that repeats this measurement, every default written out."""
    options: dict[str, Any] = {
        "--config": loaded.target.config,
        "--attacks": ",".join(request.attacks),
        "--split": request.split,
        "--test-images": request.images,
        "--eps": None if request.eps is None else ",".join(map(fraction_text, request.eps)),
        "--norm": request.norm,
        "--step-size": None if request.step_size is None else fraction_text(request.step_size),
        "--scales": None if request.scales is None else ",".join(f"{s:g}" for s in request.scales),
        "--source": request.source[0] if request.source else None,
        "--source-config": request.source[1] if request.source else None,
        "--attack-seed": request.seed,
        "--batch-size": request.batch_size,
        "--device": request.device,
        "--threads": request.threads,
    }
    words = ["ltat-tune", "evaluate", str(loaded.target.checkpoint)]
    words += [word for name, value in options.items() if value is not None
              for word in (name, str(value))]  # fmt: skip
    words += ["--worst-case"] if request.worst_case else []
    words.append("--sentinel" if request.sentinel else "--no-sentinel")
    return shlex.join(words)


def fraction_text(value: float) -> str:
    """Return `8/255` if that is exactly the same number below 1, else all digits."""
    steps = round(value * 255)
    return f"{steps}/255" if value < 1 and steps / 255 == value else f"{value!r}"


def build(
    loaded: Loaded,
    request: Request,
    outcomes: Sequence[AttackOutcome],
    *,
    sentinel: Sequence[Mapping[str, Any]],
    split_images: int,
) -> dict[str, Any]:
    """Return the card as plain data.

    Args:
        loaded: the model.
        request: the request, every default resolved.
        outcomes: what was measured; for every scale the clean outcome first.
        sentinel: reports, one for every scale.
        split_images: images in the whole split, attacked or not.
    """
    config, splits, classes = loaded.config, loaded.splits, len(loaded.splits.classes)
    rows = [_row(loaded, request, outcome) for outcome in outcomes]
    method, loss = training_words(config)
    elsewhere = loaded.is_foreign or config.trains_elsewhere
    if loaded.is_foreign:
        method, loss = "another script", "its loss is not known"
    return {
        "format": CARD_FORMAT,
        "model": {
            "name": loaded.target.name,
            "checkpoint": str(loaded.target.checkpoint),
            "config": str(loaded.target.config),
            "weights": loaded.weights,
            "identity": config.identity,
            "recipe": config.recipe,
            "network": config.model.model_dump(mode="json"),
            "parameters": sum(p.numel() for p in loaded.model.parameters()),
            "method": method,
            "loss": loss,
            "trained_against": None if elsewhere else config.attack.model_dump(mode="json"),
            "epoch": loaded.epoch,
            "epochs": config.optim.epochs,
            "training_seed": config.seeds.seed,
        },
        "data": {
            "name": config.data.name,
            "profile": config.data.profile,
            "imbalance_ratio": config.data.imbalance_ratio,
            "imbalance_ratio_reached": round(reached_ratio(splits.samples_per_class.tolist()), 4),
            "classes": list(splits.classes),
            "samples_per_class": splits.samples_per_class.tolist(),
            "groups": loaded.groups.members,
            "subset_hash": splits.subset_hash,
            "split": request.split,
            "split_images": split_images,
        },
        "selected_on_test": loaded.selected_on_test,
        "mode": "worst_case" if request.worst_case else "each_alone",
        "rows": rows,
        "worst_case": [
            _worst(loaded, request, group, classes) for group in _same_threat(outcomes)
        ],
        "sentinel": list(sentinel),
        "intervals": INTERVALS,
        "notes": [WORST_CASE if request.worst_case else _EACH_ALONE, *_NOTES],
        "command": command(loaded, request),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "arithmetic": described(torch.device(request.device), "fp32", config.compute),
    }


def _row(loaded: Loaded, request: Request, outcome: AttackOutcome) -> dict[str, Any]:
    setting, part = outcome.setting, outcome.part
    chain = setting.after is not None
    again = replace(
        request, attacks=(*(setting.after or ()), setting.attack),
        images=_asked(outcome, loaded, request), scales=(setting.scale,), sentinel=False,
        # earlier attacks may take steps even if this one takes none
        step_size=request.step_size if chain else setting.step_size, worst_case=chain,
        eps=request.eps if setting.attack == "clean" else (setting.eps,),
    )  # fmt: skip
    return {
        **asdict(setting),
        "noise": parse_attack(setting.attack).noise,
        "images": len(part),
        "images_hash": part.hash,
        **summarise(outcome.answers, loaded.groups, len(loaded.splits.classes)),
        "seconds": outcome.seconds,
        "command": command(loaded, again),
    }


def _asked(outcome: AttackOutcome, loaded: Loaded, request: Request) -> int | None:
    """Return `--test-images` for this row: its own count if that is a part of the split."""
    if request.images is None and request.split == "test" and part_of_study(loaded.target):
        return len(outcome.part)
    limited = is_slow(outcome.setting.attack) and request.images is None
    whole = loaded.config.evaluation.aa_images is None or not limited
    return request.images if whole else len(outcome.part)


def _same_threat(outcomes: Sequence[AttackOutcome]) -> list[list[AttackOutcome]]:
    """Return the groups of two or more attacks of one scale, radius and norm."""
    groups: dict[tuple[float, float, str], list[AttackOutcome]] = {}
    for outcome in outcomes:
        s = outcome.setting
        if s.attack != "clean":
            groups.setdefault((s.scale, s.eps, s.norm), []).append(outcome)
    return [group for group in groups.values() if len(group) > 1]


def _worst(
    loaded: Loaded, request: Request, group: Sequence[AttackOutcome], classes: int
) -> dict[str, Any]:
    correct, targets = worst_case(group)
    setting = group[0].setting
    names = tuple(outcome.setting.attack for outcome in group)
    again = replace(
        request, attacks=names, scales=(setting.scale,), eps=(setting.eps,), sentinel=False
    )
    return {
        "attacks": list(names),
        "scale": setting.scale,
        "eps": setting.eps,
        "norm": setting.norm,
        "images": len(targets),
        **accuracies(correct, targets, loaded.groups, classes),
        "command": command(loaded, again),
    }


def file_name(card: Mapping[str, Any]) -> str:
    """Return `<model>-<8 hex digits of the command>.json`, which differs for another protocol."""
    text = json.dumps([card["command"], card["model"]["weights"]])
    return f"{card['model']['name']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"


def metrics(card: Mapping[str, Any]) -> dict[str, float]:
    """Return the card's numbers by MLflow's names, such as `card/test/linf-8of255/pgd20_acc`.

    Accuracy after several attacks is `.../worst_case-pgd20-cw100_acc`, in either mode.
    """
    by_name: dict[str, float] = {}
    split = card["data"]["split"]
    scales = {row["scale"] for row in card["rows"]}
    for row in [*card["rows"], *card["worst_case"]]:
        attacks = row["attacks"] if "attacks" in row else [*(row["after"] or ()), row["attack"]]
        at = [f"scale-{row['scale']:g}"] if len(scales) > 1 else []
        if attacks != ["clean"]:
            at.append(f"{row['norm']}-{fraction_text(row['eps']).replace('/', 'of')}")
        what = "-".join(attacks if len(attacks) == 1 else ["worst_case", *attacks])
        prefix = "/".join(["card", split, *at, what])
        values = {**row["numbers"], **({"ece": row["ece"]} if "ece" in row else {})}
        by_name |= {f"{prefix}_{name}": value for name, value in values.items()}
    return by_name


def source_hash(loaded: Loaded) -> str:
    """Return the fingerprint of a transfer's source as it is measured."""
    return loaded.fingerprint(loaded.config.model.inference_scale)


def write(card: Mapping[str, Any], folder: Path) -> Path:
    """Write the card, whole or not at all. Return its path."""
    path = folder / file_name(card)
    write_json(path, card)
    return path


def log(card: Mapping[str, Any], target: Target) -> bool:
    """Add the card to the model's MLflow run. Return False if there is no store or no such run.

    Raises:
        StudyError: the store does not answer.
    """
    if target.study is None:
        return False
    folder = StudyFolder(target.study)
    place = target.checkpoint.resolve().parent.relative_to(target.study.resolve())
    kind, *rest = place.parts or ("",)
    if kind not in ("trials", "confirmations") or not store_of(folder).exists:
        return False
    store = settled_store(folder)
    files = {f"cards/{file_name(card)}": json.dumps(card, indent=2)}
    return attach(store.uri, store.experiment, store.uid, "/".join(rest), metrics(card), files)
