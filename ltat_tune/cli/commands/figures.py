"""The command `figures`, which draws the papers' figures and a few more."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltat_tune.cli import options, words
from ltat_tune.cli.complete import STUDY

if TYPE_CHECKING:
    from ltat_tune.figures.drawing import Drawn
    from ltat_tune.figures.spec import FigureSpec


_KEY_WIDTH = len("accuracy_over_eps")  # the longest


@click.command(
    short_help="Draw the papers' figures from trained models.",
    epilog="\b\nExamples:\n  ltat-tune figures --list\n  ltat-tune figures quickstart\n"
    "  ltat-tune figures reat_figure_01 reat_table_07 --only reat_01,reat_02",
)
@click.argument("targets", nargs=-1, metavar="[STUDY|TRIAL]...", shell_complete=STUDY)
@words.listed("--only", metavar="KEY", help="Draw only these figures.")
@click.option("--list", "listed", is_flag=True, help="List every figure and the command for it.")
@click.option("--to", "target", type=options.A_FOLDER, default=Path("figures"),
              show_default=True, help="Folder to write <key>.pdf and <key>.png into.")  # fmt: skip
@options.out
@words.listed(
    "--scenario", "scenarios", metavar="NAME",
    help="Draw these scenarios alone  [default: all; a figure of one scenario takes the first].",
)  # fmt: skip
@click.option("--test-images", type=click.IntRange(min=1), default=1000, show_default=True,
              help="Most test images for figures that attack models, the same number of each "
              "class.")  # fmt: skip
@words.renamed_option("--images", "--test-images", type=click.IntRange(min=1))
@options.device
@click.option("--root", help="Folder of SVHN's official files, for srat_14  [default: as "
              "`ltat-tune prepare svhn`].")  # fmt: skip
@options.quiet
@options.format_
@click.pass_context
def figures(
    ctx: click.Context,
    targets: tuple[str, ...],
    only: tuple[str, ...],
    listed: bool,
    target: Path,
    out: Path,
    scenarios: tuple[str, ...],
    test_images: int,
    device: str,
    root: str | None,
    quiet: bool,
    form: str,
) -> None:
    """Draw every figure of both papers for which STUDY or TRIAL has the data.

    STUDY is the name of a study or its folder. TRIAL is STUDY/SCENARIO/tNNNN, or the folder of one
    training (config.yaml, result.json, checkpoint.pt). Give several to compare them; some figures
    of --only need none. The figures that cannot be drawn stand on one line for each paper. With
    --only, the command names the missing data of each, and the command that makes them. The exit
    status is 1 if no figure could be drawn.
    """
    from ltat_tune.figures.drawing import drawn_table

    keys = _keys(only)
    if listed:
        rows = drawn_table(keys)
        _print_list(rows) if form == "table" else options.print_rows(rows, form)
        return
    if not targets and not only:
        raise click.UsageError("name a study or the folder of a training, or use --list")
    paths = [_folder(out, name) for name in targets]
    figures_drawn = []
    for drawn in _draw(keys, paths, target, test_images, device, root, scenarios):
        figures_drawn.append(drawn)
        if form == "table" and (drawn.paths or (only and not quiet)):
            _print(drawn)
    if form == "table" and not only and not quiet:
        _print_missing([drawn.spec for drawn in figures_drawn if not drawn.paths])
    _attach(paths, [path for drawn in figures_drawn for path in drawn.paths])
    if form != "table":
        options.print_rows([drawn.as_data() for drawn in figures_drawn], form)
    if not any(drawn.paths for drawn in figures_drawn):
        ctx.exit(1)


def _keys(only: tuple[str, ...]) -> list[str]:
    from ltat_tune.figures.registry import FIGURES

    for key in only:
        if key not in FIGURES:
            close = get_close_matches(key, FIGURES, n=1)
            hint = f"did you mean {close[0]}? Choose" if close else "choose"
            raise click.UsageError(f"unknown figure {key!r}; {hint} from: {', '.join(FIGURES)}")
    return list(only) or list(FIGURES)


def _folder(out: Path, name: str) -> Path:
    """Return the folder of a study, or of a training."""
    if Path(name).is_dir() or "/" not in name:
        return Path(name) if Path(name).is_dir() else out / name
    from ltat_tune.results.trial_view import find_trial

    return find_trial((name,), out)[1].folder


def _draw(
    keys: list[str], paths: list[Path], target: Path, images: int, device: str, root: str | None,
    scenarios: tuple[str, ...],
) -> Iterator[Drawn]:  # fmt: skip
    from ltat_tune.config.sections import ComputeConfig
    from ltat_tune.errors import StudyError
    from ltat_tune.figures.drawing import draw
    from ltat_tune.figures.sources import read_sources
    from ltat_tune.models.arithmetic import chosen_device, computing_on

    chosen = chosen_device(device)
    if device == "auto" and chosen.type == "cuda":
        click.echo(f"note: models are attacked on {chosen}", err=True)
    sources = read_sources(paths, device=str(chosen), images=images, root=root)
    if scenarios:
        words.check_scenarios(scenarios, sources.scenarios, " ".join(map(str, paths)))
        sources = sources.of_scenarios(scenarios)
    try:
        with computing_on(chosen, ComputeConfig()):
            yield from draw(keys, sources, target)
    except OSError as error:
        raise StudyError(
            f"cannot write figures into {target}: {error.strerror}; choose another with --to"
        ) from error


def _print(drawn: Drawn) -> None:
    key = f"{drawn.spec.key:{_KEY_WIDTH}}"
    if drawn.paths:
        notes = f"   ({'; '.join(drawn.notes)})" if drawn.notes else ""
        click.echo(f"{key} {' '.join(str(path) for path in drawn.paths)}{notes}")
        return
    if drawn.spec.draw is None:
        click.echo(f"{key} not drawn: {drawn.missing}")
        return
    click.echo(f"{key} missing: {drawn.missing}")
    click.echo(f"{'':{_KEY_WIDTH}} make it with: {drawn.command}")


def _print_missing(specs: list[FigureSpec]) -> None:
    """Print one line for each paper with the figures that were not drawn."""
    for paper in dict.fromkeys(spec.paper for spec in specs):
        keys = [spec.key for spec in specs if spec.paper == paper]
        name = "no paper" if paper == "neither" else paper
        click.echo(f"not drawn, of {name}: {' '.join(keys)}")
    if specs:
        click.echo(f"why, and the remedy: add --only {specs[0].key}")


def _print_list(rows: list[dict[str, str]]) -> None:
    """Print a block for each figure, with its command on one line to be copied."""
    from rich.console import Console

    console = Console(highlight=False)
    for row in rows:
        paper = "no paper" if row["paper"] == "neither" else f"{row['paper']} {row['figure']}"
        console.print(f"[bold]{row['key']}[/]  {paper}  {row['shows']}", soft_wrap=True)
        console.print(f"    needs {row['needs']}", style="dim", soft_wrap=True)
        console.print(f"    {row['command']}", markup=False, soft_wrap=True)


def _attach(paths: list[Path], files: list[Path]) -> None:
    """Attach the files to the MLflow run of every named study whose store exists."""
    from ltat_tune.errors import StudyError
    from ltat_tune.storage.folder import StudyFolder
    from ltat_tune.storage.identity import settled_store, store_of
    from ltat_tune.tracking import attach_files

    for path in paths:
        if not files or not (path / "study.json").exists():
            continue
        folder = StudyFolder.open(path)
        if not store_of(folder).exists:
            continue
        try:
            store = settled_store(folder)
            attach_files(store.uri, store.experiment, store.uid, files, "figures")
        except StudyError as error:  # the files are on disk all the same
            click.echo(f"note: not in MLflow: {error}", err=True)
