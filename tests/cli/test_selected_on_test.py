"""A real study under the papers' protocol, `data.val_source: test`: marked wherever it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ltat_tune.cli import main
from tests.drive import MINI, call, mlflow_runs, write_space

BEST = "best-imbalance_ratio_2"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `studies` with the study `papers`; what it printed is in stdout.txt and stderr.txt."""
    folder = tmp_path_factory.mktemp("papers")
    space = write_space(
        folder, name="papers", scenarios={"data.imbalance_ratio": [2]}, searcher={"trials": 2},
        fixed={**MINI["fixed"], "data.val_source": "test", "optim.epochs": 2},
    )  # fmt: skip
    done = call("--space", space, "--in-process", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


def told(folder: Path, *arguments: str) -> str:
    """What a command prints in the folder that holds `studies`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner(env={"COLUMNS": "80"}).invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


def test_the_study_says_it_before_and_after(papers: Path) -> None:
    assert (
        "note: data.val_source is test (the papers' protocol): every result is marked "
        in (papers / "stderr.txt").read_text()
    )
    said = (papers / "stdout.txt").read_text()
    assert "selected_on_test: validation images are the test images\n" in said
    verdict = " ".join(said.partition(" reaches ")[2].split())
    assert "; selected on the test images (selected_on_test), so it is optimistic and" in verdict
    assert "p = " not in verdict and "is best" not in verdict


def test_ls_show_and_compare_mark_it(papers: Path) -> None:
    assert "papers finished, on test 2/2" in told(papers, "ls")
    assert "selected_on_test: validation images are the test images" in told(
        papers, "show", "papers/t0001"
    )
    assert "SELECTED ON TEST" in told(papers, "compare", "papers", "--by", "loss")


def test_the_report_says_what_it_was_chosen_on_and_nothing_else(papers: Path) -> None:
    told(papers, "report", "papers")
    page = (papers / "studies" / "papers" / "report.html").read_text()
    assert "<strong>Warning.</strong> selected_on_test: the validation images are the test" in (
        page
    )
    assert "; selected on the test images (selected_on_test), so it is optimistic and no p" in page
    assert "Chosen on the test images (selected_on_test); the val column is measured on" in page
    assert "looked at once" not in page and "Chosen by the validation column" not in page
    assert "the test images themselves: selected_on_test</td>" in page


def test_what_is_exported_says_it_too(papers: Path) -> None:
    told(papers, "export", "papers", "--quiet")
    text = (papers / "exports" / f"{BEST}.yaml").read_text()
    assert "# selected on the test images, so optimistic\n" in text
    assert yaml.safe_load(text)["recorded"]["selected_on_test"] is True
    card = (papers / "exports" / f"{BEST}.md").read_text()
    assert "> **selected_on_test.** Epochs and configurations were chosen on the test" in card


def test_every_run_in_mlflow_has_the_tag(papers: Path) -> None:
    runs = mlflow_runs(papers / "studies" / "papers")
    assert len(runs) > 4
    assert {found.data.tags["selected_on_test"] for found in runs} == {"true"}
