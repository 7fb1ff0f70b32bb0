"""Estimates what one configuration takes by a rule of thumb: time, memory, disk. Trains nothing.

Work is counted in passes. A pass is one attack step on one image: a forward and a backward pass to
the pixels, as much as two forwards. An update of the weights is as much as three. The rule:
100,000 passes of ResNet-18 on 32x32 pixels take 3 s on one A100-class GPU and 2,000 s on one CPU
thread. Other networks and sizes take time in proportion to their multiply-adds, and each batch
takes a fixed time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ltat_tune.config.attack_names import is_slow, read_name
from ltat_tune.config.effects import why_inert
from ltat_tune.config.sections import ModelConfig
from ltat_tune.config.timeline import clean_epochs
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.sources import Source, class_counts, open_source

if TYPE_CHECKING:
    from torch import Tensor, nn


_FORWARD, _UPDATE = 0.5, 1.5  # in passes
_GPU_S, _CPU_S = 3e-5, 2e-2  # of a pass of ResNet-18, whole GPU or one thread
_GPU_BATCH_S, _CPU_BATCH_S = 5e-4, 2e-3  # least time of a pass of a batch, for any network
_RESNET18_MACS = 555.4e6  # multiply-adds of one forward over 32x32 pixels

# passes for each image: AutoAttack by its measured time on ResNet-18, Square by its queries
_WHOLE_ATTACKS = {"aa": 3600.0, "square": 2500.0, "cwl2": 9000.0, "cwl2_fixed": 50.0}
# Images of a sentinel, and the most of a second opinion. With so many, RoBal at scale 1 and a
# robust accuracy of 40 % loses about 16 of them to the right attack, where the test needs 7. With
# half as many images it would often be overlooked.
MAX_IMAGES = 400
_SENTINEL_PASSES = 760.0  # 260 passes and up to 1,000 queries of Square

# channels, pixels a side, test images of each class; an image folder has its own
_IMAGES = {
    "digits": (1, 8, 40),
    "cifar10": (3, 32, 1000),
    "cifar100": (3, 32, 100),
    "svhn": (3, 32, 2603),
    "tiny_imagenet": (3, 64, 50),
    "mnist": (1, 28, 1000),
    "fashion_mnist": (1, 28, 1000),
}
_FILES_OF_IMAGES = ("image_folder", "csv")
_FOLDER_SIDE = 64  # for images whose size is not known before they are read
_PROCESS_MIB = 480  # of a worker, before any image
_CUDA_MIB = 500 + 4 * 32  # of CUDA in it, and of cuBLAS: two streams, two threads
_ACTIVATIONS = 4.5  # bytes of each number in a layer's output; 4.3 measured on a CPU, ResNet-18


@dataclass(frozen=True)
class Cost:
    """Passes and bytes of one configuration.

    Attributes:
        samples_per_class: images of the training subset by class, (K,).
        classes: their names, (K,).
        update: passes of one training epoch.
        validation: passes of one validation.
        test: passes of all attacks of the confirmation, once.
        sentinel: passes of one check for gradient masking.
        macs: multiply-adds of a forward over one image.
        parameters: parameters of the network.
        training_mib: memory of a training, without its process.
        gpu_only_mib: what a GPU holds in addition: the recorded attacks of training and of
            validation, which keep their own memory, and what a batch of a test needs beyond one
            of the training.
        checkpoint_mib: a training's state on disk.
        data_mib: decoded images of all splits.
        batch: images of a training batch.
    """

    samples_per_class: tuple[int, ...]
    classes: tuple[str, ...]
    update: float
    validation: float
    test: float
    sentinel: float
    macs: float
    parameters: int
    training_mib: float
    gpu_only_mib: float
    checkpoint_mib: float
    data_mib: float
    batch: int

    @property
    def train_images(self) -> int:
        """The number of training images."""
        return sum(self.samples_per_class)

    def pass_seconds(self, *, gpu: bool, threads: int = 1) -> float:
        """Return the seconds of one pass by the rule of thumb, on a GPU or on CPU threads."""
        rate, fixed = (_GPU_S, _GPU_BATCH_S) if gpu else (_CPU_S / threads, _CPU_BATCH_S)
        return rate * self.macs / _RESNET18_MACS + fixed / min(self.batch, self.train_images)

    def memory_mib(self, *, gpu: bool) -> float:
        """Return the memory of a trial in MiB, of GPU memory on a GPU."""
        more = self.gpu_only_mib + _CUDA_MIB if gpu else _PROCESS_MIB
        return self.training_mib + more


def cost_of(config: TrialConfig, attacks: tuple[str, ...], *, at_most: int | None = None) -> Cost:
    """Return the cost of a training and of measuring its weights.

    Args:
        config: the training.
        attacks: the attacks of `confirm.attacks`.
        at_most: the most test images that each of them gets, `confirm.test_images`.

    Raises:
        DataError: its images cannot be counted.
    """
    counts = class_counts(config)
    source = open_source(config.data)
    channels, side, test_images, official = image_facts(config, source)
    train, classes = sum(counts), len(counts)
    model = ModelConfig(
        name=config.model.name, width=config.model.width, stem=config.model.stem,
        features=config.model.features,
        **(config.model.model_extra or {}),
    )  # fmt: skip
    macs, activations, parameters = _network(model, channels, side, classes)
    val = _validation_images(config, classes, test_images)
    validation = validation_passes(config, classes, test_images, train)
    guarded = why_inert(config, "method.fawa_guard") is None
    averaged = config.optim.averages or guarded
    states = 2 + averaged + (config.evaluation.select_epoch != "last")
    pixels = channels * side * side * (4 if config.data.name == "digits" else 1)
    batch = min(config.optim.batch_size, max(1, train))
    tested = min(config.evaluation.batch_size, max(val, test_images))
    recorded = _recorded_images(config, batch, val)
    return Cost(
        samples_per_class=tuple(counts),
        classes=source.classes,
        update=epoch_passes(config, train) + validation * guarded,
        validation=validation,
        test=sum(attack_passes(config, attacks, test_images, at_most=at_most).values()),
        sentinel=sentinel_passes(min(test_images, at_most or test_images)),
        macs=macs,
        parameters=parameters,
        # gradients and the content of a checkpoint; all activations that a backward pass needs
        training_mib=(4 * (states + 1) * parameters + _ACTIVATIONS * activations * batch
                      + pixels * (train + val)) / 2**20,
        gpu_only_mib=_ACTIVATIONS * activations * (recorded + max(0, tested - batch)) / 2**20,
        checkpoint_mib=4 * states * parameters / 2**20,
        data_mib=pixels * (official + test_images) / 2**20,
        batch=batch,
    )  # fmt: skip


def _recorded_images(config: TrialConfig, batch: int, val: int) -> int:
    """Return the images whose recorded attacks keep memory: of a training and a validation batch.

    The recordings of a validation, of several shapes, share the memory of the largest.
    """
    if config.compute.graphs == "off":
        return 0
    trained = batch if attack_steps(config) > 0 else 0
    attacked = config.evaluation.val_attack != "clean"
    return trained + (min(config.evaluation.batch_size, val) if attacked else 0)


def training_mib(config: TrialConfig) -> float:
    """Return the memory of a training in MiB, without its process.

    Raises:
        DataError: its images cannot be counted.
    """
    return cost_of(config, ("clean",)).training_mib


def epoch_passes(config: TrialConfig, images: int) -> float:
    """Return the passes of an epoch over so many training images, averaged over the training."""
    return images * (attack_steps(config) + _UPDATE)


def attack_steps(config: TrialConfig) -> float:
    """Return the attack steps on a training image in an epoch, averaged over the training."""
    if why_inert(config, "attack.steps") is not None:
        return 0.0
    return config.attack.steps * (1 - clean_epochs(config) / config.optim.epochs)


def validation_passes(
    config: TrialConfig, classes: int, test_images: int, train_images: int
) -> float:
    """Return the passes of one validation, with those that give an average its statistics.

    Args:
        config: the training.
        classes: K.
        test_images: images in the test split.
        train_images: images that are trained on.
    """
    images = _validation_images(config, classes, test_images)
    looks, anew = 1 + config.optim.keeps_better, 0
    if config.optim.averages and config.optim.estimates_statistics:
        from ltat_tune.training.batch_statistics import STATISTICS_IMAGES

        anew = min(STATISTICS_IMAGES, train_images)
    return (
        looks * images * (passes("clean") + passes(config.evaluation.val_attack))
        + anew * (attack_steps(config) + passes("clean"))
    )  # fmt: skip


def validation_share(config: TrialConfig, judged: Collection[int] = ()) -> float:
    """Return how many validations there are for each epoch; `judged` are the rungs' epochs."""
    every, epochs = config.evaluation.every_epochs, config.optim.epochs
    return len({*judged, epochs}) / epochs if every is None else 1 / every


