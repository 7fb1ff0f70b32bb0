"""What a training leaves in its folder: `result.json`, `test.json` and `sentinel.json`, typed.

The worker writes them, everybody else reads them here. A training has a `result.json` once it
ended, whatever its end; a `test.json` from its first attack on the test images on.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, model_validator

from ltat_tune.files import write_json
from ltat_tune.storage.versioned import (
    FileModel,
    parse,
    read_stored,
    read_versioned,
    write_versioned,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESULT, TEST, SENTINEL = "result.json", "test.json", "sentinel.json"
_VERSION = 1  # of result.json and of test.json


class SecondOpinion(FileModel):
    """What other attacks make of images that withstand the validation attack.

    Attributes:
        attack: the validation attack, `pgd20`.
        images: that withstand it and were attacked again.
        broken: of them, by the margin attack or by Square, or that give no attack a gradient.
        by_margin: broken by the margin attack.
        by_square: broken by Square after that.
        no_gradient: images whose margin has no gradient.
        flat: images whose cross-entropy has next to no gradient.
        pull: see `evaluation.sentinel_checks.Evidence`, the median.
        passes: that it took, as `planning.cost` counts them.
        accuracy: share of all validation images that withstand the validation attack; None in a
            file of an earlier version.
        share_of_standing: of all that withstand it, the broken ones: every class counts with as
            many as it has; None in a file of an earlier version.
        reason: why the trial's number is too good; empty if it is credible.
    """

    attack: str
    images: int
    broken: int
    by_margin: int
    by_square: int
    no_gradient: int
    flat: int
    pull: float
    passes: float
    accuracy: float | None = None
    share_of_standing: float | None = None
    reason: str = ""

    @property
    def share(self) -> float:
        """Share of what withstands the validation attack that is broken."""
        standing = self.share_of_standing
        return self.broken / self.images if standing is None else standing

    @property
    def gap(self) -> float | None:
        """About how much the other attacks take off the accuracy, as a share of all images."""
        return None if self.accuracy is None else self.share * self.accuracy

    def corrected(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return metrics of which those under the attack are what the second opinion leaves.

        The metrics stay unchanged if there is no reason to doubt them.
        """
        left = 1 - self.share if self.reason else 1.0
        prefix = f"val/{self.attack}_"
        return {n: left * v if n.startswith(prefix) else v for n, v in metrics.items()}


class CompleteTraining(FileModel):
    """`result.json` of a training that came to its end.

    Attributes:
        epoch: that the kept weights are from.
        metrics: of that epoch, `val/pgd20_acc` and others.
        weights: hash of the kept weights.
        precision: fp32 or bf16.
        arithmetic: device and settings, `NVIDIA H200, bf16, no TF32, deterministic`; empty if
            an earlier version trained.
        per_class: `val/<attack>` -> recall of every class, (K,).
        predicted: training images by predicted class, (epochs, K).
        ae_distances: see `training.ae_distances`, (epochs, K); empty: not recorded.
        subset_hash: of the training images.
        samples_per_class: training images, (K,).
        classes: their names.
        image_shape: channels, height, width.
        noise: what the start of a validation attack depends on: `place`, the image's place in the
            split; or `sequence`, the images before it, as in 0.4.0.
        second_opinion: None if none was taken.
    """

    state: Literal["complete"]
    epoch: int
    metrics: dict[str, float]
    weights: str
    precision: str = "fp32"
    arithmetic: str = ""
    per_class: dict[str, list[float | None]]
    predicted: list[list[int]] = []
    ae_distances: list[list[float | None]] = []
    subset_hash: str
    samples_per_class: list[int]
    classes: list[str] | None = None
    image_shape: list[int] | None = None
    noise: Literal["place", "sequence"] = "sequence"
    second_opinion: SecondOpinion | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> CompleteTraining:
        """Check that every list by class has as many values as there are classes."""
        count = len(self.samples_per_class)
        if min(self.samples_per_class, default=0) < 1:
            raise ValueError("samples_per_class must hold a number >= 1 for every class")
        sizes = {len(recalls) for recalls in self.per_class.values()}
        sizes |= {len(counts) for counts in self.predicted}
        sizes |= {len(distances) for distances in self.ae_distances}
        if sizes | {count if self.classes is None else len(self.classes)} != {count}:
            raise ValueError(f"every list by class must have {count} values")
        return self

    @property
    def is_doubted(self) -> bool:
        """Whether the second opinion finds its number too good."""
        return self.second_opinion is not None and bool(self.second_opinion.reason)

    @property
    def credible(self) -> dict[str, float]:
        """The metrics; of a doubted training, those that the second opinion leaves."""
        opinion = self.second_opinion
        return self.metrics if opinion is None else opinion.corrected(self.metrics)


class BrokenTraining(FileModel):
    """`result.json` of a training that failed or diverged.

    Attributes:
        reason: what happened, of a failed one with its traceback.
        seconds: that it took.
    """

    state: Literal["failed", "diverged"]
    reason: str = ""
    seconds: float = 0.0


