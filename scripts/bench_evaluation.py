#!/usr/bin/env python
"""Test attacks of ours against torchattacks' on the same model, images, radius, steps and start.

    python scripts/bench_evaluation.py [--smoke] [--json FILE] [--images 100] [--rounds 3]

PGD-20, PGD-100 and CW-100 (the margin in L-inf, which torchattacks has not; there PGD on its own
margin stands for it). Robust accuracies are compared first: both attack from the clean images, so
no noise tells them apart. Ours leaves out images that are answered wrong as they are; the model is
a quickstart network trained here, or a ResNet-18 on noise of which 60 % is answered right. Ratios
are medians over turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from ltat_tune.attacks import pgd
from ltat_tune.attacks.frozen import frozen
from ltat_tune.data.batches import evaluation_batches
from ltat_tune.data.datasets import LabelledImages, load_splits
from ltat_tune.models import Classifier
from ltat_tune.seeding import prepare_process

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from scripts.bench_step import digits, noise_images, unfolded
from scripts.bench_timing import circumstances, in_turns, line_of, table_of

ATTACKS = {"pgd20": 20, "pgd100": 100, "cw100": 100}
_OBJECTIVES = {"pgd": "cross_entropy", "cw": "margin"}


class _Counted:
    """Attacks all images and keeps how many are still answered right."""

    def __init__(self, attack: Callable[[], Tensor]) -> None:
        self.attack = attack
        self.right = torch.zeros(0, dtype=torch.bool)

    def __call__(self) -> None:
        self.right = self.attack()


def ours(
    model: nn.Module, data: LabelledImages, *, name: str, steps: int, eps: float, batch_size: int
) -> Callable[[], Tensor]:
    """Which images are right under the attack, as `training.evaluation` goes about it."""
    objective = _OBJECTIVES[name.rstrip("0123456789")]

    def run() -> Tensor:
        found = []
        with frozen(model, training=False):
            for images, targets in evaluation_batches(data, batch_size):
                with torch.no_grad():
                    standing = model(images).argmax(dim=1) == targets
                if bool(standing.any()):
                    adv_images = pgd(
                        model, images[standing], targets[standing], eps=eps, step_size=eps / 4,
                        steps=steps, start="none", objective=objective,
                    )  # fmt: skip
                    with torch.no_grad():
                        still = model(adv_images).argmax(dim=1) == targets[standing]
                    standing = standing.masked_scatter(standing, still)
                found.append(standing)
        return torch.cat(found)

    return run


def theirs(
    model: nn.Module, data: LabelledImages, *, name: str, steps: int, eps: float, batch_size: int
) -> Callable[[], Tensor]:
    """The same by torchattacks; of cw, its PGD with the cross-entropy replaced by the margin."""
    import torchattacks

    class MarginPGD(torchattacks.PGD):  # type: ignore[misc]
        """torchattacks' loop around its own `get_logits`, on the margin."""

        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            images, labels = images.clone().detach(), labels.clone().detach()
            adv_images = images.clone()
            for _ in range(self.steps):
                adv_images.requires_grad = True
                outputs = self.get_logits(adv_images)
                label = outputs.gather(1, labels[:, None]).squeeze(1)
                at_label = F.one_hot(labels, outputs.shape[1]).bool()
                cost = (outputs.masked_fill(at_label, -1e30).amax(dim=1) - label).sum()
                grad = torch.autograd.grad(cost, adv_images)[0]
                adv_images = adv_images.detach() + self.alpha * grad.sign()
                delta = torch.clamp(adv_images - images, min=-self.eps, max=self.eps)
                adv_images = torch.clamp(images + delta, min=0, max=1).detach()
            return adv_images

    made = MarginPGD if name.startswith("cw") else torchattacks.PGD
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = made(model, eps=eps, alpha=eps / 4, steps=steps, random_start=False)

    def run() -> Tensor:
        found = []
        for images, targets in evaluation_batches(data, batch_size):
            adv_images = attack(images, targets)
            with torch.no_grad():
                found.append(model(adv_images).argmax(dim=1) == targets)
        return torch.cat(found)

    return run


def rows(
    setting: str, model: Classifier, data: LabelledImages, *, eps: float, rounds: int,
    batch_size: int, most_steps: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each attack: accuracies of both, seconds of both, how many times faster."""
    plain = unfolded(model).eval()
    with torch.no_grad():
        right = torch.cat([plain(x).argmax(1) == y for x, y in evaluation_batches(data, 500)])
    found = []
    for name, steps in ATTACKS.items():
        steps = min(steps, most_steps)
        knobs: dict[str, Any] = {
            "name": name, "steps": steps, "eps": eps, "batch_size": batch_size
        }  # fmt: skip
        tasks = {
            "torchattacks": _Counted(theirs(plain, data, **knobs)),
            "ours": _Counted(ours(model, data, **knobs)),
        }
        timed = {row["name"]: row for row in in_turns(dict(tasks), rounds, data.targets.device)}
        one, other = tasks["ours"].right, tasks["torchattacks"].right
        found.append({
            "setting": setting, "attack": name, "steps": steps, "images": len(data),
            "clean_acc": right.float().mean().item(),
            "acc": one.float().mean().item(), "torchattacks_acc": other.float().mean().item(),
            "answers_that_differ": int((one != other).sum()),
            "torchattacks_s": timed["torchattacks"]["seconds"], "ours_s": timed["ours"]["seconds"],
            "times_faster": 1 / timed["ours"]["ratio"],
            "least": 1 / timed["ours"]["high"], "most": 1 / timed["ours"]["low"],
        })  # fmt: skip
    return found


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as JSON would have it."""
    device = torch.device(given.device)
    smoke = given.smoke
    found = []
    trained = digits(50, {"optim.epochs": 1} if smoke else {}, device=device)
    test = load_splits(trained.config).test().to(device)
    if smoke:
        test = LabelledImages(test.images[:40], test.targets[:40])
    common: dict[str, Any] = {
        "rounds": 0 if smoke else given.rounds, "most_steps": 3 if smoke else 1000
    }  # fmt: skip
    found += rows(
        trained.name, trained.model, test, eps=trained.config.attack.eps, batch_size=500, **common
    )
    noise = noise_images(
        width=given.width, images=8 if smoke else given.images, batch_size=8, device=device
    )
    found += rows(
        noise.name, noise.model, noise.val, eps=8 / 255, batch_size=given.batch, **common
    )
    return {**circumstances(device), "smoke": smoke, "rounds": common["rounds"], "attacks": found}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here")
    parser.add_argument("--rounds", type=int, default=3, help="turns after the warm-up")
    parser.add_argument("--images", type=int, default=100, help="32x32 noise images")
    parser.add_argument("--batch", type=int, default=100, help="of 32x32 images")
    parser.add_argument("--width", type=int, default=None, help="of the ResNet-18; GPU 64, CPU 16")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    if given.width is None:
        given.width = 4 if given.smoke else 64 if given.device.startswith("cuda") else 16
    prepare_process(given.threads)
    found = measure(given)
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    console = Console(highlight=False, width=190)
    console.print(table_of(found["attacks"]), "")
    console.print(line_of(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
