"""The READMEs: their commands run, their links resolve, their numbers agree with each other."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ltat_tune import Study
from scripts.report_picture import PICTURE, installed_chromium, verdict_of
from tests.drive import call, mlflow_runs, run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ["README.md"] + sorted(
    str(path.relative_to(ROOT))
    for folder in ("ltat_tune", "scripts", "search_spaces", "tests")
    for path in (ROOT / folder).rglob("*.md")
)
WORDS = (
    "trial", "scenario", "rung", "copy", "probe", "deferral", "stem", "branch", "confirmation",
    "baseline", "sentinel", "ledger",
)  # fmt: skip
WHOLE = "LTAT_TEST_SLOW" in os.environ
TRIALS, SEEDS = (12, 3) if WHOLE else (6, 1)
REPORT = "report quickstart"  # several pages want what it writes
PROCESSES = ("ltat-tune doctor", "ltat-tune version")  # as a reader types them, in Python anew
SHORTER = (
    f" --trials {TRIALS} --set confirm.seeds=[1] --set confirm.sentinel=false"
    " --set confirm.attacks=[clean,pgd20]"
)
ATTACKS = ("clean", "pgd20", "aa") if WHOLE else ("clean", "pgd20")


def _text(page: str) -> str:
    return (ROOT / page).read_text()


def _commands(page: str) -> list[str]:
    """Return the lines of a page's console blocks that begin with `$ `, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", _text(page), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line[2:].partition("  #")[0].strip() for line in lines]


def _runs_here(command: str) -> bool:
    """Whether a command needs no images of the reader, no Ctrl-C and no installation."""
    elsewhere = ("scripts/", "ltat-tune ui")  # tests/test_cli_ui.py has the browser
    return "PATH/TO" not in command and not command.startswith(elsewhere)


def _without_ray(command: str) -> str:
    """Add `--in-process` to what starts a study: the study that is made first has Ray."""
    starts = command.startswith(("ltat-tune resume ", "ltat-tune run "))
    plain = not starts or any(word in command for word in ("--in-process", "--dry-run"))
    return command if plain else f"{command} --in-process"


def _first_said() -> dict[str, list[str]]:
    """Return page -> its commands that are run here, each once: on the first page that has it."""
    seen = {f"ltat-tune {REPORT}"}
    pages: dict[str, list[str]] = {}
    for page in PAGES:
        commands = [_without_ray(command) for command in _commands(page) if _runs_here(command)]
        new = [command for command in commands if command not in seen]
        seen.update(new)
        if new:
            pages[page] = list(dict.fromkeys(new))
    return pages


def _slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _outside_code(page: str) -> str:
    return re.sub(r"```.*?```", "", _text(page), flags=re.DOTALL)


# -- commands -----------------------------------------------------------------------------------


