"""What a training leaves, written and read again, also as 0.4.0 wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltat_tune.errors import StudyError
from ltat_tune.storage.training_files import (
    BrokenTraining,
    CompleteTraining,
    KeptAnswers,
    MaskingReport,
    MeasuredOnTest,
    read_complete,
    read_masking,
    read_test,
    read_training,
    write_masking,
    write_test,
    write_training,
)

COMPLETE = CompleteTraining(
    state="complete", epoch=4, metrics={"val/clean_acc": 0.5}, weights="abcd", precision="bf16",
    per_class={"val/clean": [1.0, None]}, predicted=[[3, 1]], ae_distances=[[0.5, None]],
    subset_hash="0123", samples_per_class=[3, 1], classes=["a", "b"], image_shape=[1, 8, 8],
)  # fmt: skip
BROKEN = BrokenTraining(state="failed", reason="Traceback:\nRuntimeError: why", seconds=1.5)
TESTED = MeasuredOnTest(
    state="complete", epoch=4, weights="abcd", metrics={}, per_class={}, images={}
)
# ten images of four classes: of class 0 the answers are 0110, of class 1 1011, of class 2 10
CORRECT = np.array([1, 0, 0, 1, 1, 1, 1, 0, 1, 0], dtype=np.bool_)
TARGETS = np.array([1, 0, 1, 1, 0, 2, 0, 2, 1, 0])
KEPT = KeptAnswers(images=[4, 4, 2, 0], bits="a4A=")  # the bytes 01101011 10000000
# with what the sentinel writes and only itself reads
REPORT: dict[str, Any] = {
    "verdict": "suspicious", "headline": "suspicious: look", "images": 100, "right": 80,
    "eps": 0.1, "left_out": [], "checks": [
        {"title": "CW", "triggered": True, "severity": "warning", "sentence": "CW breaks more.",
         "threshold": 0.1},
        {"title": "FGSM", "triggered": False, "severity": "serious", "sentence": "None."},
    ],
}  # fmt: skip


@pytest.mark.parametrize("end", [COMPLETE, BROKEN])
def test_a_training_that_ended_is_read_as_it_was_written(
    tmp_path: Path, end: CompleteTraining | BrokenTraining
) -> None:
    write_training(tmp_path, end)
    assert read_training(tmp_path) == end
    assert read_complete(tmp_path) == (end if end is COMPLETE else None)


def test_a_file_has_its_fields_as_keys_and_a_version(tmp_path: Path) -> None:
    write_training(tmp_path, BROKEN)
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "version": 1, "state": "failed", "reason": BROKEN.reason, "seconds": 1.5,
    }  # fmt: skip


def test_each_attack_adds_to_what_was_measured(tmp_path: Path) -> None:
    write_test(tmp_path, TESTED.with_attack("clean", {"test/clean_acc": 0.5}, [0.5, None], KEPT))
    measured = read_test(tmp_path)
    assert measured is not None
    assert measured.has("clean") and not measured.has("aa")
    fewer = KeptAnswers(images=[1, 1], bits="gA==")
    measured = measured.with_attack("aa", {"test/aa_acc": 0.25}, [0.25, None], fewer)
    assert measured.metrics == {"test/clean_acc": 0.5, "test/aa_acc": 0.25}
    assert measured.images == {"clean": 10, "aa": 2}
    assert measured.correct == {"clean": KEPT, "aa": fewer}
    assert TESTED.metrics == {}


def test_answers_are_kept_class_by_class_one_bit_each(tmp_path: Path) -> None:
    assert KeptAnswers.of(CORRECT, TARGETS, classes=4) == KEPT
    write_test(tmp_path, TESTED.with_attack("pgd20", {}, [], KEPT))
    document = json.loads((tmp_path / "test.json").read_text())
    assert document["correct"] == {"pgd20": {"images": [4, 4, 2, 0], "bits": "a4A="}}
    measured = read_test(tmp_path)
    assert measured is not None
    found = measured.answers("pgd20")
    assert found is not None
    correct, classes = found
    assert correct.dtype == np.bool_ and classes.dtype == np.int64
    assert correct.astype(int).tolist() == [0, 1, 1, 0, 1, 0, 1, 1, 1, 0]
    assert classes.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_a_test_without_kept_answers_is_read_and_has_none(tmp_path: Path) -> None:
    before = {
        "state": "complete", "epoch": 4, "weights": "abcd", "metrics": {"test/clean_acc": 0.5},
        "per_class": {"test/clean": [0.5]}, "images": {"clean": 10},
    }  # fmt: skip
    (tmp_path / "test.json").write_text(json.dumps(before))
    measured = read_test(tmp_path)
    assert measured is not None and measured.has("clean")
    assert measured.answers("clean") is None
    assert measured.as_data() == before


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        ({"images": [4, 5], "bits": "gA=="}, "bits must be 2 B long for 9 images, got 1 B"),
        ({"images": [4, 4], "bits": "a4A="}, "bits must be 1 B long for 8 images, got 2 B"),
        ({"images": [2], "bits": "#"}, "correct.pgd20"),
        ({"images": [-1], "bits": ""}, "greater than or equal to 0"),
    ],
)
def test_torn_answers_are_refused(tmp_path: Path, kept: dict[str, Any], problem: str) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps({**TESTED.as_data(), "correct": {"pgd20": kept}}))
    with pytest.raises(StudyError) as caught:
        read_test(tmp_path)
    assert problem in str(caught.value)
    assert f"{path} is not as ltat-tune writes it (correct.pgd20" in str(caught.value)


def test_a_sentinel_report_keeps_what_only_the_sentinel_reads(tmp_path: Path) -> None:
    write_masking(tmp_path, MaskingReport(**REPORT))
    assert json.loads((tmp_path / "sentinel.json").read_text()) == REPORT
    report = read_masking(tmp_path)
    assert report is not None and not report.is_clear
    assert [check.title for check in report.triggered] == ["CW"]


@pytest.mark.parametrize("read", [read_training, read_complete, read_test, read_masking])
def test_a_file_that_is_not_there_is_none(
    tmp_path: Path, read: Callable[[Path], object | None]
) -> None:
    assert read(tmp_path) is None


def test_files_of_0_4_0_have_no_version_and_may_lack_what_came_last(tmp_path: Path) -> None:
    before = {
        "state": "complete", "epoch": 4, "metrics": {"val/clean_acc": 0.5}, "weights": "abcd",
        "per_class": {}, "subset_hash": "0123", "samples_per_class": [3, 1],
    }  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps(before))
    trained = read_complete(tmp_path)
    assert trained is not None
    assert (trained.precision, trained.predicted, trained.classes) == ("fp32", [], None)
    assert trained.as_data() == before
    (tmp_path / "result.json").write_text(json.dumps({"state": "diverged", "reason": "nan"}))
    assert read_training(tmp_path) == BrokenTraining(state="diverged", reason="nan")


@pytest.mark.parametrize(("read", "name"), [(read_training, "result"), (read_test, "test")])
def test_a_later_version_is_refused(
    tmp_path: Path, read: Callable[[Path], object | None], name: str
) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"version": 2, "state": "complete"}))
    with pytest.raises(StudyError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{path} must have version 1 or an earlier one, got version 2; read it with the "
        "ltat-tune that wrote it, or a later one"
    )


def test_a_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text('{"epoch": "last", "state": "complete"}')
    with pytest.raises(StudyError) as caught:
        read_test(tmp_path)
    assert str(caught.value) == (
        f"{path} is not as ltat-tune writes it (epoch: Input should be a valid integer, unable to "
        'parse string as an integer, got "last"); restore it from a copy, or delete it and resume '
        "the study"
    )
    path.write_text("[1, 2]")
    with pytest.raises(StudyError, match=r"writes it \(the file: Input should be .* got \[1, 2\]"):
        read_test(tmp_path)
