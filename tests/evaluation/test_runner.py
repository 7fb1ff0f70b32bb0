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
    AttackOutcome,
    Setting,
    evaluate_attack,
    evaluate_clean,
    worst_case,
)
from ltat_tune.training.evaluation import MeasuredPart
from tests.attacks.toys import undecided


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


def _part(margins: list[float] = MARGINS) -> MeasuredPart:
    images = torch.tensor(margins)[:, None, None, None].expand(-1, 1, 2, 2) + 0.5
    targets = torch.ones(len(margins), dtype=torch.int64)
    return MeasuredPart.of("test", LabelledImages(images.contiguous(), targets), None)


def _clean(part: MeasuredPart, state: Path, model: nn.Module | None = None) -> Answers:
    return evaluate_clean(model or Brightness(), part, CLEAN, weights="w", state=state).answers


def _attacked(
    part: MeasuredPart, state: Path, setting: Setting = PGD, model: nn.Module | None = None
) -> AttackOutcome:
    clean = _clean(part, state)
    return evaluate_attack(
        model or Brightness(), part, setting, before=clean, weights="w", state=state
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
    assert told == [(0, 160, 0), (100, 160, sum(right[:100])), (160, 160, sum(right))]


ATTACKS = ("cw1", "pgd1", "adaptive2", "pgd1x2")


def _network(images: int = 60) -> tuple[nn.Module, MeasuredPart]:
    """A network that each of ATTACKS breaks on other images, and images of the right labels."""
    generator = torch.Generator().manual_seed(2)
    data = torch.rand(images, 1, 8, 8, generator=generator)
    model = undecided(4, data)
    with torch.no_grad():
        targets = model(data).argmax(dim=1)
    targets[::7] = (targets[::7] + 1) % 4  # some are wrong without attack
    return model, MeasuredPart.of("test", LabelledImages(data, targets), None)


def _setting(attack: str, batch_size: int = 500, after: tuple[str, ...] | None = None) -> Setting:
    clean = attack == "clean"
    return Setting(attack, 1.0, 0.0 if clean else 0.03, "linf", None if clean else 0.008, 0,
                   batch_size, after=after)  # fmt: skip


def _evaluate(
    model: nn.Module,
    part: MeasuredPart,
    state: Path,
    *,
    batch_size: int = 500,
    chained: bool = False,
    attacks: tuple[str, ...] = ATTACKS,
) -> list[AttackOutcome]:
    """Clean first."""
    clean = _setting("clean", batch_size)
    found = [evaluate_clean(model, part, clean, weights="w", state=state)]
    for number, attack in enumerate(attacks):
        setting = _setting(attack, batch_size, attacks[:number] if chained else None)
        before = found[-1 if chained else 0].answers
        found.append(
            evaluate_attack(model, part, setting, before=before, weights="w", state=state)
        )
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 100, 250])
def test_no_answer_depends_on_the_batch_size(tmp_path: Path, batch_size: int) -> None:
    model, part = _network(60 if batch_size == 1 else 260)
    attacks = ("pgd3", "adaptive2x2")
    one = _evaluate(model, part, tmp_path, attacks=attacks)
    other = _evaluate(model, part, tmp_path, attacks=attacks, batch_size=batch_size)
    for found, again in zip(one, other, strict=True):
        assert torch.equal(found.answers.predicted, again.answers.predicted)
        torch.testing.assert_close(
            found.answers.confidence, again.answers.confidence, atol=1e-4, rtol=0
        )
    assert len({int(outcome.answers.correct.sum()) for outcome in one}) == 3


def test_no_answer_depends_on_whether_a_neighbour_is_attacked(tmp_path: Path) -> None:
    model, part = _network()
    clean, found = _evaluate(model, part, tmp_path, attacks=("adaptive2x2",))
    gone = torch.arange(len(part)) % 2 == 0
    fewer = torch.where(gone, (part.data.targets + 1) % 4, clean.answers.predicted)
    before = Answers(part.data.targets, fewer, clean.answers.confidence)
    again = evaluate_attack(model, part, found.setting, before=before, weights="w", state=tmp_path)
    assert torch.equal(again.answers.predicted[~gone], found.answers.predicted[~gone])
    assert torch.equal(again.answers.predicted[gone], fewer[gone])
    assert 0 < again.answers.correct.sum() < (~gone & clean.answers.correct).sum()


def test_no_answer_depends_on_how_many_images_of_the_split_are_asked_for(tmp_path: Path) -> None:
    """The noise is of an image's place in the split, not in the part."""
    model, whole = _network()
    small = MeasuredPart.of("test", whole.data, 16)
    _, all_of_them = _evaluate(model, whole, tmp_path, attacks=("pgd3",))
    _, some = _evaluate(model, small, tmp_path, attacks=("pgd3",))
    assert torch.equal(some.answers.predicted, all_of_them.answers.predicted[small.places])


