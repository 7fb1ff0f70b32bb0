"""Keeps the answers to each batch of a test in a file, so that several workers can share a test.

Every batch is the one that a test without sharing measures, so all digits are the same. A test
takes what it finds and measures the rest itself: it needs no worker but its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.evaluation.runner import about_key, deciding_versions, device_kind
from ltat_tune.files import read_json, write_json
from ltat_tune.training.evaluation import EVALUATION_SEED, MeasuredPart, correct_answers


class BatchFiles:
    """The answers of one model to batches of test images.

    Args:
        root: their folder.
        weights: the model's hash.
        precision: in which it was trained.

    Attributes:
        lent_s: seconds that others took for the batches that `correct` found here.
    """

    def __init__(self, root: Path, *, weights: str, precision: str) -> None:
        self._root, self._weights, self._precision = root, weights, precision
        self.lent_s = 0.0

    def correct(
        self,
        model: nn.Module,
        part: MeasuredPart,
        attack: str,
        config: TrialConfig,
        *,
        on_batch: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Return what `correct_answers` does, of the batches here and of those still missing."""
        folder = self._folder(part, attack, config)
        size = config.evaluation.batch_size
        if len(part) <= size and not folder.exists():  # a single batch has no parts
            return correct_answers(model, part, attack, config, on_batch=on_batch)
        answers = []
        for number in range(part.count_batches(size)):
            batch = part.batch(number, size)
            found = _read(folder, number, len(batch))
            if found is None:
                right = _measure(model, batch, attack, config, folder, number)
            else:
                right = found[0].to(part.data.targets.device)
                self.lent_s += found[1]
            answers.append(right)
            if on_batch is not None:
                on_batch(min(size * (number + 1), len(part)))
        return torch.cat(answers)

    def measure(
        self,
        model: nn.Module,
        part: MeasuredPart,
        attack: str,
        config: TrialConfig,
        *,
        numbers: Sequence[int],
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        """Measure those of some batches that are not here; `on_batch` gets the images done."""
        folder, done = self._folder(part, attack, config), 0
        for number in numbers:
            batch = part.batch(number, config.evaluation.batch_size)
            if _read(folder, number, len(batch)) is None:
                _measure(model, batch, attack, config, folder, number)
            done += len(batch)
            if on_batch is not None:
                on_batch(done)

    def _folder(self, part: MeasuredPart, attack: str, config: TrialConfig) -> Path:
        """Return the folder of one attack, whose name holds all that the answers depend on."""
        about: dict[str, Any] = {
            "weights": self._weights, "precision": self._precision, "images": part.hash,
            "split": part.split, "attack": attack, "batch_size": config.evaluation.batch_size,
            "eps": config.measured_eps, "norm": config.measured_norm,
            "step_size": config.evaluation.step_size, "seed": EVALUATION_SEED,
            "device": device_kind(part.data.targets.device),
            "versions": deciding_versions(),
        }  # fmt: skip
        return self._root / f"{attack}-{about_key(about)}"


def batches_of_part(batches: Mapping[str, int], part: int, parts: int) -> dict[str, list[int]]:
    """Return attack -> numbers of its batches that one of several parts measures.

    Args:
        batches: attack -> how many batches it has.
        part: 1 to `parts`.
        parts: how many parts share all batches.
    """
    every = [(attack, number) for attack, count in batches.items() for number in range(count)]
    mine: dict[str, list[int]] = {}
    for attack, number in every[part - 1 :: parts]:
        mine.setdefault(attack, []).append(number)
    return mine


def _measure(
    model: nn.Module, batch: MeasuredPart, attack: str, config: TrialConfig, folder: Path,
    number: int,
) -> Tensor:  # fmt: skip
    began = time.perf_counter()
    right = correct_answers(model, batch, attack, config)
    text = "".join("01"[answer] for answer in right.tolist())
    seconds = time.perf_counter() - began
    write_json(
        _path(folder, number),
        {"right": text, "seconds": seconds, "digest": _digest(folder, number, text)},
        sync=False,  # what a power cut tears has another digest
    )
    return right


def _read(folder: Path, number: int, images: int) -> tuple[Tensor, float] | None:
    """Return the answers to a batch and the seconds that they took; None if no file tells."""
    try:
        kept = read_json(_path(folder, number))
        text, seconds = kept["right"], float(kept["seconds"])
        whole = len(text) == images and kept["digest"] == _digest(folder, number, text)
        return (torch.tensor([sign == "1" for sign in text]), seconds) if whole else None
    except (OSError, ValueError, TypeError, LookupError):  # torn or missing: it is measured again
        return None


def _digest(folder: Path, number: int, text: str) -> str:
    return hashlib.sha256(f"{folder.name} {number} {text}".encode()).hexdigest()[:16]


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"
