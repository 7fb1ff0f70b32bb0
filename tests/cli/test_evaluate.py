"""`ltat-tune evaluate` on a real study of digits: cards, sweeps, kills, workers, refusals."""

from __future__ import annotations

import json
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from ltat_tune.backend.stop_signals import STOPPING
from ltat_tune.cli import main
from ltat_tune.evaluation.card import metrics
from tests.drive import MINI, Running, call, mlflow_runs, write_space
from tests.evaluation.trainings import train_into

# MLflow's own warnings, about what it is built on
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with one scenario and a winner of two seeds."""
    folder = tmp_path_factory.mktemp("evaluated")
    space = write_space(
        folder,
        fixed={**MINI["fixed"], "optim.epochs": 3, "evaluation.aa_images": 20},
        scenarios={"data.imbalance_ratio": [2]},
        searcher={"trials": 2},
        confirm={"top": 1, "seeds": [1, 2], "attacks": ["clean"]},
    )
    done = call("--space", space, "--in-process", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "studies" / "mini"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another working folder for each test: no test reads batches that another has kept."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    yield
    torch.set_num_threads(threads)


def _run(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--quiet"])


def _cards(*arguments: str | Path | int) -> Any:
    done = _run(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def _confirmation(study: Path, seed: int) -> Path:
    return next((study / "confirmations" / "imbalance_ratio_2").glob(f"*-seed{seed}"))


NUMBERS = (
    "attack", "scale", "eps", "norm", "step_size", "images", "images_hash", "numbers", "intervals",
    "per_class", "ece", "reliability", "confusion",
)  # fmt: skip


def _numbers(card: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in NUMBERS} for row in card["rows"]]


def test_every_number_of_a_card_comes_again_with_the_command_beside_it(
    study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In another folder, so that no batch is read back."""
    model = _confirmation(study, 1)
    card = _cards(model, "--attacks", "pgd5,aa", "--eps", "13/255", "--no-sentinel")
    assert [row["attack"] for row in card["rows"]] == ["clean", "pgd5", "aa"]
    assert [row["images"] for row in card["rows"]] == [400, 400, 20]  # evaluation.aa_images
    again_folder = tmp_path / "again"
    again_folder.mkdir()
    monkeypatch.chdir(again_folder)
    for row, numbers in zip(card["rows"], _numbers(card), strict=True):
        words = shlex.split(row["command"])
        assert words[:2] == ["ltat-tune", "evaluate"]
        again = _cards(*words[2:])
        assert again["model"]["weights"] == card["model"]["weights"]
        found = next(r for r in _numbers(again) if r["attack"] == row["attack"])
        assert found == numbers
    assert card["worst_case"][0]["images"] == 20


