"""The sections of `bench_gpu.py`, each run as `gpu_sections.py NAME OPTIONS RESULT`.

They import the package, torch and pydantic, and nothing else: no ray, no mlflow, no rich. A
section writes its result again after each row, so that a limit costs only what it did not reach.
"""

from __future__ import annotations

import json
import statistics
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.attacks.replays import CUDAGraphs
from ltat_tune.attacks.shaped_replays import RecordedAttacks
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.batches import evaluation_batches, to_unit
from ltat_tune.data.datasets import LabelledImages, Splits, load_splits
from ltat_tune.data.long_tail import profile_counts
from ltat_tune.files import write_text
from ltat_tune.methods import METHODS
from ltat_tune.models.arithmetic import computing_on, described
from ltat_tune.provenance import commit, machine
from ltat_tune.seeding import prepare_process
from ltat_tune.training.checkpoint import save_checkpoint
from ltat_tune.training.evaluation import measure_accuracy, validate
from ltat_tune.training.fit_result import EpochMetrics
from ltat_tune.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a script finds `scripts`
from scripts.step_together import seconds_at_once

REAT: dict[str, object] = {
    "data.name": "cifar10", "data.imbalance_ratio": 50, "model.name": "resnet18",
    "method.name": "reat",
}  # fmt: skip
TINY: dict[str, object] = {
    "model.width": 4, "optim.batch_size": 16, "attack.steps": 2, "evaluation.val_attack": "pgd2",
    "evaluation.batch_size": 32,
}  # fmt: skip
EPOCH_S = 1.5  # an epoch of REAT with its validation, on one H200
PACKING = 1.3  # two trainings on it, against one
DETERMINISM = 1.05  # what deterministic kernels may cost


@dataclass
class Section:
    """One section: its sizes, its device and what it has found."""

    out: Path
    smoke: bool
    device: torch.device
    images: str | None
    ends: float
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        """Whether there is a GPU; a rehearsal on a CPU has none."""
        return self.device.type == "cuda"

    @property
    def left_s(self) -> float:
        """Seconds until its limit."""
        return self.ends - time.monotonic()

    def config(self, **values: object) -> TrialConfig:
        """REAT's configuration with other values; `__` stands for the dot."""
        given = {name.replace("__", "."): value for name, value in values.items()}
        return TrialConfig.from_flat({**REAT, **(TINY if self.smoke else {}), **given})

    def note(self, **values: Any) -> None:
        """Add to the result, and write it."""
        self.found |= values
        # whole, if the section is stopped meanwhile
        write_text(self.out, json.dumps(self.found, indent=1), sync=False)

    def add(self, **row: Any) -> None:
        """Add a row to the result, and write it."""
        self.note(rows=[*self.found.get("rows", []), row])

    def verdict(self, passed: bool, rule: str) -> None:
        """Say whether the section passed, and by which rule."""
        self.note(passed=bool(passed), rule=rule)

    @cached_property
    def splits(self) -> Splits:
        """Noise of CIFAR-10's size with the counts of ratio 50; a few images in a rehearsal."""
        config = self.config()
        held = config.data.val_per_class
        counts = profile_counts("exp", [5000 - held] * 10, imbalance_ratio=50)
        return noise([5] * 10, 2) if self.smoke else noise(counts, held)

    def wait(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, task: Callable[[], object], times: int) -> float:
        """Median seconds of a task, after one that is not counted."""
        measured = []
        for turn in range(times + 1):
            self.wait()
            began = time.perf_counter()
            task()
            self.wait()
            if turn > 0:
                measured.append(time.perf_counter() - began)
        return statistics.median(measured)


def noise(counts: list[int], held: int) -> Splits:
    """Images of noise: training images by class, and `held` of each class to validate and test."""
    generator = torch.Generator().manual_seed(0)

    def some(number: list[int]) -> LabelledImages:
        targets = torch.repeat_interleave(torch.arange(10), torch.tensor(number))
        shape = (len(targets), 3, 32, 32)
        return LabelledImages(
            torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator), targets
        )

    train, val, test = some(counts), some([held] * 10), some([held] * 10)
    return Splits(train, val, lambda: test, tuple("0123456789"), "noise")


def trained(
    section: Section, config: TrialConfig, splits: Splits | None = None
) -> tuple[Trainer, Any, list[EpochMetrics]]:
    """A trainer, its result, and its epochs."""
    epochs: list[EpochMetrics] = []
    trainer = Trainer(config, splits=splits or section.splits, device=section.device)
    result = trainer.fit(epochs.append)
    return trainer, result, epochs


