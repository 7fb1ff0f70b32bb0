"""A newcomer's mistakes: each gets its remedy in one line, in one spelling, with status 2."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ltat_tune.cli import main
from ltat_tune.config.attack_names import meant_attack
from tests.made_studies import made_study

SPACES = Path(__file__).parents[2] / "search_spaces"
FILE = "search_spaces/quickstart.yaml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two space files and a study."""
    (tmp_path / "search_spaces").mkdir()
    for name in ("quickstart", "srat"):
        shutil.copy(SPACES / f"{name}.yaml", tmp_path / "search_spaces")
    made_study(tmp_path / "studies", "made")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="ltat-tune")


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        (FILE, f"{FILE} is a file; run the study of a space file with `ltat-tune run {FILE}`"),
        ("quickstart.yaml", f"no file quickstart.yaml; did you mean `ltat-tune run {FILE}`?"),
        ("quickstrat", f"no command quickstrat; did you mean `ltat-tune run {FILE}`?"),
        ("made", "made is a study; see it with `ltat-tune report made`, or continue it with "
         "`ltat-tune resume made`"),
        ("resum made", "no command resum; did you mean `ltat-tune resume`?"),
        ("--trials 5", "--trials changes a study; name its space file: `ltat-tune run SPACE "
         "--trials`"),
        ("--out elsewhere ls", "--out stands before the command; write it after ls (see "
         "`ltat-tune --help`)"),
        ("run search_spaces/quickstat.yaml", "search_spaces/quickstat.yaml: no such file; did you "
         f"mean {FILE}?"),
        (f"run {FILE} --trials 0", "--trials must be >= 1, got 0"),
        (f"run {FILE} --budget soon", "--budget must be an amount above 0 and its unit, such as "
         "6h, 90min, 40gpuh or 500epochs, got 'soon'"),
        (f"plan {FILE} --trials 0", "--trials must be >= 1, got 0"),
        ("report mde", "no study in studies/mde; did you mean made? studies in studies: made"),
        ("run", "missing argument 'SPACE' (see `ltat-tune run --help`)"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("here")
def test_a_mistake_is_answered_by_its_remedy_in_one_line(typed: str, remedy: str) -> None:
    done = _run(*typed.split())
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [f"error: {remedy}"]
    assert done.stdout == ""


@pytest.mark.usefixtures("here")
def test_run_does_what_the_option_space_does() -> None:
    words = ("--dry-run", "--trials", "3", "--format", "json")
    assert _run("run", FILE, *words).stdout == _run("--space", FILE, *words).stdout
    assert '"trials": 3' in _run("plan", FILE, "--trials", "3", "--format", "json").stdout


@pytest.mark.parametrize(
    ("written", "meant"),
    [("pgd-20", "pgd20"), ("PGD_20x5", "pgd20x5"), ("pgd", "pgd20"), ("autoattack", "aa"),
     ("Auto-Attack", "aa"), ("C&W", "cw20"), ("fgms", "fgsm"), ("deepfool", None)],
)  # fmt: skip
def test_the_attack_that_was_meant(written: str, meant: str | None) -> None:
    assert meant_attack(written) == meant


@pytest.mark.usefixtures("here")
def test_mistyped_attacks_are_answered_with_those_that_were_meant() -> None:
    done = _run("run", FILE, "--set", "confirm.attacks=[clean, autoattack, pgd-20]")
    assert done.stderr.endswith("; did you mean aa, pgd20?\n")
    assert (
        "'pgd-20'; did you mean pgd20?" in _run("evaluate", "made", "--attacks", "pgd-20").stderr
    )