class KeptAnswers(FileModel):
    """Which images a model answers right under one attack, one bit each.

    The images stand class by class, within a class in the order of the split.

    Attributes:
        images: how many of every class, (K,).
        bits: `numpy.packbits` of the answers, in base64.
    """

    images: list[Annotated[int, Field(ge=0)]]
    bits: str

    @model_validator(mode="after")
    def _check_length(self) -> KeptAnswers:
        expected, actual = (
            -(-sum(self.images) // 8),
            len(base64.b64decode(self.bits, validate=True)),
        )
        if actual != expected:
            raise ValueError(
                f"bits must be {expected} B long for {sum(self.images)} images, got {actual} B"
            )
        return self

    @classmethod
    def of(
        cls, correct: NDArray[np.bool_], targets: NDArray[np.int64], *, classes: int
    ) -> KeptAnswers:
        """Return the record of answers (N,) to images of the classes `targets`, (N,)."""
        import numpy as np

        by_class = np.argsort(targets, kind="stable")
        packed = np.packbits(correct[by_class])
        return cls(
            images=np.bincount(targets, minlength=classes).tolist(),
            bits=base64.b64encode(packed.tobytes()).decode("ascii"),
        )

    def unpacked(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which images are answered right, (N,), and their classes, (N,)."""
        import numpy as np

        packed = np.frombuffer(base64.b64decode(self.bits), dtype=np.uint8)
        correct = np.unpackbits(packed, count=sum(self.images)).astype(np.bool_)
        return correct, np.repeat(np.arange(len(self.images)), self.images)


class MeasuredOnTest(FileModel):
    """`test.json`: what a confirmation's weights reach on the test images, attack by attack.

    Attributes:
        epoch: that the weights are from.
        weights: their hash.
        metrics: `test/<attack>_acc` and others.
        per_class: `test/<attack>` -> recall of every class, (K,).
        images: attack -> images that it was run on.
        part: `confirm.test_images` that it was measured with; None is all images.
        correct: attack -> which of them are answered right; a file of 0.4.0 has none.
    """

    state: Literal["complete"]
    epoch: int
    weights: str
    metrics: dict[str, float]
    per_class: dict[str, list[float | None]]
    images: dict[str, int]
    part: int | None = None
    correct: dict[str, KeptAnswers] = {}

    def with_attack(
        self,
        attack: str,
        metrics: dict[str, float],
        recalls: list[float | None],
        kept: KeptAnswers,
    ) -> MeasuredOnTest:
        """Return the same with one attack more."""
        return self.model_copy(
            update={
                "metrics": {**self.metrics, **metrics},
                "per_class": {**self.per_class, f"test/{attack}": recalls},
                "images": {**self.images, attack: sum(kept.images)},
                "correct": {**self.correct, attack: kept},
            }
        )

    def has(self, attack: str) -> bool:
        """Return whether the weights have met this attack."""
        return f"test/{attack}" in self.per_class

    def answers(self, attack: str) -> tuple[NDArray[np.bool_], NDArray[np.int64]] | None:
        """Return which images are answered right, (N,), and their classes, (N,), class by class.

        None if the weights have not met this attack, or their answers were not kept.
        """
        kept = self.correct.get(attack)
        return None if kept is None else kept.unpacked()


class MaskingCheck(FileModel):
    """One check of the sentinel, as far as others than the sentinel read it."""

    model_config = ConfigDict(extra="allow")

    title: str
    triggered: bool
    severity: str
    sentence: str


class MaskingReport(FileModel):
    """`sentinel.json`: what the sentinel found, as far as others than the sentinel read it.

    `evaluation.sentinel.SentinelReport` explains its fields, those that are kept unread too.
    """

    model_config = ConfigDict(extra="allow")

    verdict: str
    headline: str
    images: int
    right: int
    checks: list[MaskingCheck]
    left_out: list[str] = []

    @property
    def is_clear(self) -> bool:
        """Whether nothing speaks for gradient masking."""
        return self.verdict == "clear"

    @property
    def triggered(self) -> list[MaskingCheck]:
        """Checks that speak for gradient masking."""
        return [check for check in self.checks if check.triggered]


TrainingEnd = CompleteTraining | BrokenTraining
_RESULT: TypeAdapter[TrainingEnd] = TypeAdapter(
    Annotated[TrainingEnd, Field(discriminator="state")]
)
_TEST, _SENTINEL = TypeAdapter(MeasuredOnTest), TypeAdapter(MaskingReport)


def write_training(folder: Path, end: TrainingEnd) -> None:
    """Write how a training ended."""
    write_versioned(folder / RESULT, end, _VERSION)


def read_training(folder: Path) -> TrainingEnd | None:
    """Return how the training in a folder ended, or None if it has not. Raises: StudyError."""
    return read_versioned(folder / RESULT, _RESULT, _VERSION)


def read_complete(folder: Path) -> CompleteTraining | None:
    """Return what a training left that came to its end, or None. Raises: StudyError."""
    end = read_training(folder)
    return end if isinstance(end, CompleteTraining) else None


def write_test(folder: Path, measured: MeasuredOnTest) -> None:
    """Write what was measured so far on the test images."""
    write_versioned(folder / TEST, measured, _VERSION)


def read_test(folder: Path) -> MeasuredOnTest | None:
    """Return what was measured on the test images, or None. Raises: StudyError."""
    return read_versioned(folder / TEST, _TEST, _VERSION)


def write_masking(folder: Path, report: MaskingReport) -> None:
    """Write the sentinel's report."""
    write_json(folder / SENTINEL, report.as_data())


def read_masking(folder: Path) -> MaskingReport | None:
    """Return the sentinel's report, or None if it has not looked. Raises: StudyError."""
    path = folder / SENTINEL
    document = read_stored(path)
    return None if document is None else parse(path, _SENTINEL, document)