def graphs(section: Section) -> None:
    """Graphs against plain launches by network, BatchNorm mode and precision; all methods."""
    few = noise([40, 24, 16, 12, 8, 8, 8, 8, 8, 8], 4)  # 140 images: 8 whole batches of 16 and 12
    small: dict[str, object] = {"optim__epochs": 2, "optim__batch_size": 16, "attack__steps": 3,
                                "evaluation__val_attack": "pgd2"}  # fmt: skip
    equal = True
    networks = ("small_cnn", "resnet18", "preact_resnet18", "wrn28_10")
    for network in networks[:1] if section.smoke else networks:
        for mode in ("eval", "train", "batch"):
            for precision in ("fp32", "bf16"):
                values = {**small, "model__name": network, "attack__bn_mode": mode,
                          "compute__precision": precision}  # fmt: skip
                if network.startswith("wrn"):
                    values["model__width"] = 32
                names = {"network": network, "bn_mode": mode, "precision": precision}
                equal &= _same_with_graphs(section, few, values, **names)
    others: dict[str, dict[str, object]] = {
        name: {"method__name": name, **({"model__head": "cosine"} if name == "robal" else {})}
        for name in METHODS
    } | {
        "margins": {"attack__objective": "margin", "evaluation__val_attack": "cw2"},
        "BRW": {"attack__bn_mode": "batch", "attack__reweight": "balanced_softmax"},
        "policy": {"data__policy": "randaugment"},
    }
    for name, more in others.items():
        equal &= _same_with_graphs(section, few, {**small, **more}, training=name)
    section.verdict(equal, "graphs and plain launches train to the same loss within 1e-3, all "
                    "attacks are recorded, and every method trains two epochs")  # fmt: skip


def _same_with_graphs(
    section: Section, few: Splits, values: dict[str, object], **names: str
) -> bool:
    """Whether a training records its attack and has the loss of plain launches; adds a row."""
    results = [
        trained(section, section.config(**values, compute__graphs=g), few) for g in ("auto", "off")
    ]
    (one, first, _), (_, second, _) = results
    same = first.weights == second.weights and one.note == ""
    # a batch that is filled up may round otherwise; its accuracies may not differ
    near = abs(first.metrics["train/loss"] - second.metrics["train/loss"])
    section.add(**names, equal=same, loss_difference=near, note=one.note)
    return near < 1e-3 and one.note == ""


def epochs(section: Section) -> None:
    """Seconds of an epoch by precision and graphs; idle share, kernels and waits of the first."""
    number = 2 if section.smoke else 3
    # the default first: it is what the rule is about
    kinds: list[tuple[str, str, str, str]] = [
        ("bf16", "exact", "auto", "auto"), ("bf16", "exact", "off", "auto"),
        ("fp32", "exact", "auto", "auto"), ("fp32", "tf32", "auto", "auto"),
    ]  # fmt: skip
    for precision, float32, recorded, deterministic in kinds:
        if (
            section.found.get("rows")
            and section.left_s < 3 * number * section.found["rows"][0]["epoch_s"]
        ):
            break
        config = section.config(
            optim__epochs=number, compute__precision=precision, compute__float32=float32,
            compute__graphs=recorded, compute__deterministic=deterministic,
        )  # fmt: skip
        trainer, _, done = trained(section, config)
        section.add(precision=precision, float32=float32, graphs=recorded,
                    epoch_s=min(epoch.seconds for epoch in done[1:]), first_s=done[0].seconds,
                    note=trainer.note)  # fmt: skip
    profile = profiled(section)
    section.note(**profile)
    best = section.found["rows"][0]["epoch_s"]
    steps = -(-len(section.splits.train) // section.config().optim.batch_size)
    section.note(steps=steps)
    section.verdict(
        (section.smoke or best <= EPOCH_S) and profile.get("waits", 0) < steps,
        f"an epoch with its validation takes at most {EPOCH_S} s, and no step waits for the GPU",
    )


def profiled(section: Section) -> dict[str, Any]:
    """One epoch after the first: share of the time without a kernel, kernels, waits of the CPU."""
    from torch.profiler import ProfilerActivity, profile

    config = section.config(optim__epochs=3, compute__precision="bf16",
                            evaluation__every_epochs=3)  # fmt: skip
    found: dict[str, Any] = {}
    activities = [ProfilerActivity.CUDA if section.cuda else ProfilerActivity.CPU]
    watching = profile(activities=activities)
    seen: list[str] = []

    def on_epoch(done: EpochMetrics) -> None:
        section.wait()
        if done.epoch == 1:
            if section.cuda:
                torch.cuda.set_sync_debug_mode("warn")
            watching.__enter__()
        elif done.epoch == 2:
            watching.__exit__(None, None, None)
            found["profiled_s"] = done.seconds
            if section.cuda:
                torch.cuda.set_sync_debug_mode("default")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Trainer(config, splits=section.splits, device=section.device).fit(on_epoch)
    seen = [str(w.message) for w in caught if "synchroniz" in str(w.message)]
    events = watching.events() or []
    kernels = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.device_time for e in kernels) / 1e6 if section.cuda else 0.0
    return found | {"kernels": len(kernels), "busy_s": busy, "waits": len(seen),
                    "idle_share": 1 - busy / found["profiled_s"]}  # fmt: skip


