"""A test that several slots share leaves the same bytes as one that a single task measures."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

from ltat_tune.backend.work import NoTask
from ltat_tune.config.trial_config import TrialConfig
from ltat_tune.data.datasets import LabelledImages
from ltat_tune.engine.work_queue import WorkQueue
from ltat_tune.engine.worker import run_task
from ltat_tune.evaluation import batch_files
from ltat_tune.preflight.load import load_space
from ltat_tune.search.rungs import place_rungs
from ltat_tune.search.stopping_rules import EarlyStopping
from ltat_tune.storage.cleanup import waste
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.storage.ledger import Ledger
from ltat_tune.storage.task import Task
from ltat_tune.storage.task_files import TEST_BATCHES
from ltat_tune.storage.training_files import TEST
from ltat_tune.training.evaluation import MeasuredPart, correct_answers
from tests.attacks.short_autoattack import shorten_autoattack
from tests.drive import MINI, call, mlflow_runs, run, write_space

NAME = "imbalance_ratio_2"
# 400 images are 7 batches of 60, the 80 of AutoAttack are 2
ATTACKS = ("clean", "pgd20", "aa")
SHORT = {
    **MINI["fixed"], "optim.epochs": 2, "evaluation.aa_images": 80, "evaluation.batch_size": 60,
}  # fmt: skip
BATCHES = 7 + 7 + 2


def space_in(folder: Path, attacks: tuple[str, ...], **changes: Any) -> Path:
    return write_space(
        folder, fixed=SHORT, scenarios={"data.imbalance_ratio": [2]}, start_from=[],
        searcher={"trials": 1}, scheduler={"name": "none"},
        confirm={**MINI["confirm"], "seeds": [1], "attacks": list(attacks)}, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def short_attacks() -> Iterator[None]:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        shorten_autoattack(patch, iterations=2, queries=20, wrong_classes=2)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, short_attacks: None) -> Path:
    """A study of one confirmation, which one task tested."""
    folder = tmp_path_factory.mktemp("parts")
    done = call("run", space_in(folder, ATTACKS), "--in-process", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "studies" / "mini"


@pytest.fixture
def measured_now(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attack of every batch that is measured from now on."""
    seen: list[str] = []

    def counted(model: Any, part: Any, attack: str, *arguments: Any, **options: Any) -> Any:
        answers = correct_answers(model, part, attack, *arguments, **options)
        seen.append(attack)
        return answers

    monkeypatch.setattr(batch_files, "correct_answers", counted)
    return seen