def test_attacks_on_what_is_left_end_at_the_worst_case_of_attacks_on_everything(
    tmp_path: Path,
) -> None:
    model, part = _network()
    alone = _evaluate(model, part, tmp_path / "alone")
    chained = _evaluate(model, part, tmp_path / "chained", chained=True)
    for last in range(1, len(ATTACKS) + 1):
        correct, _ = worst_case(alone[1 : last + 1])
        assert torch.equal(chained[last].answers.correct, correct)
        assert torch.equal(worst_case(chained[1 : last + 1])[0], correct)
    left = [int(outcome.answers.correct.sum()) for outcome in chained]
    assert left == sorted(left, reverse=True) and 0 < left[-1] < left[1] < left[0]
    assert left[-1] < min(int(outcome.answers.correct.sum()) for outcome in alone)
    # the order changes what is left between, never the end
    turned = _evaluate(
        model, part, tmp_path / "turned", chained=True, attacks=tuple(reversed(ATTACKS))
    )
    assert torch.equal(turned[-1].answers.correct, chained[-1].answers.correct)


def test_attacks_on_what_is_left_see_nothing_else(tmp_path: Path) -> None:
    """Of 8 images 6 are right; eps 0.04 leaves 5, and the answer counts as one forward."""
    part, model = _part(), Brightness()
    clean = _clean(part, tmp_path)
    weak = replace(PGD, eps=0.04, after=())
    first = evaluate_attack(model, part, weak, before=clean, weights="w", state=tmp_path)
    assert model.seen == [6] * 6
    model.seen.clear()
    second = evaluate_attack(
        model, part, replace(PGD, after=("pgd5",)), before=first.answers, weights="w",
        state=tmp_path,
    )  # fmt: skip
    assert model.seen == [5] * 6
    assert second.answers.correct.tolist() == [m > 0.1 for m in MARGINS]
    fallen = ~first.answers.correct
    assert torch.equal(second.answers.confidence[fallen], first.answers.confidence[fallen])


def test_attacks_on_what_is_left_go_on_after_a_kill(tmp_path: Path) -> None:
    model, part = _network()
    whole = _evaluate(model, part, tmp_path, batch_size=20, chained=True)
    abouts = {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("*/about.json")}
    folders = {about["attack"]: folder for folder, about in abouts.items()}
    for batch in ("000020", "000040"):
        (folders["pgd1"] / f"{batch}.json").unlink()
    for attack in ("adaptive2", "pgd1x2"):
        for path in folders[attack].iterdir():
            path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json")}
    again = _evaluate(model, part, tmp_path, batch_size=20, chained=True)
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(one.answers.predicted, other.answers.predicted)
        assert torch.equal(one.answers.confidence, other.answers.confidence)


def test_batches_of_one_way_to_the_worst_case_are_not_read_by_the_other(tmp_path: Path) -> None:
    """Not even those of the first attack, which sees the same images either way."""
    model, part = _network()
    _evaluate(model, part, tmp_path)
    before = len(list(tmp_path.iterdir()))
    _evaluate(model, part, tmp_path, chained=True)
    assert len(list(tmp_path.iterdir())) == before + len(ATTACKS)
    _evaluate(model, part, tmp_path, chained=True, attacks=("pgd1", "cw1"))
    assert len(list(tmp_path.iterdir())) == before + len(ATTACKS) + 2


def test_batches_on_other_images_that_are_left_are_another_evaluation(tmp_path: Path) -> None:
    part, model = _part(), Brightness()
    clean = _clean(part, tmp_path)
    _attacked(part, tmp_path)
    fewer = torch.where(torch.arange(8) == 4, 0, clean.predicted)
    evaluate_attack(
        model, part, PGD, before=replace(clean, predicted=fewer), weights="w", state=tmp_path
    )
    assert set(model.seen) == {5}


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
    large, small = MeasuredPart.of("test", data, 4), MeasuredPart.of("test", data, 2)
    assert set(small.places.tolist()) <= set(large.places.tolist())
    survives = {place: place % 3 != 0 for place in range(6)}

    def outcome(part: MeasuredPart, lost: set[int]) -> AttackOutcome:
        kept = torch.tensor([survives[p] and p not in lost for p in part.places.tolist()])
        predicted = torch.where(kept, part.data.targets, 1 - part.data.targets)
        answers = Answers(part.data.targets, predicted, torch.ones(len(part)).double())
        return AttackOutcome(PGD, part, answers, 0.0)

    first = int(small.places[0])
    correct, _ = worst_case([outcome(large, {first}), outcome(small, set())])
    assert correct.tolist() == [survives[p] and p != first for p in small.places.tolist()]


def test_a_part_smaller_than_the_classes_is_refused() -> None:
    data = LabelledImages(torch.zeros(4, 1, 1, 1), torch.tensor([0, 1, 2, 3]))
    with pytest.raises(
        DataError, match="a part of 3 images cannot hold one of each of the 4 classes"
    ):
        MeasuredPart.of("test", data, 3)


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="logits are not finite under clean"):
        _clean(_part(), tmp_path, Brightness(float("nan")))