def test_the_readme_opens_with_the_two_commands() -> None:
    assert _commands("README.md")[:2] == ["scripts/study", "scripts/test"]
    for name in ("study", "test", "check"):
        script = ROOT / "scripts" / name
        assert os.access(script, os.X_OK)
        subprocess.run(["bash", "-n", script], check=True)
    last = (ROOT / "scripts" / "study").read_text().splitlines()[-1]
    assert last == 'exec ltat-tune run search_spaces/quickstart.yaml "$@"'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `scripts/study` ran: its last line, in the environment it would make.

    The quickstart is half as long, with one seed, without the sentinel, which
    engine/test_end_to_end.py is about, and without AutoAttack, which winners of a study meet in
    engine/test_budget_end_to_end.py, unless LTAT_TEST_SLOW asks for all.
    """
    folder = tmp_path_factory.mktemp("readme") / "made"
    folder.mkdir()
    for name in ("search_spaces", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    options = "" if WHOLE else SHORTER
    done = run(
        *f"--space search_spaces/quickstart.yaml{options}".split(), cwd=folder, timeout_s=900
    )
    assert done.returncode == 0, done.stderr
    assert call(*REPORT.split(), cwd=folder).returncode == 0
    return folder


def test_the_quickstart_finds_a_winner_at_each_ratio(made: Path) -> None:
    study = made / "studies" / "quickstart"
    results = json.loads((study / "results.json").read_text())
    metric = results["objective"]
    assert metric == "val/pgd20_balanced_acc"
    for scenario in results["scenarios"]:
        assert sum(scenario["trials"].values()) >= TRIALS
        assert scenario["trials"]["failed"] == scenario["trials"]["diverged"] == 0
        assert scenario["trials"]["pruned"] > 0 or TRIALS < 12  # the race is owed a few of them
        by_recipe = {c["recipe"]: c for c in scenario["confirmed"]}
        winner, baseline = by_recipe[scenario["winner"]], by_recipe[scenario["baseline"]]
        assert sum(winner["val"][metric]) > sum(baseline["val"][metric])
        for attack in ATTACKS:
            assert len(winner["test"][f"test/{attack}_acc"]) == SEEDS
    assert all(r.info.status != "RUNNING" for r in mlflow_runs(study))


@pytest.mark.parametrize("page", _first_said())
def test_every_command_of_a_page_works(page: str, made: Path, tmp_path: Path) -> None:
    """In a copy of the study, in their order; code blocks that a page names are written first."""
    folder = tmp_path / "reader"
    shutil.copytree(made, folder, symlinks=True)
    for name, code in re.findall(r"`(\w+\.(?:py|yaml))`[^`]*```\w+\n(.*?)```", _text(page), re.S):
        (folder / name).write_text(code)
    for command in _first_said()[page]:
        _run(command, folder)


def _run(command: str, folder: Path) -> None:
    text, _, file = command.partition(" > ")
    program, *words = shlex.split(text)
    if program == "ltat-tune":
        done = (run if command in PROCESSES else call)(*words, cwd=folder)
    else:
        assert program == "python", command
        if "report_picture" in command and installed_chromium() is None:
            return
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    if file:
        (folder / file).write_text(done.stdout)
        assert done.stdout.strip(), command


def test_the_image_folder_study_runs_on_real_images(tmp_path: Path, cifar_folder: Path) -> None:
    (tmp_path / "images").symlink_to(cifar_folder)
    smaller = ("optim.epochs=3", "evaluation.every_epochs=1", "searcher.trials=3",
               "data.max_per_class=200", "confirm.seeds=[1]", "confirm.sentinel=false",
               "confirm.attacks=[clean, pgd5]", "model.width=8")  # fmt: skip
    options = [part for value in smaller for part in ("--set", value)]
    space = ROOT / "search_spaces" / "image_folder.yaml"
    done = call("--space", space, *options, "--in-process", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scenario = json.loads(done.stdout)["scenarios"][0]
    assert sum(scenario["trials"].values()) == 3
    winner = next(c for c in scenario["confirmed"] if c["recipe"] == scenario["winner"])
    assert winner["samples_per_class"] == [200, 63, 20]
    assert winner["test_images"] == {"clean": 3000, "pgd5": 3000}
    best = tmp_path / "studies" / "image_folder" / "best" / "best-imbalance_ratio_10.yaml"
    trained = call("train", best, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "reproduced: weights" in trained.stderr


# -- text ---------------------------------------------------------------------------------------


def test_the_readme_is_read_in_ten_minutes() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _outside_code(page)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
            headings = re.findall(r"^#+ (.*)", text, flags=re.MULTILINE)
            assert anchor in map(_slug, headings), f"{page}: {target}"


def test_the_glossary_defines_twelve_words() -> None:
    table = README.partition("## Glossary")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| (\w+) \|", table, flags=re.MULTILINE)[1:]) == WORDS


@pytest.mark.parametrize("page", [p for p in PAGES if p != "scripts/bench_results.md"])
def test_a_page_that_uses_a_word_of_the_glossary_links_to_it(page: str) -> None:
    text = _outside_code(page)
    used = [word for word in WORDS if word != "copy" and re.search(rf"\b{word}\b", text)]
    assert not used or "#glossary" in text or page == "README.md", f"{page}: {used}"


def test_the_space_file_that_is_shown_is_right(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "shown.yaml").write_text(block)
    assert Study(tmp_path / "shown.yaml", out=tmp_path).name == "shown"
    assert len(block.splitlines()) <= 16


def test_every_space_file_is_listed_and_is_there() -> None:
    table = _text("search_spaces/README.md").partition("## Which question")[2]
    listed = set(re.findall(r"`(\w+\.yaml)`", table.partition("```")[0]))
    assert listed == {path.name for path in (ROOT / "search_spaces").glob("*.yaml")}


def test_picture_and_text_show_one_study() -> None:
    """The picture holds its verdict; scripts/report_picture.py wrote it there."""
    picture = verdict_of(PICTURE)
    verdicts = re.findall(
        r"data\.imbalance_ratio = (\d+) \([\d.]+ reached\): \S+ reaches (\S+ ± \S+ %) \S+, the "
        r"baseline (\S+ ± \S+ %); [^(]* by (\S+ points) "
        r"\((95 % interval \S+ to \S+, p [=<] \S+)\)",
        " ".join(README.split()),
    )
    assert [ratio for ratio, *_ in verdicts] == ["10", "50"]
    for ratio, *digits in verdicts:
        said = picture.partition(f"On imbalance ratio {ratio}")[2].partition("of epochs saved")[0]
        assert all(part in said for part in digits), (ratio, digits, said)
    quoted = re.findall(r"^> (.*)", _text("ltat_tune/README.md"), flags=re.MULTILINE)
    assert quoted and " ".join(" ".join(quoted).split()) in picture


def test_the_quickstarts_seconds_are_said_alike_everywhere() -> None:
    pages = ("README.md", "scripts/README.md", "search_spaces/README.md")
    said = [re.findall(r"(?:about|in|takes) (\d+) s\b", _text(page)) for page in pages]
    said.append(re.findall(r"about (\d+) s on", _text("search_spaces/quickstart.yaml")))
    assert all("55" in seconds for seconds in said), said