def test_the_worst_case_comes_again_with_its_command_and_is_below_every_attack(
    study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card = _cards(_confirmation(study, 1), "--attacks", "pgd3,cw3,fgsm", "--no-sentinel")
    (worst,) = card["worst_case"]
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    assert _cards(*shlex.split(worst["command"])[2:])["worst_case"] == [worst]
    assert worst["numbers"]["acc"] <= min(row["numbers"]["acc"] for row in card["rows"])


def test_a_card_says_what_was_measured_on_what(study: Path) -> None:
    model = _confirmation(study, 2)
    card = _cards(model, "--attacks", "pgd3", "--images", 50)
    assert card["model"]["training_seed"] == 2
    assert card["data"]["samples_per_class"][0] == 20
    assert card["selected_on_test"] is False
    result = json.loads((model / "result.json").read_text())
    assert card["model"]["weights"] == result["weights"]
    assert card["data"]["subset_hash"] == result["subset_hash"]
    (sentinel,) = card["sentinel"]
    assert sentinel["verdict"] in ("clear", "suspicious", "masked")
    (written,) = Path("evaluations").glob("*.json")
    assert json.loads(written.read_text()) == card
    robust = card["rows"][1]
    assert sum(map(sum, robust["confusion"])) == robust["images"] == 50
    assert robust["step_size"] == pytest.approx(0.1 / 4)


def test_a_study_means_every_seed_of_its_winner_and_mlflow_gets_the_cards(study: Path) -> None:
    done = _run(
        "mini", "--out", study.parent, "--attacks", "pgd3", "--images", 20, "--no-sentinel"
    )
    assert done.exit_code == 0, done.output
    assert "again: ltat-tune evaluate " in done.stdout
    cards = [json.loads(path.read_text()) for path in Path("evaluations").glob("*.json")]
    assert sorted(card["model"]["training_seed"] for card in cards) == [1, 2]
    results = json.loads((study / "results.json").read_text())
    assert {card["model"]["recipe"] for card in cards} == {results["scenarios"][0]["winner"]}
    runs = {r.data.tags.get("identity"): r for r in mlflow_runs(study)
            if r.data.tags.get("kind") == "confirmation"}  # fmt: skip
    for card in cards:
        found = runs[card["model"]["identity"]]
        value = card["rows"][1]["numbers"]["balanced_acc"]
        assert found.data.metrics["card/test/linf-0.1/pgd3_balanced_acc"] == value
        assert found.data.tags["state"] == "complete"
        artifacts = study / "mlflow-artifacts" / found.info.run_id / "artifacts" / "cards"
        texts = [json.loads(path.read_text()) for path in artifacts.iterdir()]
        assert card in texts


def test_a_sweep_has_a_row_for_every_radius_and_one_for_clean(study: Path) -> None:
    """A larger ball holds the smaller: accuracy may only fall, but for the noise of the start."""
    card = _cards(
        _confirmation(study, 1), "--attacks", "pgd10", "--eps", "0.02,0.1,0.3", "--no-sentinel"
    )
    assert [(row["attack"], row["eps"]) for row in card["rows"]] == [
        ("clean", 0.0), ("pgd10", 0.02), ("pgd10", 0.1), ("pgd10", 0.3),
    ]  # fmt: skip
    values = [row["numbers"]["acc"] for row in card["rows"]]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_the_order_of_attacks_and_the_batch_size_change_no_number(study: Path) -> None:
    """But for the rounding of confidences: sums are in another order in other batches."""
    model = _confirmation(study, 1)
    one = _cards(model, "--attacks", "pgd3,cw2x2", "--no-sentinel", "--batch-size", 37)
    other = _cards(
        model, "--attacks", "cw2x2,pgd3", "--no-sentinel", "--batch-size", 333, "--to", "other"
    )
    by_name = {row["attack"]: row for row in other["rows"]}
    for row in one["rows"]:
        again = by_name[row["attack"]]
        for name in ("images_hash", "numbers", "intervals", "per_class", "confusion", "noise"):
            assert row[name] == again[name]
        assert row["ece"] == pytest.approx(again["ece"], abs=1e-5)
    assert [row["noise"] for row in one["rows"]] == ["none", "place", "place"]
    assert one["worst_case"][0]["numbers"] == other["worst_case"][0]["numbers"]


def test_the_worst_case_alone_is_that_of_every_attack_for_itself(
    study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, attacks = _confirmation(study, 1), ("pgd3", "cw3", "fgsm")
    asked = ("--attacks", ",".join(attacks), "--eps", "13/255", "--step-size", "5/255")
    each = _cards(model, *asked, "--no-sentinel")
    quick = _cards(model, *asked, "--no-sentinel", "--worst-case")
    assert (each["mode"], quick["mode"]) == ("each_alone", "worst_case")
    for name in ("images", "numbers", "per_class", "intervals", "attacks"):
        assert quick["worst_case"][0][name] == each["worst_case"][0][name]
    assert [row["after"] for row in quick["rows"]] == [None, [], ["pgd3"], ["pgd3", "cw3"]]
    assert [row["after"] for row in each["rows"]] == [None] * 4
    # the first attack saw what it sees alone, the last row is the worst case
    assert quick["rows"][1]["per_class"] == each["rows"][1]["per_class"]
    assert quick["rows"][3]["per_class"] == quick["worst_case"][0]["per_class"]
    assert "Only the first row shows what an attack does alone." in quick["notes"][0]
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    for row in quick["rows"]:
        again = _cards(*shlex.split(row["command"])[2:])["rows"][-1]
        assert _numbers({"rows": [again]}) == _numbers({"rows": [row]})
    words = shlex.split(quick["worst_case"][0]["command"])[2:]
    assert _cards(*words)["worst_case"] == quick["worst_case"]


def test_the_worst_case_alone_is_of_the_images_of_autoattack(study: Path) -> None:
    """So that every row is about the same images; evaluation.aa_images is 20."""
    done = _run(_confirmation(study, 1), "--attacks", "pgd3,aa", "--worst-case", "--no-sentinel")
    assert done.exit_code == 0, done.output
    (path,) = Path("evaluations").glob("*.json")
    card = json.loads(path.read_text())
    assert [row["images"] for row in card["rows"]] == [20, 20, 20]
    assert [row["noise"] for row in card["rows"]] == ["none", "place", "batch"]
    assert shlex.split(card["command"])[2:].count("--worst-case") == 1
    assert card["data"]["split_images"] == 400
    for text in ("after attack", "+ aa", "400 images", "Only the first row shows"):
        assert text in done.stdout
    found = metrics(card)
    assert found["card/test/linf-0.1/worst_case-pgd3-aa_acc"] == card["rows"][2]["numbers"]["acc"]
    assert found["card/test/linf-0.1/pgd3_acc"] == card["rows"][1]["numbers"]["acc"]
    assert "card/test/linf-0.1/aa_acc" not in found


def test_after_a_kill_the_same_command_gives_the_numbers_of_one_that_ran_through(
    study: Path, tmp_path: Path
) -> None:
    words = (_confirmation(study, 1), "--attacks", "cw3,pgd150", "--no-sentinel", "--batch-size",
             "100", "--worst-case")  # fmt: skip
    with Running("evaluate", *words, "--to", tmp_path / "killed", cwd=tmp_path) as process:
        _wait_for_a_batch(process, tmp_path / "killed")
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    before = _batches(tmp_path / "killed")
    assert 1 <= len(before) < 4
    killed = _cards(*words, "--to", tmp_path / "killed")
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())  # not done again
    assert _numbers(killed) == _numbers(_cards(*words, "--to", tmp_path / "whole"))


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    number: signal.Signals, study: Path, tmp_path: Path
) -> None:
    words = (_confirmation(study, 1), "--attacks", "pgd2000", "--no-sentinel")
    with Running("evaluate", *words, cwd=tmp_path) as process:
        _wait_for_a_batch(process, tmp_path / "evaluations", "clean")
        assert process.end(number) == 130
        assert "run the same command again" in process.log.read_text()


