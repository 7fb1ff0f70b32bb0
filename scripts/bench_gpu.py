#!/usr/bin/env python
"""Everything that needs a GPU, in one command of less than nine minutes, without ray.

    python scripts/bench_gpu.py --json bench_gpu.json [--data cifar10/] [--limit-s 520]
    python scripts/bench_gpu.py --smoke                 # on a CPU: does it run, end to end?

REAT on CIFAR-10 at imbalance ratio 50, ResNet-18, batch 128, PGD-10. In this order, each part left
out where its time is not there any more:

checks: bfloat16 and CUDA graphs against the plain float32 step: losses, gradients, images.
breakdown: milliseconds of each piece of a step, and of a step without graphs and in float32.
epoch: a whole epoch by `Trainer`, without and with validation, and memory.
packing: 1 to 4 trainings at once as processes, images per second, utilisation, memory.
wrn34_10: steps of WRN-34-10, scaled to an epoch.
evaluation: PGD and CW against torchattacks, where that is installed.

Images are noise of CIFAR-10's size and counts, unless a folder of CIFAR-10 is given: time depends
on their number and size alone. A trained model is right on more validation images than a new one,
and only those are attacked, so validation is timed with 60 % and with all of them right.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltat_tune.attacks.balls import first_images
from ltat_tune.attacks.training import PGDAttack, build_attack
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import evaluation_batches, to_unit, training_batches
from ltat_tune.data.datasets import LabelledImages, Splits, load_splits
from ltat_tune.data.long_tail import profile_counts
from ltat_tune.losses import TailLoss
from ltat_tune.models import Classifier, build_model, prepare_model
from ltat_tune.seeding import new_generator, prepare_process
from ltat_tune.training.evaluation import measure_accuracy
from ltat_tune.training.optim import build_optimizer
from ltat_tune.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from scripts.bench_timing import circumstances
from scripts.step_reference import OurStep, agreement, stepping
from scripts.step_together import throughputs

REAT: dict[str, object] = {
    "data.name": "cifar10", "data.imbalance_ratio": 50, "model.name": "resnet18",
    "method.name": "reat",
}  # fmt: skip
TINY: dict[str, object] = {
    "model.width": 4, "optim.batch_size": 16, "attack.steps": 2, "evaluation.val_attack": "pgd2"
}  # fmt: skip
RIGHT = (0.6, 1.0)


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    config: TrialConfig
    given: dict[str, object]
    splits: Splits
    device: torch.device
    rounds: int
    deadline: float
    smoke: bool

    @property
    def counts(self) -> Tensor:
        """Training images per class on the device, (K,)."""
        return self.splits.samples_per_class.to(self.device)

    def model(self, config: TrialConfig | None = None) -> Classifier:
        """A new network on the device."""
        built = build_model((config or self.config).model, in_channels=3, num_classes=10)
        return built.to(self.device)

    def batch(self, size: int | None = None) -> tuple[Tensor, Tensor]:
        """The first batch of the training images, shuffled."""
        order = torch.randperm(len(self.splits.train), generator=new_generator(0, "batches"))
        some = order[: size or self.config.optim.batch_size]
        train = self.splits.train
        images = to_unit(train.images[some].to(self.device))
        return images, train.targets[some].to(self.device)

    def seconds(self, task: Callable[[], object], *, warm_up: int = 2) -> list[float]:
        """Wall seconds of the task, `rounds` times, the device idle before and after."""
        for _ in range(warm_up):
            task()
        found = []
        for _ in range(max(1, self.rounds)):
            self.wait()
            began = time.perf_counter()
            task()
            self.wait()
            found.append(time.perf_counter() - began)
        return found

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def synthetic(config: TrialConfig, *, smoke: bool) -> Splits:
    """Noise of CIFAR-10's shape, its long-tailed counts and its hold-out; a few where `smoke`."""
    held = config.data.val_per_class
    counts = profile_counts("exp", [5000 - held] * 10, imbalance_ratio=config.data.imbalance_ratio)
    per_class, val = ([5] * 10, 1) if smoke else (counts, held)
    generator = torch.Generator().manual_seed(0)

    def images(number: list[int]) -> LabelledImages:
        targets = torch.repeat_interleave(torch.arange(10), torch.tensor(number))
        drawn = torch.randint(
            0, 256, (len(targets), 3, 32, 32), dtype=torch.uint8, generator=generator
        )
        return LabelledImages(drawn, targets)

    train, held_out, test = images(per_class), images([val] * 10), images([val] * 10)
    return Splits(train, held_out, lambda: test, tuple("0123456789"), "synthetic")