def _validation_images(config: TrialConfig, classes: int, test_images: int) -> int:
    from_train = config.data.val_source == "train"
    return config.data.val_per_class * classes if from_train else test_images


def attack_passes(
    config: TrialConfig, attacks: Sequence[str], test_images: int, *, at_most: int | None = None
) -> dict[str, float]:
    """Return the passes of each attack of a test; `at_most` is `confirm.test_images`."""
    images = attack_images(config, attacks, test_images, at_most=at_most)
    return {attack: count * passes(attack) for attack, count in images.items()}


def attack_images(
    config: TrialConfig, attacks: Sequence[str], test_images: int, *, at_most: int | None = None
) -> dict[str, int]:
    """Return how many images each attack of a test meets; `at_most` is `confirm.test_images`."""
    most = min(test_images, at_most or test_images)
    slow = min(most, config.evaluation.aa_images or most)
    return {attack: slow if is_slow(attack) else most for attack in attacks}


def sentinel_passes(test_images: int) -> float:
    """Return the passes of one check for gradient masking, on so many images at most."""
    return min(test_images, MAX_IMAGES) * _SENTINEL_PASSES


def passes(attack: str) -> float:
    """Return the passes over one correctly classified image, its first forward included."""
    name = read_name(attack)
    assert name is not None
    if name.family == "clean":
        return _FORWARD
    if name.family == "fgsm":
        return _FORWARD + 1
    return _FORWARD + _WHOLE_ATTACKS.get(name.family, float(name.steps * name.restarts))