def _batches(folder: Path, attack: str = "pgd150") -> dict[Path, int]:
    abouts = (folder / ".state").glob("*/about.json")
    mine = [p.parent for p in abouts if json.loads(p.read_text())["attack"] == attack]
    return {path: path.stat().st_mtime_ns for f in mine for path in f.glob("0*.json")}


def _wait_for_a_batch(process: Running, folder: Path, attack: str = "pgd150") -> None:
    deadline = time.monotonic() + 120
    while not _batches(folder, attack):
        assert process.process.poll() is None, process.log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_models_in_workers_have_the_numbers_of_one_after_the_other(
    study: Path, tmp_path: Path
) -> None:
    models = [_confirmation(study, seed) for seed in (1, 2)]
    words: tuple[str | Path, ...] = (
        *models,
        "--attacks",
        "pgd5",
        "--images",
        "100",
        "--no-sentinel",
    )
    done = call(
        "evaluate", *words, "--parallel", "2", "--to", tmp_path / "both", "--quiet",
        "--format", "json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    both = json.loads(done.stdout)["cards"]
    serial = _cards(*words, "--to", tmp_path / "serial")["cards"]
    assert [_numbers(card) for card in both] == [_numbers(card) for card in serial]
    assert [card["model"]["training_seed"] for card in both] == [1, 2]


@pytest.mark.parametrize("own_scale", [1, 10])
def test_a_cosine_head_is_measured_at_scale_1_and_at_10_and_adaptively(own_scale: int) -> None:
    train_into(Path("robal"), model__head="cosine", model__head_scale=1.0, optim__epochs=1,
               model__inference_scale=own_scale)  # fmt: skip
    card = _cards("robal", "--attacks", "pgd3", "--images", 50, "--no-sentinel")
    assert [(row["scale"], row["attack"]) for row in card["rows"]] == [
        (1, "clean"), (1, "pgd3"), (1, "adaptive20"),
        (10, "clean"), (10, "pgd3"), (10, "adaptive20"),
    ]  # fmt: skip
    numbers = {(row["scale"], row["attack"]): row["numbers"] for row in card["rows"]}
    assert numbers[1, "clean"] == numbers[10, "clean"]  # a factor moves no largest logit
    own = _cards("robal", "--attacks", "pgd3", "--scales", "1", "--no-sentinel")
    assert [row["attack"] for row in own["rows"]] == ["clean", "pgd3"]


def test_models_that_share_their_weights_but_not_their_log_prior_share_no_batches() -> None:
    """Of one folder of batches: the second model must not be given the answers of the first."""
    for name, tau in (("plain", 0.0), ("shifted", 4.0)):
        train_into(Path(name), model__posthoc_tau=tau, optim__epochs=1, data__imbalance_ratio=8)
    words = ("--attacks", "pgd3", "--images", 100, "--no-sentinel")
    plain, shifted = _cards("plain", "shifted", *words)["cards"]
    assert plain["model"]["weights"] == shifted["model"]["weights"]
    alone = _cards("shifted", *words, "--to", "alone")
    assert _numbers(shifted) == _numbers(alone) != _numbers(plain)


def test_a_transfer_is_made_on_its_source_and_weaker_than_its_own_gradient(study: Path) -> None:
    model, source = _confirmation(study, 1), _confirmation(study, 2)
    card = _cards(
        model, "--attacks", "pgd10,transfer10", "--source", source, "--eps", "0.3",
        "--no-sentinel",
    )  # fmt: skip
    _, own, other = card["rows"]
    assert own["numbers"]["acc"] <= other["numbers"]["acc"]
    assert other["source"] is not None
    assert shlex.split(other["command"])[2:].count("--source") == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--attacks", "pgd20,deepfool"), "unknown attack 'deepfool'; choose from: clean, fgsm"),
        (("--attacks", "transfer20"), "transfer20 needs the model it is made on: name it with"),
        (("--attacks", "cwl2", "--norm", "linf"), "cwl2 must be run in norm l2, got norm linf"),
        (("--eps", "0.1,half"), "--eps must be a number or a fraction such as 8/255, got 'half'"),
        (("--eps", "0"), "--eps must be above 0"),
        (
            ("--eps", "8"),
            "--eps must be <= 1 in the norm linf, because images are in [0, 1], got "
            "8; did you mean 8/255, or --norm l2?",
        ),
        (("--eps", "128", "--norm", "l2"), "--eps must be <= 100, in pixel units of [0, 1], got"),
        (("--norm", "l2"), "--norm is l2 and the model is configured for linf, so --eps must be"),
        (("--attacks", ""), "--attacks must name one attack or more"),
        (("--device", "gpu"), "--device must be one of auto, cpu here, got gpu"),
        (("--device", "cuda:1", "--parallel", "2"), "--device must be auto, cuda or cpu with"),
        (("--seed", "99999999999"), "99999999999 is not in the range"),
        (("--step-size", "0.1,0.2"), "--step-size must be one number"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    study: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = _run(_confirmation(study, 1), *arguments)
    assert done.exit_code == 2
    assert problem in done.stderr
    assert not Path("evaluations").exists()


def test_one_model_that_cannot_be_read_stops_no_other(study: Path) -> None:
    good = _confirmation(study, 1)
    torn = Path("torn")
    torn.mkdir()
    (torn / "config.yaml").write_bytes((good / "config.yaml").read_bytes())
    (torn / "checkpoint.pt").write_bytes((good / "checkpoint.pt").read_bytes()[:1000])
    done = _run(torn, good, "--attacks", "clean", "--no-sentinel")
    assert done.exit_code == 1
    assert "error: torn: torn/checkpoint.pt is not a whole checkpoint" in done.stderr
    assert len(list(Path("evaluations").glob("*.json"))) == 1
    twice = _cards(good, good / "config.yaml", "--attacks", "clean", "--no-sentinel")
    assert (
        twice["model"]["name"]
        == json.loads(next(Path("evaluations").glob("*.json")).read_text())["model"]["name"]
    )  # one card, no list of two
    alone = _run(torn, "--attacks", "clean", "--no-sentinel")
    assert alone.exit_code == 2