def determinism(section: Section) -> None:
    """The same seed twice, with deterministic kernels and without; what they cost."""
    number = 2 if section.smoke else 3
    for deterministic in ("auto", "off"):
        config = section.config(optim__epochs=number, compute__deterministic=deterministic)
        runs = [trained(section, config) for _ in range(2)]
        section.add(deterministic=deterministic,
                    equal=runs[0][1].weights == runs[1][1].weights,
                    epoch_s=min(e.seconds for _, _, done in runs for e in done[1:]))  # fmt: skip
    on, off = section.found["rows"]
    cost = on["epoch_s"] / off["epoch_s"]
    section.note(cost=cost)
    quick = section.smoke or cost <= DETERMINISM
    section.verdict(
        on["equal"] and quick,
        "with deterministic kernels two trainings have equal weights, and they take at most "
        f"{DETERMINISM} times as long",
    )


def costs(section: Section) -> None:
    """A validation with 60 % and with all images right, and a checkpoint, against an epoch.

    Validations run with graphs and without, which must give the same answers.
    """
    trainer, _, done = trained(section, section.config(optim__epochs=2))
    epoch_s = done[-1].seconds
    times = 1 if section.smoke else 5
    equal = True
    with computing_on(section.device, trainer.config.compute):
        for share in (0.6, 1.0):
            val = right_on(trainer.model, section.splits.val.to(section.device), share)
            answers: list[Tensor] = []
            recorded = RecordedAttacks.on(section.device, trainer.config.compute)
            for how, replays in (("", None), (", graphs", recorded.validation)):
                validated = partial(
                    validate, trainer.model, val, trainer.config, trainer.groups, replays=replays
                )
                took = section.seconds(validated, times)
                answers.append(validated().answers)
                section.add(what=f"validation, {share:.0%} right{how}", seconds=took,
                            of_epoch=took / epoch_s)  # fmt: skip
            equal = equal and torch.equal(*answers)
            section.note(not_recorded=recorded.note)
            recorded.release()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        took = section.seconds(lambda: save_checkpoint(path, trainer.state_dict()), times)
        section.add(what="checkpoint", seconds=took, of_epoch=took / epoch_s,
                    mib=path.stat().st_size / 2**20)  # fmt: skip
    section.verdict(equal and not section.found["not_recorded"],
                    "validations with graphs and without give the same answers")  # fmt: skip


def right_on(model: nn.Module, data: LabelledImages, share: float) -> LabelledImages:
    """The images with labels by which the model is right on this share of them."""
    training = model.training
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(x).argmax(1) for x, _ in evaluation_batches(data, 500)])
    model.train(training)
    wrong = torch.arange(len(answers), device=answers.device) >= share * len(answers)
    return LabelledImages(data.images, (answers + wrong) % 10)


def tf32(section: Section) -> None:
    """How many predictions, clean and under PGD-20, another float32 product changes."""
    trainer, result, _ = trained(section, section.config(optim__epochs=2))
    attack = "pgd2" if section.smoke else "pgd20"
    data = right_on(result.model, section.splits.train.to(section.device), 1.0)
    part = LabelledImages(data.images[:2000], data.targets[:2000])
    counted = {}
    for float32 in ("exact", "tf32"):
        config = section.config(compute__float32=float32)
        with computing_on(section.device, config.compute):
            for name in ("clean", attack):
                accuracy = measure_accuracy(
                    result.model, part, name, config, split="test", classes=10
                )
                counted[name, float32] = sum(accuracy.right)
    for name in ("clean", attack):
        section.add(attack=name, images=len(part), exact=counted[name, "exact"],
                    tf32=counted[name, "tf32"])  # fmt: skip
    section.verdict(True, "it is measured")