def killed_after(batches: int, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do a task as far as it gets in so many batches."""
    measure: Any = getattr(batch_files, "correct_answers")  # noqa: B009  # of `measured_now`
    left = [batches]

    def killed(*arguments: Any, **options: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return measure(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(batch_files, "correct_answers", killed)
        run_task(task, lambda report: None)


class Driver:
    """The queue of a study whose test is taken back, and its tasks done here one by one."""

    def __init__(self, tested: Path, folder: Path) -> None:
        study = shutil.copytree(tested, folder / "mini")
        (place,) = study.glob("confirmations/*/*")
        self.study, self.place = study, place
        self.expected = (place / TEST).read_bytes()
        (place / TEST).unlink()

    def queue(self, slots: int) -> WorkQueue:
        space = load_space(self.study / "space.yaml")
        rungs = place_rungs(space)
        folder = StudyFolder(self.study)
        return WorkQueue(
            space, folder, Ledger(folder.ledger, space),
            EarlyStopping(space.objective.metric, rungs, space.scheduler, (NAME,)),
            slots=slots, device="cpu", rungs=rungs, observers=(),
        )  # fmt: skip

    def run(self, slots: int) -> list[tuple[Task, dict[str, Any]]]:
        """Do everything that is left; the tasks with their last events."""
        queue = self.queue(slots)
        done: list[tuple[Task, dict[str, Any]]] = []
        for number in range(20):
            task = queue.next_task(str(number))
            if isinstance(task, NoTask):
                assert queue.stop_reason is None and queue.unconfirmed == []
                return done
            event = self.do(task)
            done.append((task, event))
            queue.on_end(str(number), {"event": event}, error=False)
        raise AssertionError("it does not end")

    def do(self, task: Task) -> dict[str, Any]:
        reports: list[dict[str, Any]] = []
        run_task(task, reports.append)
        return dict(reports[-1]["event"])

    def check(self) -> None:
        assert (self.place / TEST).read_bytes() == self.expected
        assert not (self.place / TEST_BATCHES).exists()

    @property
    def files(self) -> list[Path]:
        return sorted((self.place / TEST_BATCHES).glob("*/*.json"))


@pytest.fixture
def driver(tested: Path, tmp_path: Path, short_attacks: None) -> Driver:
    return Driver(tested, tmp_path)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_all_slots_measure_and_the_file_is_the_same(
    driver: Driver, measured_now: list[str], slots: int
) -> None:
    done = driver.run(slots)
    tasks = [task for task, _ in done]
    driver.check()
    assert len(measured_now) == BATCHES  # each batch once, whoever measured it
    if slots == 1:
        assert [task.kind for task in tasks] == ["test"]
        return
    # AutoAttack has nearly all of the work, and two batches: a third part would have none of it
    assert [task.kind for task in tasks] == ["part", "part", "test"]
    assert [task.title for task in tasks[:2]] == [
        f"{NAME}/t0000 seed 1 test, part {part} of 2" for part in (1, 2)
    ]
    assert done[-1][1]["lent_s"] > 0


def test_a_part_measures_every_second_batch(driver: Driver, measured_now: list[str]) -> None:
    queue = driver.queue(2)
    first, second = queue.next_task("a"), queue.next_task("b")
    assert isinstance(first, Task) and isinstance(second, Task)
    assert isinstance(queue.next_task("c"), NoTask)  # the test waits for both
    assert first.path != second.path  # so that each has its own heartbeat and last words
    assert driver.do(first)["state"] == "complete"
    numbers: dict[str, list[int]] = {}
    for path in driver.files:
        numbers.setdefault(path.parent.name.rpartition("-")[0], []).append(int(path.stem))
    # of clean 0..6, pgd20 0..6, aa 0..1, in one row
    assert numbers == {"clean": [0, 2, 4, 6], "pgd20": [1, 3, 5], "aa": [0]}
    assert measured_now == ["clean"] * 4 + ["pgd20"] * 3 + ["aa"]


def test_a_part_that_is_killed_lends_what_it_finished_to_a_study_with_fewer_slots(
    driver: Driver, measured_now: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = driver.queue(2).next_task("a")
    assert isinstance(part, Task)
    killed_after(5, part, monkeypatch)
    assert len(driver.files) == len(measured_now) == 5
    assert [task.kind for task, _ in driver.run(1)] == ["test"]
    driver.check()
    assert len(measured_now) == BATCHES


def test_a_killed_test_goes_on_with_its_batches_in_more_slots(
    driver: Driver, measured_now: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = driver.queue(1).next_task("a")
    assert isinstance(test, Task) and test.kind == "test"
    killed_after(9, test, monkeypatch)
    assert "test/clean" in json.loads((driver.place / TEST).read_text())["per_class"]
    tasks = [task for task, _ in driver.run(2)]
    assert [task.kind for task in tasks] == ["part", "part", "test"]
    assert tasks[0].attacks == ("pgd20", "aa")  # clean is measured
    driver.check()
    assert len(measured_now) == BATCHES


def test_what_is_torn_changed_or_of_others_is_measured_again(
    driver: Driver, measured_now: list[str]
) -> None:
    queue = driver.queue(2)
    for slot in "ab":
        task = queue.next_task(slot)
        assert isinstance(task, Task)
        driver.do(task)
    files = driver.files
    assert len(files) == BATCHES
    torn, changed, misplaced, other, last = files[0], files[4], files[5], files[8], files[-1]
    torn.write_text(torn.read_text()[:50])
    kept = json.loads(changed.read_text())
    flipped = {"0": "1", "1": "0"}[kept["right"][0]] + kept["right"][1:]
    changed.write_text(json.dumps({**kept, "right": flipped}))
    shutil.copy(other, misplaced)
    last.write_text("[1]")
    del measured_now[:]
    driver.run(1)
    driver.check()
    assert len(measured_now) == 4


def test_a_batch_alone_is_that_of_the_whole_images() -> None:
    images = torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1)
    part = MeasuredPart.of("test", LabelledImages(images, torch.arange(20) % 2), 14)
    every = list(part.batches(4))
    assert part.count_batches(4) == len(every) == 4  # of 4, 4, 4 and 2 images
    for number, (units, targets, places) in enumerate(every):
        ((alone, labels, where),) = part.batch(number, 4).batches(4)
        assert torch.equal(alone, units) and torch.equal(labels, targets)
        assert torch.equal(where, places)


def test_answers_belong_to_weights_images_attack_and_batch_size(tmp_path: Path) -> None:
    config = TrialConfig.from_flat({"data.name": "digits"})
    images = torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1)
    part = MeasuredPart.of("test", LabelledImages(images, torch.zeros(4).long()), None)
    turned = MeasuredPart.of("test", LabelledImages(images.flip(0), torch.zeros(4).long()), None)

    def place(
        weights: str = "a", part: MeasuredPart = part, attack: str = "pgd20",
        changed: Mapping[str, float] = MappingProxyType({}),
    ) -> Path:  # fmt: skip
        files = batch_files.BatchFiles(tmp_path, weights=weights, precision="fp32")
        return files._folder(part, attack, config.replace(dict(changed)))

    places = [
        place(), place("b"), place(part=turned), place(attack="pgd21"),
        place(changed={"evaluation.batch_size": 2}), place(changed={"evaluation.eps": 0.3}),
        place(changed={"evaluation.step_size": 0.01}),
    ]  # fmt: skip
    assert len(set(places)) == len(places)
    assert place() == places[0]


@pytest.mark.parametrize("damage", ["torn", "lost"])
def test_a_part_leaves_damaged_weights_to_the_test(driver: Driver, damage: str) -> None:
    checkpoint = driver.place / "checkpoint.pt"
    if damage == "torn":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    else:
        checkpoint.unlink()
    found = checkpoint.read_bytes() if checkpoint.exists() else None
    part = driver.queue(2).next_task("a")
    assert isinstance(part, Task) and driver.do(part)["state"] == "complete"
    assert (checkpoint.read_bytes() if checkpoint.exists() else None) == found
    assert driver.files == []
    driver.run(2)  # the test trains them again
    driver.check()


def test_a_part_that_fails_fails_nothing(driver: Driver) -> None:
    queue = driver.queue(2)
    for slot in "ab":
        queue.next_task(slot)
    for slot in "ab":
        failed = {"state": "failed", "reason": "no luck", "seconds": 1.0}
        queue.on_end(slot, {"event": failed}, error=False)
    assert queue.unconfirmed == [] and queue.stop_reason is None
    test = queue.next_task("c")
    assert isinstance(test, Task) and test.kind == "test"


def test_upkeep_deletes_what_a_killed_look_left(tested: Path, tmp_path: Path) -> None:
    study = shutil.copytree(tested, tmp_path / "mini")
    (place,) = study.glob("confirmations/*/*")
    left = [place / TEST_BATCHES, place / ".sentinel"]
    for folder in left:
        folder.mkdir()
        (folder / "000000.json").write_text("{}")
    assert {item.path for item in waste(StudyFolder(study))} >= set(left)
    (study / "results.json").unlink()  # a resume goes on from them
    assert not {item.path for item in waste(StudyFolder(study))} & set(left)


def test_a_study_with_two_slots_shares_its_one_test(tested: Path, tmp_path: Path) -> None:
    resources = {"concurrency": 2, "mirrors": ["tensorboard"]}
    done = run("run", space_in(tmp_path, ("clean", "pgd20"), resources=resources), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "seed 1" in line]
    assert sum("part 1 of 2 measured" in line for line in said) == 1, done.stderr
    assert sum("part 2 of 2 measured" in line for line in said) == 1
    assert "tested: clean" in said[-1]
    study = tmp_path / "studies" / "mini"
    (one,), (other,) = (folder.glob("confirmations/*/*") for folder in (tested, study))
    alone = json.loads((one / TEST).read_text())  # the same training, and AutoAttack beside
    for name in ("metrics", "per_class", "images", "correct"):
        alone[name] = {a: v for a, v in alone[name].items() if "aa" not in re.split("[/_]", a)}
    shared = json.loads((other / TEST).read_text())
    assert shared == alone and set(shared["correct"]) == {"clean", "pgd20"}
    assert not (other / TEST_BATCHES).exists()
    runs = mlflow_runs(study)
    (confirmed,) = [r for r in runs if r.data.tags.get("kind") == "confirmation"]
    assert confirmed.info.status == "FINISHED"
    assert confirmed.data.metrics["test/pgd20_acc"] == shared["metrics"]["test/pgd20_acc"]
