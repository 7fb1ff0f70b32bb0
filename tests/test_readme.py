"""The README's commands, run in order, so that they cannot rot."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.drive import mlflow_runs, run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def _commands() -> list[str]:
    """Lines that begin with `$ ` in the README's console blocks, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line[2:].partition("  #")[0].strip() for line in lines]


def test_the_readme_opens_with_the_two_commands() -> None:
    assert _commands()[:2] == ["scripts/study", "scripts/test"]
    for name in ("study", "test", "check"):
        script = ROOT / "scripts" / name
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", script], check=True)
    last = (ROOT / "scripts" / "study").read_text().splitlines()[-1]
    assert last == 'exec ltat-tune --space search_spaces/quickstart.yaml "$@"'


def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    """`scripts/study` is its last line here: the tests run in the environment it would make.

    The quickstart is half as long, with one seed and AutoAttack on an image of each class, unless
    LTAT_TEST_SLOW asks for all of it.
    """
    (tmp_path / "search_spaces").symlink_to(ROOT / "search_spaces")
    commands = [c for c in _commands() if c != "scripts/test"]
    whole = "LTAT_TEST_SLOW" in os.environ
    trials, seeds = (12, 3) if whole else (6, 1)
    less = f" --trials {trials} --set confirm.seeds=[0] --set evaluation.aa_images=10"
    shorter = "" if whole else less
    commands[0] = f"ltat-tune --space search_spaces/quickstart.yaml{shorter}"
    ran = 0
    for text in commands:
        words = text.split()
        if words[0] != "ltat-tune" or "PATH/TO" in text:
            continue  # what needs the reader's own images, or serves until Ctrl-C
        done = run(*words[1:], cwd=tmp_path, timeout_s=900)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        ran += 1
    assert ran >= 7
    study = tmp_path / "studies" / "quickstart"
    results = json.loads((study / "results.json").read_text())
    metric = results["objective"]
    assert metric == "val/pgd20_balanced_acc"
    for scenario in results["scenarios"]:
        assert sum(scenario["trials"].values()) >= trials
        assert scenario["trials"]["failed"] == scenario["trials"]["diverged"] == 0
        assert scenario["trials"]["pruned"] > 0
        by_recipe = {c["recipe"]: c for c in scenario["confirmed"]}
        winner, baseline = by_recipe[scenario["winner"]], by_recipe[scenario["baseline"]]
        assert sum(winner["val"][metric]) > sum(baseline["val"][metric])
        for attack in ("clean", "pgd20", "aa"):
            assert len(winner["test"][f"test/{attack}_acc"]) == seeds
    assert all(r.info.status != "RUNNING" for r in mlflow_runs(study))


def test_the_image_folder_study_runs_on_real_images(tmp_path: Path, cifar_folder: Path) -> None:
    (tmp_path / "images").symlink_to(cifar_folder)
    smaller = ("optim.epochs=3", "evaluation.every_epochs=1", "searcher.trials=3",
               "data.max_per_class=200", "confirm.seeds=[0]", "confirm.sentinel=false",
               "confirm.attacks=[clean, pgd20]")  # fmt: skip
    options = [part for value in smaller for part in ("--set", value)]
    space = ROOT / "search_spaces" / "image_folder.yaml"
    done = run("--space", space, *options, "--format", "json", cwd=tmp_path, timeout_s=900)
    assert done.returncode == 0, done.stderr
    scenario = json.loads(done.stdout)["scenarios"][0]
    assert sum(scenario["trials"].values()) == 3
    winner = next(c for c in scenario["confirmed"] if c["recipe"] == scenario["winner"])
    assert winner["samples_per_class"] == [200, 63, 20]
    assert winner["test_images"] == {"clean": 3000, "pgd20": 3000}
    best = tmp_path / "studies" / "image_folder" / "best" / "best-imbalance_ratio_10.yaml"
    trained = run("train", best, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "reproduced: weights" in trained.stderr