def packing(section: Section) -> None:
    """Whole epochs of one to four trainings at once on the GPU, against one."""
    options = {"smoke": section.smoke, "device": str(section.device), "images": None,
               "limit_s": section.left_s, "epochs": 2 if section.smoke else 4}  # fmt: skip
    command = [sys.executable, __file__, "trains", json.dumps(options), ""]
    for at_once in (1, 2) if section.smoke else (1, 2, 3, 4):
        if section.found.get("rows") and section.left_s < 25:
            break
        took = seconds_at_once(command, at_once)
        rows = section.found.get("rows", [])
        epochs_s = at_once * options["epochs"] / took
        section.add(at_once=at_once, epochs_per_s=epochs_s,
                    times_one=epochs_s / rows[0]["epochs_per_s"] if rows else 1.0)  # fmt: skip
    rule = f"two trainings do at least {PACKING} times what one does"
    two = [row["times_one"] for row in section.found["rows"] if row["at_once"] == 2]
    section.verdict(bool(two) and (section.smoke or two[0] >= PACKING), rule)


def trains(section: Section, number: int) -> None:
    """One training of `packing`: two epochs to warm up, the word to go, then those that count."""

    def on_epoch(done: EpochMetrics) -> None:
        section.wait()
        if done.epoch == 2:
            print("ready", flush=True)
            if not sys.stdin.readline():  # the one who told is gone
                raise SystemExit(1)

    config = section.config(optim__epochs=2 + number)
    Trainer(config, splits=section.splits, device=section.device).fit(on_epoch)
    section.wait()
    print("done", flush=True)


def memory(section: Section) -> None:
    """Memory over ten epochs and three trainings; out of memory, and a training afterwards."""
    if not section.cuda:
        section.verdict(True, "it needs a GPU")
        return
    config = section.config(optim__epochs=10, evaluation__every_epochs=10)
    few = noise([200] * 10, 10)
    levels: list[list[float]] = []
    for _ in range(3):
        mib: list[float] = []
        trainer = Trainer(config, splits=few, device=section.device)
        trainer.fit(lambda done, mib=mib: mib.append(torch.cuda.memory_allocated() / 2**20))
        levels.append(mib)
        del trainer
        torch.cuda.empty_cache()
    section.note(allocated_mib=levels, peak_mib=torch.cuda.max_memory_reserved() / 2**20)
    steady = max(abs(mib[-1] - mib[2]) for mib in levels) < 8
    leaks = levels[2][-1] - levels[0][-1]
    section.note(steady=steady, leak_mib=leaks)
    recovered = {name: recovers(section, few, name) for name in ("outside", "inside")}
    section.note(recovered=recovered)
    section.verdict(steady and leaks < 8 and all(recovered.values()), "memory does not grow, and "
                    "a training succeeds after one that ran out of it")  # fmt: skip


def recovers(section: Section, few: Splits, where: str) -> bool:
    """Whether a training runs out of memory as it should, and the next one succeeds."""
    config = section.config(optim__epochs=2)
    total = torch.cuda.get_device_properties(section.device).total_memory
    record = CUDAGraphs.record

    def limited() -> None:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # a recording begins so, and would then have room
        share = torch.cuda.memory_reserved() / total + 1e-4
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))

    def record_limited(self: CUDAGraphs, run: Any, out: Tensor) -> Any:
        limited()
        return record(self, run, out)

    failed = False
    try:
        if where == "inside":
            CUDAGraphs.record = record_limited  # type: ignore[method-assign]
        else:
            limited()
        Trainer(config, splits=few, device=section.device).fit()
    except torch.OutOfMemoryError:
        failed = True
    finally:
        CUDAGraphs.record = record  # type: ignore[method-assign]
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    _, result, _ = trained(section, config, few)
    return failed and result.metrics["train/loss"] > 0


