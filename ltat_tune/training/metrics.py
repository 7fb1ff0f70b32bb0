"""Accuracies by class group. This module alone defines the groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClassGroups:
    """Class groups by training count: REAT's head, body and tail; SRAT's well and under.

    Classes are sorted by count, the most frequent first, ties by index. Tail is ceil(2C/3)..C and
    head is 1..floor(C/3), counted from 1 (REAT 4.2). Under is the C // 2 rarest (SRAT 3.1).
    """

    members: dict[str, list[int]]

    @classmethod
    def from_counts(cls, samples_per_class: list[int]) -> ClassGroups:
        """Group K classes by their training counts, shape (K,)."""
        classes = len(samples_per_class)
        order = sorted(range(classes), key=lambda c: (-samples_per_class[c], c))
        first_tail = -(-2 * classes // 3) - 1
        groups = {
            "head": order[: classes // 3],
            "body": order[classes // 3 : first_tail],
            "tail": order[first_tail:],
            "well": order[: classes - classes // 2],
            "under": order[classes - classes // 2 :],
        }
        return cls({name: sorted(members) for name, members in groups.items() if members})

    @property
    def classes(self) -> int:
        """The number of classes, K."""
        return sum(len(self.members.get(name, [])) for name in ("well", "under"))


@dataclass(frozen=True)
class Accuracy:
    """Counts of correct predictions by class, and the accuracies that follow from them."""

    right: list[int]  # (K,)
    total: list[int]  # (K,)

    @classmethod
    def count(cls, correct: Tensor, targets: Tensor, classes: int) -> Accuracy:
        """Count by class from `correct`, (N,) bool, and `targets`, (N,) int64."""
        right = targets[correct].bincount(minlength=classes)
        total = targets.bincount(minlength=classes)
        return cls(right.tolist(), total.tolist())

    @property
    def per_class(self) -> list[float | None]:
        """Recall of every class, (K,); None for a class without images."""
        return [r / t if t else None for r, t in zip(self.right, self.total, strict=True)]

    def metrics(self, prefix: str, groups: ClassGroups) -> dict[str, float]:
        """Return `<prefix>_acc` and `<prefix>_<group>_acc` by name, fractions in [0, 1].

        The group `balanced` is the mean recall over all classes and `worst` the smallest recall.
        Every other group is the mean recall over its classes. Classes without images are left out.
        """
        recalls = {c: recall for c, recall in enumerate(self.per_class) if recall is not None}
        accuracies = {
            f"{prefix}_acc": sum(self.right) / sum(self.total),
            f"{prefix}_balanced_acc": _mean(list(recalls.values())),
            f"{prefix}_worst_acc": min(recalls.values()),
        }
        for name, members in groups.members.items():
            present = [recalls[c] for c in members if c in recalls]
            if present:
                accuracies[f"{prefix}_{name}_acc"] = _mean(present)
        return accuracies


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
