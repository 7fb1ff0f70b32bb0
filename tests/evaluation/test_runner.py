"""What an evaluation attacks, keeps on disk, and says after it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ltat_tune.data.datasets import LabelledImages
from ltat_tune.errors import CheckpointError, DataError
from ltat_tune.evaluation.measures import Answers
from ltat_tune.evaluation.runner import (
    Outcome,
    Part,
    Setting,
    evaluate_attack,
    evaluate_clean,
    together,
    worst_case,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Brightness(nn.Module):
    """Two classes by the mean pixel: logits (0, w (mean - 1/2)); class 1 above one half."""

    def __init__(self, factor: float = 10.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        bright = self.factor * (images.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack((torch.zeros_like(bright), bright), dim=1)


# Distance of the mean from one half, by image; class 1 all of them, so those below 0 are wrong.
MARGINS = [-0.2, 0.02, 0.05, 0.15, 0.3, -0.01, 0.06, 0.25]
CLEAN = Setting("clean", 1.0, 0.0, "linf", None, 0, 100)
PGD = Setting("pgd5", 1.0, 0.1, "linf", 0.05, 0, 100)


def _part(margins: list[float] = MARGINS) -> Part:
    images = torch.tensor(margins)[:, None, None, None].expand(-1, 1, 2, 2) + 0.5
    targets = torch.ones(len(margins), dtype=torch.int64)
    return Part.of("test", LabelledImages(images.contiguous(), targets), None)


def _clean(part: Part, state: Path, model: nn.Module | None = None) -> Answers:
    return evaluate_clean(model or Brightness(), part, CLEAN, weights="w", state=state).answers


def _attacked(
    part: Part, state: Path, setting: Setting = PGD, model: nn.Module | None = None
) -> Outcome:
    clean = _clean(part, state)
    return evaluate_attack(
        model or Brightness(), part, setting, clean=clean, weights="w", state=state
    )


def test_an_image_falls_where_the_radius_reaches_the_threshold(tmp_path: Path) -> None:
    """The attack lowers the mean by eps = 0.1: what has a margin above 0.1 stands."""
    assert _clean(_part(), tmp_path).correct.tolist() == [m > 0 for m in MARGINS]
    assert _attacked(_part(), tmp_path).answers.correct.tolist() == [m > 0.1 for m in MARGINS]


def test_images_that_are_wrong_already_are_not_attacked_and_keep_their_answer(
    tmp_path: Path,
) -> None:
    model, part = Brightness(), _part()
    clean, outcome = _clean(part, tmp_path), _attacked(part, tmp_path, model=model)
    assert set(model.seen) == {6}
    wrong = ~clean.correct
    assert torch.equal(outcome.answers.confidence[wrong], clean.confidence[wrong])


def test_confidence_is_the_softmax_of_the_answer(tmp_path: Path) -> None:
    """A margin of 0.3 is a logit of 3: 1 / (1 + e^-3)."""
    found = _clean(_part(), tmp_path).confidence[4].item()
    assert found == pytest.approx(1 / (1 + 2.718281828**-3), abs=1e-6)


def test_batches_of_an_earlier_process_are_read_and_not_done_again(tmp_path: Path) -> None:
    part = _part(MARGINS * 40)  # 320 images: four batches
    whole = _attacked(part, tmp_path)
    abouts = {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("*/about.json")}
    folder = next(path for path, about in abouts.items() if about["attack"] == "pgd5")
    (folder / "000100.json").unlink()  # as if killed before it was written
    (folder / "000200.json").write_text('{"predicted": [1, ')  # as if the disk had torn it
    model = Brightness()
    again = _attacked(part, tmp_path, model=model)
    assert torch.equal(again.answers.predicted, whole.answers.predicted)
    assert torch.equal(again.answers.confidence, whole.answers.confidence)
    assert len(model.seen) == 2 * 6  # five steps and the answer, for two batches of four
    model.seen.clear()
    _attacked(part, tmp_path, model=model)
    assert model.seen == []


@pytest.mark.parametrize(
    "other",
    [{"eps": 0.05}, {"seed": 1}, {"step_size": 0.01}, {"norm": "l2"}, {"attack": "cw5"},
     {"scale": 2.0}],
)  # fmt: skip
def test_batches_of_another_setting_are_another_evaluation(
    tmp_path: Path, other: dict[str, object]
) -> None:
    _attacked(_part(), tmp_path)
    model = Brightness()
    _attacked(_part(), tmp_path, replace(PGD, **other), model)  # type: ignore[arg-type]
    assert model.seen != []


def test_other_weights_or_images_are_another_evaluation(tmp_path: Path) -> None:
    _clean(_part(), tmp_path)
    model = Brightness()
    evaluate_clean(model, _part(), CLEAN, weights="others", state=tmp_path)
    _clean(_part([*MARGINS[:-1], 0.2]), tmp_path, model)
    assert len(model.seen) == 2


def test_progress_has_the_running_count_of_right_answers(tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    part = _part(MARGINS * 20)
    evaluate_clean(
        Brightness(), part, CLEAN, weights="w", state=tmp_path,
        on_batch=lambda *news: told.append(news),
    )  # fmt: skip
    right = [m > 0 for m in MARGINS * 20]
    assert told == [(100, 160, sum(right[:100])), (160, 160, sum(right))]


def test_iterated_attacks_take_a_hundred_images_whatever_the_batch_size() -> None:
    """So their noise, and their numbers, do not depend on it."""
    assert [together("pgd20x5", size) for size in (100, 500)] == [100, 100]
    assert together("cw100", 50) == 50
    assert [together(name, 500) for name in ("aa", "square", "cwl2")] == [500] * 3


def test_the_worst_case_is_the_union_of_what_falls_in_any_order(tmp_path: Path) -> None:
    part = _part()
    strong, weak = _attacked(part, tmp_path), _attacked(part, tmp_path, replace(PGD, eps=0.04))
    fallen = torch.tensor([True, False, True, True, True, False, True, True])
    other = replace(weak, answers=replace(weak.answers, predicted=fallen.long()))
    expected = [s and o for s, o in zip([m > 0.1 for m in MARGINS], fallen.tolist(), strict=True)]
    for outcomes in ([strong, other], [other, strong]):
        correct, targets = worst_case(outcomes)
        assert correct.tolist() == expected
        assert len(targets) == 8


def test_the_worst_case_counts_the_images_that_every_attack_has_seen() -> None:
    """A smaller part lies inside the larger one, at other positions."""
    targets = torch.tensor([0, 1, 0, 1, 0, 1])
    data = LabelledImages(torch.arange(6).float().view(6, 1, 1, 1), targets)
    large, small = Part.of("test", data, 4), Part.of("test", data, 2)
    assert set(small.places.tolist()) <= set(large.places.tolist())
    survives = {place: place % 3 != 0 for place in range(6)}

    def outcome(part: Part, lost: set[int]) -> Outcome:
        kept = torch.tensor([survives[p] and p not in lost for p in part.places.tolist()])
        predicted = torch.where(kept, part.data.targets, 1 - part.data.targets)
        answers = Answers(part.data.targets, predicted, torch.ones(len(part)).double())
        return Outcome(PGD, part, answers, 0.0)

    first = int(small.places[0])
    correct, _ = worst_case([outcome(large, {first}), outcome(small, set())])
    assert correct.tolist() == [survives[p] and p != first for p in small.places.tolist()]


def test_a_part_smaller_than_the_classes_is_refused() -> None:
    data = LabelledImages(torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 2, 3]))
    with pytest.raises(DataError, match="a part of 3 images cannot hold all 4 classes"):
        Part.of("test", data, 3)


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="logits are not finite under clean"):
        _clean(_part(), tmp_path, Brightness(float("nan")))