def attacks(section: Section) -> None:
    """AutoAttack on 500 images by its parts, and WRN-34-10: seconds of a step, and memory."""
    _, result, _ = trained(section, section.config(optim__epochs=1))
    number = 8 if section.smoke else 500
    data = right_on(result.model, section.splits.train.to(section.device), 1.0)
    images, targets = to_unit(data.images[:number]), data.targets[:number]
    try:
        from pyautoattack import AutoAttack

        for part in ("apgd-ce", "apgd-t", "fab-t", "square"):
            adversary = AutoAttack(
                result.model, norm="Linf", eps=8 / 255, seed=0, version="standard",
                device=section.device,
            )  # fmt: skip
            adversary.attacks_to_run = [part]
            if section.smoke:
                for short in (adversary.apgd, adversary.apgd_targeted, adversary.fab):
                    short.n_iter = 1
                adversary.square.n_queries = 2
            began = time.perf_counter()
            with computing_on(section.device, section.config().compute):
                adversary.run_standard_evaluation(images.clone(), targets.clone(), batch_size=500)
            section.wait()
            section.add(part=part, images=number, seconds=time.perf_counter() - began)
    except ImportError:
        section.note(autoattack="pyautoattack is not in the folder of wheels")
        section.verdict(False, "pyautoattack is there")
        return
    width = {"model__width": 16} if section.smoke else {}
    if section.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    size = section.config().optim.batch_size
    steps = 4 if section.smoke else 24
    few = noise([max(2, steps * size // 10)] * 10, 2)
    config = section.config(model__name="wrn34_10", optim__epochs=2, evaluation__every_epochs=2,
                            **width)  # fmt: skip
    done: list[EpochMetrics] = []
    Trainer(config, splits=few, device=section.device).fit(done.append)
    section.note(wrn34_10_step_s=done[0].seconds / steps)
    if section.cuda:
        section.note(wrn34_10_peak_mib=torch.cuda.max_memory_reserved() / 2**20)
    section.verdict(True, "it is measured")


def training(section: Section) -> None:
    """REAT and PGD-AT with balanced softmax on photographs, as many epochs as the time allows."""
    section.note(published=published())
    with tempfile.TemporaryDirectory() as folder:
        splits = section.splits
        if section.images is not None:
            with tarfile.open(section.images) as archive:
                archive.extractall(folder, filter="data")
            splits = load_splits(
                section.config(data__name="image_folder", data__root=folder, data__image_size=32)
            )
        kinds = {
            "REAT": {}, "AT-BSL": {"method__name": "pgd_at", "loss__name": "balanced_softmax"},
        }  # fmt: skip
        test = splits.test().to(section.device)
        attack = "pgd2" if section.smoke else "pgd20"
        for left, (name, values) in zip((2, 1), kinds.items(), strict=True):
            quick: list[EpochMetrics] = []
            tried = section.config(optim__epochs=2, evaluation__every_epochs=2, **values)
            Trainer(tried, splits=splits, device=section.device).fit(quick.append)
            each = min(done.seconds for done in quick)
            number = max(2, min(80, int(0.75 * section.left_s / left / each)))
            number = 2 if section.smoke else number
            config = section.config(
                optim__epochs=number, evaluation__every_epochs=number, **values
            )
            _, result, done = trained(section, config, splits)
            row: dict[str, Any] = {"name": name, "epochs": number, "of": 80,
                                   "seconds": sum(one.seconds for one in done)}  # fmt: skip
            with computing_on(section.device, config.compute):
                for one in ("clean", attack):
                    accuracy = measure_accuracy(
                        result.model, test, one, config, split="test", classes=10
                    )
                    row[one] = 100 * sum(accuracy.right) / sum(accuracy.total)
            section.add(**row)
    section.verdict(
        section.smoke or all(row["clean"] > 30 for row in section.found["rows"]),
        "both learn: more than 30 % of the test images are right",
    )


def published() -> list[dict[str, str]]:
    """REAT's rows of CIFAR-10 at ratio 50 with balanced softmax, in percent."""
    import csv

    import ltat_tune

    path = Path(ltat_tune.__file__).parent / "comparison" / "published_results.csv"
    with open(path) as file:
        return [
            row for row in csv.DictReader(file)
            if (row["source"], row["ratio"]) == ("REAT Table 1", "50")
            and (row["dataset"], row["loss"]) == ("cifar10", "balanced-softmax")
            and row["attack"] in ("clean", "pgd20") and row["group"] == "all"
        ]  # fmt: skip


RUNS: dict[str, Callable[[Section], None]] = {
    "graphs": graphs, "epochs": epochs, "determinism": determinism, "costs": costs, "tf32": tf32,
    "packing": packing, "memory": memory, "attacks": attacks, "training": training,
}  # fmt: skip


def main(name: str, options: dict[str, Any], out: Path) -> None:
    prepare_process(1 if options["smoke"] else 4)
    device = torch.device(options["device"])
    section = Section(
        out, options["smoke"], device, options["images"], time.monotonic() + options["limit_s"]
    )
    if name == "trains":
        trains(section, options["epochs"])
        return
    section.note(
        arithmetic=described(device, "bf16", section.config().compute), machine=machine(),
        commit=commit(), torch=torch.__version__, python=sys.version.split()[0],
    )  # fmt: skip
    RUNS[name](section)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]))