def _spread(seconds: list[float]) -> dict[str, float]:
    return {"median_s": statistics.median(seconds), "lowest_s": min(seconds),
            "highest_s": max(seconds)}  # fmt: skip


def checks(bench: Bench) -> dict[str, Any]:
    """Numbers before times: every fast path against the plain float32 step."""
    images, targets = bench.batch()
    start = bench.model()
    plain = bench.config.replace({"compute.graphs": "off"})
    exact = OurStep(deepcopy(start), plain, bench.counts, "fp32")
    coarse = OurStep(deepcopy(start), plain, bench.counts, "bf16")
    for step in (exact, coarse):
        step(images, targets, torch.Generator().manual_seed(7))
    found: dict[str, Any] = {"bf16_against_fp32": agreement(coarse, exact)}
    for precision in ("fp32", "bf16"):
        found[f"graphs_{precision}"] = _graphs_against_plain(bench, start, precision)
    return found


def _graphs_against_plain(bench: Bench, start: Classifier, precision: str) -> dict[str, Any]:
    """Images of replayed attacks, a padded batch among them, and of plain ones."""
    model = deepcopy(start)
    prepare_model(model, precision, bench.device)
    attack = build_attack(bench.config, bench.counts)
    assert isinstance(attack, PGDAttack)
    plain = replace(attack, recorder=None)
    noises = [torch.Generator().manual_seed(3) for _ in range(2)]
    size = bench.config.optim.batch_size
    rows = []
    for number in (size, size, size, max(2, size // 3)):
        images, targets = bench.batch(number)
        one = attack(model, images, targets, generator=noises[0])
        other = plain(model, images, targets, generator=noises[1])
        rows.append({
            "images": number, "largest_difference": (one - other).abs().max().item(),
            "pixels_that_differ": (one != other).float().mean().item(),
        })  # fmt: skip
        with torch.no_grad():  # a replay must read the weights of now
            model.head.weight.mul_(1.1)
    return {"recorded": attack.recorder is not None, "batches": rows}


def breakdown(bench: Bench) -> list[dict[str, Any]]:
    """Each piece of a step by itself, and whole steps with and without graphs and bfloat16."""
    images, targets = bench.batch()
    config, counts = bench.config, bench.counts
    precision = Trainer(config, splits=bench.splits, device=bench.device).precision
    rows = []

    def note(name: str, seconds: list[float]) -> None:
        rows.append({"piece": name, **_spread(seconds)})

    for graphs in ("auto", "off"):
        for kind in dict.fromkeys((precision, "fp32")):
            changed = config.replace({"compute.graphs": graphs})
            step = OurStep(bench.model(), changed, counts, kind)
            note(f"step, {kind}, graphs {graphs}", bench.seconds(stepping(step, images, targets)))
    model = bench.model()
    prepare_model(model, precision, bench.device)
    attack, noise = build_attack(config, counts), torch.Generator().manual_seed(1)
    note(
        "attack",
        bench.seconds(lambda: attack(model, images, targets, generator=noise)),
    )
    note(
        "noise of the attack, drawn on the CPU",
        bench.seconds(
            lambda: first_images(images, 8 / 255, start="uniform", norm="linf", generator=noise)
        ),
    )
    optimizer = build_optimizer(config.optim, model)
    tail = TailLoss(counts).to(bench.device)

    def forward_backward() -> None:
        logits, features = model.train().forward_with_features(images)
        loss = torch.nn.functional.cross_entropy(logits, targets) + tail(features, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()

    note("forward and backward of the loss", bench.seconds(forward_backward))
    note("optimiser", bench.seconds(optimizer.step))
    with torch.no_grad():
        features = model.train().forward_with_features(images)[1]
    note("TAIL alone, forward", bench.seconds(lambda: tail(features, targets)))
    train = bench.splits.train.to(bench.device)
    batches = new_generator(0, "batches")

    def augmented() -> None:
        for _ in training_batches(
            train, config.optim.batch_size, config=config.data, generator=batches
        ):
            pass

    each = -(-len(train) // config.optim.batch_size)
    note("augmentation, a batch", [s / each for s in bench.seconds(augmented, warm_up=1)])
    return rows


def epoch(bench: Bench) -> dict[str, Any]:
    """Whole epochs by the trainer itself, then validations of its model."""
    epochs = 2 if bench.smoke else 5
    config = bench.config.replace({
        "optim.epochs": epochs, "evaluation.every_epochs": epochs,
    })  # fmt: skip
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    seconds: list[float] = []
    trainer = Trainer(config, splits=bench.splits, device=bench.device)
    trainer.fit(lambda done: seconds.append(done.seconds))
    training = statistics.median(seconds[1:-1] or seconds[:1])
    prepare_model(trainer.model, trainer.precision, bench.device)  # as while it trains
    found: dict[str, Any] = {
        "precision": trainer.precision, "training_images": len(bench.splits.train),
        "first_epoch_s": seconds[0], "epoch_s": training, "epochs_s": seconds,
    }  # fmt: skip
    if bench.device.type == "cuda":
        mib = 2**20
        found["peak_allocated_mib"] = torch.cuda.max_memory_allocated(bench.device) / mib
        found["peak_reserved_mib"] = torch.cuda.max_memory_reserved(bench.device) / mib
    for share in RIGHT:
        val = _right_on(trainer.model, bench.splits.val.to(bench.device), share)

        def validate(val: LabelledImages = val) -> None:
            for attack in ("clean", config.evaluation.val_attack):
                measure_accuracy(trainer.model, val, attack, config, split="val", classes=10)

        took = bench.seconds(validate, warm_up=1)
        found[f"validation_{share:.0%}_right"] = {
            **_spread(took), "share_of_epoch": statistics.median(took) / training,
        }  # fmt: skip
    return found


def _right_on(model: Classifier, data: LabelledImages, share: float) -> LabelledImages:
    """The images with labels by which the model is right on this share of them."""
    training = model.training
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(x).argmax(1) for x, _ in evaluation_batches(data, 500)])
    model.train(training)
    wrong = torch.arange(len(answers), device=answers.device) >= share * len(answers)
    return LabelledImages(data.images, (answers + wrong) % 10)


@contextmanager
def gpu_watched() -> Iterator[dict[str, list[float]]]:
    """Utilisation in percent and memory in MiB as nvidia-smi tells them, twice a second."""
    seen: dict[str, list[float]] = {"utilisation_percent": [], "memory_mib": []}
    over = threading.Event()
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used",
             "--format=csv,noheader,nounits", "-i", "0"]  # fmt: skip

    def watch() -> None:
        while not over.wait(0.5):
            try:
                told = subprocess.run(query, capture_output=True, text=True, timeout=5)
                use, memory = (float(v) for v in told.stdout.strip().split(","))
            except (OSError, ValueError, subprocess.TimeoutExpired):
                return  # no nvidia-smi, or one that does not say
            seen["utilisation_percent"].append(use)
            seen["memory_mib"].append(memory)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def packing(bench: Bench) -> list[dict[str, Any]]:
    """So many trainings at once, against one."""
    config = bench.config
    job = {
        "config": bench.given, "batch_size": config.optim.batch_size,
        "steps": 1 if bench.smoke else 150, "threads": 1, "device": str(bench.device),
        "precision": Trainer(config, splits=bench.splits, device=bench.device).precision,
        "counts": bench.splits.samples_per_class.tolist(),
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for at_once in (1, 2) if bench.smoke else (1, 2, 3, 4):
        if time.monotonic() > bench.deadline - 60 and rows:
            break
        with gpu_watched() as seen:
            (row,) = throughputs(job, (at_once,), 1)
        busy = seen["utilisation_percent"][-6:]  # the steps come last, after the start
        rows.append({
            **row,
            "times_one": row["images_per_s"] / (rows[0]["images_per_s"] if rows
                                                else row["images_per_s"]),
            "utilisation_percent": statistics.mean(busy) if busy else None,
            "memory_mib": max(seen["memory_mib"], default=None),
        })  # fmt: skip
    return rows


def wrn34_10(bench: Bench) -> dict[str, Any]:
    """Steps of WRN-34-10 on whole batches, and an epoch of so many."""
    width = {"model.width": 16} if bench.smoke else {"model.width": None}
    config = TrialConfig.from_flat({**bench.given, "model.name": "wrn34_10", **width})
    images, targets = bench.batch()
    precision = Trainer(config, splits=bench.splits, device=bench.device).precision
    step = OurStep(bench.model(config), config, bench.counts, precision)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    found = _spread(bench.seconds(stepping(step, images, targets)))
    batches = -(-len(bench.splits.train) // config.optim.batch_size)
    told = {"precision": precision, **found, "steps_an_epoch": batches,
            "epoch_s_by_steps": batches * found["median_s"]}  # fmt: skip
    if bench.device.type == "cuda":
        told["peak_reserved_mib"] = torch.cuda.max_memory_reserved(bench.device) / 2**20
    return told


def evaluation(bench: Bench) -> list[dict[str, Any]] | str:
    """Against torchattacks, all images right that a new network can be said to be right on."""
    if importlib.util.find_spec("torchattacks") is None:
        return "torchattacks is not installed"
    from scripts.bench_evaluation import rows

    model = bench.model()
    if bench.device.type == "cuda":
        prepare_model(model, "fp32", bench.device)
    train = bench.splits.train
    number = 16 if bench.smoke else 2000
    data = LabelledImages(train.images[:number], train.targets[:number]).to(bench.device)
    return rows(
        "ResNet-18 on noise, 60 % right", model, _right_on(model, data, 0.6), eps=8 / 255,
        rounds=0 if bench.smoke else 2, batch_size=500, most_steps=2 if bench.smoke else 1000,
    )  # fmt: skip


PARTS: dict[str, Callable[[Bench], Any]] = {
    "checks": checks,
    "breakdown": breakdown,
    "epoch": epoch,
    "packing": packing,
    "wrn34_10": wrn34_10,
    "evaluation": evaluation,
}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All parts that there is time for; one that fails says so and the others go on."""
    device = torch.device(given.device)
    flat: dict[str, object] = {**REAT, **(TINY if given.smoke else {})}
    config = TrialConfig.from_flat(flat)
    if given.data is None:
        splits = synthetic(config, smoke=given.smoke)
    else:
        splits = load_splits(config.replace({"data.root": str(given.data)}))
    began = time.monotonic()
    bench = Bench(config, flat, splits, device, given.rounds, began + given.limit_s, given.smoke)
    found: dict[str, Any] = {
        **circumstances(device), "smoke": given.smoke, "rounds": bench.rounds,
        "images": "noise" if given.data is None else "cifar10",
    }  # fmt: skip
    for name, part in PARTS.items():
        if given.only not in (None, name):
            continue
        if time.monotonic() > bench.deadline - (0 if given.smoke else 30):
            found[name] = "left out: no time left"
            continue
        start = time.monotonic()
        try:
            found[name] = part(bench)
        except Exception as error:  # the other parts are still worth their time
            found[name] = f"failed: {type(error).__name__}: {error}"
        found[f"{name}_took_s"] = round(time.monotonic() - start, 1)
        print(f"{name}: {found[f'{name}_took_s']} s", file=sys.stderr, flush=True)
        if given.json is not None:  # what is measured stays, whatever happens next
            given.json.write_text(json.dumps(found, indent=1) + "\n")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it here too")
    parser.add_argument("--data", type=Path, help="a folder of CIFAR-10, instead of noise")
    parser.add_argument("--only", choices=tuple(PARTS), help="one part")
    parser.add_argument("--rounds", type=int, default=None, help="timings of each task; 20")
    parser.add_argument("--limit-s", type=float, default=480.0, help="no part begins later")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    if given.rounds is None:
        given.rounds = 1 if given.smoke else 20
    if given.device == "cpu" and not given.smoke:
        parser.error("there is no GPU here; --smoke runs it on a CPU, with nothing to quote")
    prepare_process(1 if given.smoke else 8)
    found = measure(given)
    print(json.dumps(found, indent=1))
    failed = [n for n in PARTS if isinstance(found.get(n), str) and found[n].startswith("failed")]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
