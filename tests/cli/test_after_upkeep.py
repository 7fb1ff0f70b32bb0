"""A real study after `gc` and `rm --keep-best`: what still works, and what is said of the rest."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltat_tune.cli import main
from tests.drive import call

FIRST, SECOND = "imbalance_ratio_2", "imbalance_ratio_4"


def told(folder: Path, *arguments: str) -> str:
    """What a command prints in the folder that holds `studies`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner(env={"COLUMNS": "100"}).invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def compared(small_study: Path) -> str:
    """What `compare` says of the whole study."""
    return told(small_study.parent.parent, "compare", "mini")


@pytest.fixture(scope="module")
def swept(small_study: Path, compared: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a copy of the study after `gc`."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(small_study, folder / "studies" / "mini")
    assert "decoded images" in told(folder, "gc", "--yes")
    return folder


@pytest.fixture(scope="module")
def kept(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after `rm --keep-best`, too."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(swept / "studies", folder / "studies")
    assert "freed" in told(folder, "rm", "mini", "--keep-best", "--yes")
    return folder


def test_after_gc_everything_goes_on(swept: Path, compared: str) -> None:
    assert told(swept, "compare", "mini") == compared
    assert "its weights were deleted" not in told(swept, "show", f"mini/{FIRST}/t0001")
    drawn = told(swept, "figures", "mini", "--only", "learning_curves,rbl_weights")
    assert drawn.count(".pdf") == 2
    told(swept, "report", "mini")
    assert "were deleted" not in (swept / "studies" / "mini" / "report.html").read_text()
    told(swept, "export", "mini", "--checkpoint", "--scenario", FIRST, "--quiet")
    assert (swept / "exports" / f"best-{FIRST}.safetensors").exists()


def test_after_keep_best_numbers_winners_and_their_files_are_there(
    kept: Path, compared: str
) -> None:
    assert told(kept, "compare", "mini") == compared
    told(kept, "export", "mini", "--checkpoint", "--scenario", SECOND, "--quiet")
    assert (kept / "exports" / f"best-{SECOND}.safetensors").exists()
    shown = told(kept, "show", f"mini/{FIRST}/t0001")
    assert "its weights were deleted (gc or rm --keep-best); train it again to" in shown
    assert "MLflow: its runs were deleted; ltat-tune resume mini writes them again" in shown
    told(kept, "report", "mini")
    page = (kept / "studies" / "mini" / "report.html").read_text()
    assert page.count("The weights of 2 trials were deleted (ltat-tune gc or rm --keep-best)") == 2
    assert re.search(r"more than \d+ s; 2 checkpoints deleted", page)


def test_a_figure_that_lacks_weights_names_the_command_that_makes_them(kept: Path) -> None:
    text, commands = "", []
    for _ in range(5):  # the baselines of two scenarios with two seeds
        text = told(kept, "figures", "mini", "--only", "learning_curves,rbl_weights")
        if "missing" not in text:
            break
        said = re.search(r"missing: mini/\S+ has no checkpoint.pt any more\n +make it with: (.*)",
                         text)  # fmt: skip
        assert said is not None, text
        commands.append(shlex.split(said[1]))
        assert commands[-1][:2] == ["ltat-tune", "train"]
        told(kept, *commands[-1][1:], "--quiet")
    assert text.count(".pdf") == 2
    assert len(commands) == len({tuple(command) for command in commands}) > 0


def test_resume_writes_mlflow_s_runs_again_so_that_export_registers(kept: Path) -> None:
    asked = ("export", "mini", "--scenario", FIRST, "--register", "kept")
    refused = call(*asked, cwd=kept)
    assert refused.returncode == 2
    assert re.search(
        r"^error: sqlite:///\S+ has no run imbalance_ratio_2/\w+-seed1 of study mini; it may "
        r"have been deleted; to write the study's runs again: ltat-tune resume mini$",
        refused.stderr, re.M,
    )  # fmt: skip
    results = (kept / "studies" / "mini" / "results.json").read_bytes()
    resumed = call("resume", "mini", "--in-process", "--quiet", cwd=kept)
    assert resumed.returncode == 0, resumed.stderr
    assert (kept / "studies" / "mini" / "results.json").read_bytes() == results
    done = call(*asked, cwd=kept)
    assert done.returncode == 0, done.stderr
    assert "models:/kept@champion (version 1): equal to the last bit" in done.stderr