def image_facts(config: TrialConfig, source: Source) -> tuple[int, int, int, int]:
    """Return channels, pixels a side, test images, and images of the official training split."""
    official = sum(source.train_counts())
    dimensions = _IMAGES.get(config.data.name)
    if dimensions is None and config.data.name not in _FILES_OF_IMAGES:  # arrays
        shape = source.test().images.shape
        return shape[1], shape[2], shape[0], official
    if dimensions is None:
        return 3, config.data.image_size or _FOLDER_SIDE, len(source.files("test")), official
    channels, side, per_class = dimensions
    side = config.data.image_size or side
    return channels, side, per_class * len(source.classes), official


@lru_cache(maxsize=64)
def _network(
    config: ModelConfig, channels: int, side: int, classes: int
) -> tuple[float, float, int]:
    """Return multiply-adds of a forward over an image, numbers in layers' outputs, parameters."""
    import torch

    from ltat_tune.models import build_model, is_foreign
    from ltat_tune.planning.measured_pass import measured_pass

    model = build_model(config, in_channels=channels, num_classes=classes, side=side)
    parameters = sum(p.numel() for p in model.parameters())
    images = torch.zeros(2, channels, side, side)
    if is_foreign(config.name):  # whose operations are not those of layers alone
        return *measured_pass(model, images), parameters
    totals = {"macs": 0.0, "outputs": 0.0}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if isinstance(output, torch.Tensor):
            totals["outputs"] += output.numel()
            weight = getattr(layer, "weight", None)
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and weight is not None:
                totals["macs"] += output.numel() * weight[0].numel()

    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(images)  # train mode, because eval mode folds layers
    return totals["macs"] / 2, totals["outputs"] / 2, parameters
