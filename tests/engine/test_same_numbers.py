"""One model has one number under one attack, wherever it is printed.

The numbers are worked out from the answers that a confirmation keeps, image by image, and looked
for in every place that shows them, of a study that has all kinds of attacks: with the noise of a
place (`pgd20`, `cw3`, `pgd3x2`) and of a batch (`square`), on all images and on a part.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ltat_tune.config.config_file import load_config
from ltat_tune.data.datasets import load_splits
from ltat_tune.storage.training_files import MeasuredOnTest, read_test
from ltat_tune.training.evaluation import MeasuredPart
from tests.drive import MINI, call, mlflow_runs, write_space

# MLflow's own warnings, about what it is built on
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
ATTACKS = ("clean", "pgd20", "cw3", "pgd3x2", "square")
IMAGES = {"square": 20}  # evaluation.aa_images; the others have all 400
SENTINEL_IMAGES = 200  # a part in `evaluate --images`
SCENARIO = "imbalance_ratio_4"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a winner and a baseline, an own step size and batches that are not whole."""
    folder = tmp_path_factory.mktemp("same-numbers")
    space = write_space(
        folder,
        fixed={
            **MINI["fixed"], "evaluation.aa_images": IMAGES["square"],
            "evaluation.step_size": 0.02, "evaluation.batch_size": 150,
        },
        scenarios={"data.imbalance_ratio": [4]},
        searcher={"trials": 2},
        confirm={"top": 1, "seeds": [1, 2], "attacks": list(ATTACKS), "sentinel": True},
    )  # fmt: skip
    done = call("--space", space, "--in-process", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "studies" / "mini"


@pytest.fixture(autouse=True)
def threads_kept() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _results(study: Path) -> dict[str, Any]:
    (scenario,) = json.loads((study / "results.json").read_text())["scenarios"]
    return dict(scenario)


def _confirmed(study: Path, name: str) -> tuple[list[Path], dict[str, list[float]]]:
    """The folders of the winner or the baseline by seed, and each attack's accuracies, kept."""
    flag = "is_winner" if name == "winner" else "is_baseline"
    (one,) = [c for c in _results(study)["confirmed"] if c[flag]]
    places = [
        study / "confirmations" / SCENARIO / f"{one['recipe']}-seed{s}" for s in one["seeds"]
    ]
    kept = {attack: [_accuracy(place, attack) for place in places] for attack in ATTACKS}
    return places, kept


def _tested(place: Path) -> MeasuredOnTest:
    tested = read_test(place)
    assert tested is not None
    return tested


def _accuracy(place: Path, attack: str) -> float:
    answers = _tested(place).answers(attack)
    assert answers is not None
    correct, _ = answers
    assert len(correct) == IMAGES.get(attack, 400)
    return int(correct.sum()) / len(correct)


def _shown(values: list[float]) -> str:
    return f"{100 * statistics.fmean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


def _json(study: Path, *words: str) -> Any:
    done = call(*words, "--format", "json", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_kept_answers_give_the_numbers_beside_them(study: Path, attack: str) -> None:
    for name in ("winner", "baseline"):
        for place in _confirmed(study, name)[0]:
            tested = _tested(place)
            answers = tested.answers(attack)
            assert answers is not None
            correct, classes = answers
            assert len(correct) == tested.images[attack]
            assert correct.mean() == pytest.approx(tested.metrics[f"test/{attack}_acc"])
            recalls = [correct[classes == label].mean() for label in range(10)]
            assert recalls == pytest.approx(tested.per_class[f"test/{attack}"])
            balanced = tested.metrics[f"test/{attack}_balanced_acc"]
            assert float(np.mean(recalls)) == pytest.approx(balanced)


def test_results_summary_and_report_show_them(study: Path) -> None:
    done = call("report", "mini", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    page = re.sub(r"<[^>]*>", " ", (study / "report.html").read_text())
    summary = (study / "summary.txt").read_text().splitlines()
    for name in ("winner", "baseline"):
        _, kept = _confirmed(study, name)
        flag = "is_winner" if name == "winner" else "is_baseline"
        (one,) = [c for c in _results(study)["confirmed"] if c[flag]]
        for attack in ATTACKS:
            assert one["test"][f"test/{attack}_acc"] == pytest.approx(kept[attack])
            (line,) = [text for text in summary if text.startswith(f"test/{attack}_acc ")]
            assert _shown(kept[attack]) in line
            assert _shown(kept[attack]) in page


def test_mlflow_has_them(study: Path) -> None:
    runs = {run.data.tags.get("identity"): run.data.metrics for run in mlflow_runs(study)
            if run.data.tags.get("kind") == "confirmation"}  # fmt: skip
    for name in ("winner", "baseline"):
        places, kept = _confirmed(study, name)
        for number, place in enumerate(places):
            config, _ = load_config(place / "config.yaml")
            for attack in ATTACKS:
                logged = runs[config.identity][f"test/{attack}_acc"]
                assert logged == pytest.approx(kept[attack][number])


@pytest.mark.parametrize("attack", ATTACKS)
def test_compare_shows_them(study: Path, attack: str) -> None:
    compared = _json(study, "compare", "mini", "--metric", f"test/{attack}_acc")
    entries = {entry["role"]: entry for entry in compared["blocks"][0]["entries"]}
    for name in ("winner", "baseline"):
        _, kept = _confirmed(study, name)
        values = [seed["metrics"][f"test/{attack}_acc"] for seed in entries[name]["seeds"]]
        assert values == pytest.approx(kept[attack])


def test_evaluate_gives_them_again_with_their_mean_over_the_seeds(study: Path) -> None:
    places, kept = _confirmed(study, "winner")
    words = ("evaluate", "mini", "--attacks", ",".join(ATTACKS), "--no-sentinel", "--quiet")
    measured = _json(study, *words)
    assert len(measured["cards"]) == len(places)
    for number, (place, card) in enumerate(zip(places, measured["cards"], strict=True)):
        tested = _tested(place)
        for row in card["rows"]:
            attack = row["attack"]
            assert row["images"] == tested.images[attack]
            assert row["numbers"]["acc"] == pytest.approx(kept[attack][number])
            recalls = [found["acc"] for found in row["per_class"]]
            assert recalls == pytest.approx(tested.per_class[f"test/{attack}"])
    (block,) = measured["over_seeds"]
    assert block["heading"] == f"mean ± standard deviation over {len(places)} seeds"
    assert [row["attack"] for row in block["rows"]] == [*ATTACKS, "worst case"]
    for row in block["rows"][:-1]:
        values = kept[row["attack"]]
        assert row["values"]["acc"] == pytest.approx(values)
        assert row["mean"]["acc"] == pytest.approx(statistics.fmean(values))
        assert row["std"]["acc"] == pytest.approx(statistics.stdev(values))

    done = call(*words, cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("digits test, 400 images, square on 20 of them, linf, %") == 2
    shown = done.stdout[done.stdout.index(block["name"] + ": mean ± standard deviation") :]
    for attack in ATTACKS:
        (line,) = [text for text in shown.splitlines() if text.startswith(f"{attack} ")]
        assert line.split(maxsplit=3)[2:][0] == str(IMAGES.get(attack, 400))
        assert _shown(kept[attack]) in line


def test_an_export_has_them_and_gives_them_again(study: Path) -> None:
    places, kept = _confirmed(study, "winner")
    done = call("export", "mini", "--checkpoint", cwd=study.parents[1])
    assert done.returncode == 0, done.stderr
    exported = study.parents[1] / "exports" / f"best-{SCENARIO}.safetensors"
    recorded = yaml.safe_load(exported.with_suffix(".yaml").read_text())["recorded"]
    model_card = exported.with_suffix(".md").read_text().splitlines()
    words = ("--attacks", ",".join(ATTACKS), "--no-sentinel", "--quiet")
    card = _json(study, "evaluate", str(exported), *words)
    for row in card["rows"]:
        attack = row["attack"]
        assert recorded["test"][f"test/{attack}_acc"] == pytest.approx(kept[attack][0])
        assert row["numbers"]["acc"] == pytest.approx(kept[attack][0])
        (line,) = [text for text in model_card if text.startswith(f"| test/{attack}_acc |")]
        assert _shown(kept[attack]) in line and f"| {100 * kept[attack][0]:.1f} |" in line


def test_the_sentinels_pgd20_is_the_number_on_its_images(study: Path) -> None:
    """All 400 in the study; in `evaluate --images`, the part of them that it names."""
    places, kept = _confirmed(study, "winner")
    report = json.loads((places[0] / "sentinel.json").read_text())
    assert report["images"] == 400
    assert _pgd20(report) == pytest.approx(100 * kept["pgd20"][0])

    card = _json(
        study, "evaluate", str(places[0]), "--attacks", "pgd20", "--images", str(SENTINEL_IMAGES),
        "--quiet",
    )  # fmt: skip
    config, _ = load_config(places[0] / "config.yaml")
    test = load_splits(config, cache_dir=study / "data").test()
    chosen = MeasuredPart.of("test", test, SENTINEL_IMAGES)
    answers = _tested(places[0]).answers("pgd20")
    assert answers is not None
    by_place = np.empty(len(test), dtype=np.bool_)
    by_place[np.argsort(test.targets.numpy(), kind="stable")] = answers[0]
    expected = by_place[chosen.places.numpy()].mean()
    assert card["rows"][1]["numbers"]["acc"] == pytest.approx(expected)
    (watched,) = card["sentinel"]
    assert watched["images"] == SENTINEL_IMAGES
    assert _pgd20(watched) == pytest.approx(100 * expected)


def _pgd20(report: dict[str, Any]) -> float:
    (figures,) = [c["figures"] for c in report["checks"] if c["name"] == "one_step"]
    return float(figures["pgd20"])
