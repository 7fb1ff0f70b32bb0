"""Accuracies by class group; the groups are defined here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClassGroups:
    """Classes by training count: REAT's thirds (head, body, tail) and SRAT's halves (well, under).

    Classes are sorted by count, most frequent first, ties by index. Tail is ceil(2C/3)..C and
    head 1..floor(C/3), counted from 1 (REAT 4.2); under is the C // 2 rarest (SRAT 3.1).
    """

    members: dict[str, list[int]]

    @classmethod
    def from_counts(cls, samples_per_class: list[int]) -> ClassGroups:
        """Groups of K classes with these training counts, shape (K,)."""
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
        return cls({name: sorted(found) for name, found in groups.items() if found})


@dataclass(frozen=True)
class Accuracy:
    """Counts of right answers by class, and the accuracies that follow from them."""

    right: list[int]  # (K,)
    total: list[int]  # (K,)

    @classmethod
    def count(cls, correct: Tensor, targets: Tensor, classes: int) -> Accuracy:
        """From correct (N,) bool and targets (N,) int64."""
        right = targets[correct].bincount(minlength=classes)
        total = targets.bincount(minlength=classes)
        return cls(right.tolist(), total.tolist())

    @property
    def per_class(self) -> list[float | None]:
        """Recall of every class, (K,); None for a class without images."""
        return [r / t if t else None for r, t in zip(self.right, self.total, strict=True)]

    def metrics(self, prefix: str, groups: ClassGroups) -> dict[str, float]:
        """`<prefix>_acc` and `<prefix>_<group>_acc`, fractions in [0, 1].

        balanced is the mean recall over classes, worst the smallest, a group's the mean over its
        classes; classes without images are left out of every mean.
        """
        recalls = {c: recall for c, recall in enumerate(self.per_class) if recall is not None}
        found = {
            f"{prefix}_acc": sum(self.right) / sum(self.total),
            f"{prefix}_balanced_acc": _mean(list(recalls.values())),
            f"{prefix}_worst_acc": min(recalls.values()),
        }
        for name, members in groups.members.items():
            present = [recalls[c] for c in members if c in recalls]
            if present:
                found[f"{prefix}_{name}_acc"] = _mean(present)
        return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
