"""The command `plan` and the option `--dry-run`, which preview a study before it starts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltat_tune.cli import options, words
from ltat_tune.cli.complete import SETTING, SPACE

if TYPE_CHECKING:
    from ltat_tune.planning.estimate import StudyEstimate
    from ltat_tune.space.space import Space


_SHOWN = 5  # trials of a scenario that --dry-run prints


@click.command(
    short_help="Estimate what a study takes: epochs, hours, disk.",
    epilog="\b\nExamples:\n  ltat-tune plan search_spaces/quickstart.yaml --measure\n"
    "  ltat-tune plan search_spaces/srat.yaml --set searcher.branches=4\n"
    "  ltat-tune plan studies/srat --slurm",
)
@click.argument("space", metavar="SPACE", type=click.Path(path_type=Path), shell_complete=SPACE)
@click.option(
    "--measure", is_flag=True, help="Measure the speed by training for about half a minute."
)
@click.option("--trials", type=int, help="Number of trials per scenario (sets searcher.trials).")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", shell_complete=SETTING,
    help="Replace a value of the space file; may be repeated.",
)  # fmt: skip
@click.option(
    "--slurm", is_flag=True,
    help="SPACE is a study or its folder: write a Slurm job array of its confirmations.",
)  # fmt: skip
@words.scenario
@options.format_
def plan(
    space: Path,
    measure: bool,
    trials: int | None,
    overrides: tuple[str, ...],
    slurm: bool,
    scenarios: tuple[str, ...],
    form: str,
) -> None:
    """Estimate what the study of a space file takes: epochs, hours, memory, disk.

    Without --measure, the hours follow a rule of thumb: 100,000 attack steps of ResNet-18 on
    images of 32x32 pixels take 3 s on one A100-class GPU and 2,000 s on one CPU thread.
    """
    if slurm:
        from ltat_tune.cli.slurm import write_array

        there = os.path.exists(space / "study.json")
        script, tasks = write_array(space if there else Path("studies") / space)
        click.echo(f"wrote {script}: {tasks} trainings\n\nnext:\n  sbatch {script}")
        return
    from ltat_tune.planning.estimate import estimate
    from ltat_tune.preflight.load import load_space

    more = [f"searcher.trials={trials}"] if trials is not None else []
    checked = load_space(
        space, overrides=(*overrides, *more), check_machine=measure,
        options={"searcher.trials": "--trials"} if more else {},
    )  # fmt: skip
    if scenarios:
        words.check_scenarios(scenarios, [one.name for one in checked.scenarios], str(space))
        kept = tuple(one for one in checked.scenarios if one.name in scenarios)
        checked = replace(checked, scenarios=kept)
    expected = estimate(checked, measured=_measured(checked) if measure else None)
    if form == "json":
        click.echo(json.dumps(expected.as_data(), indent=2))
    elif form == "csv":
        options.print_rows(expected.as_data()["scenarios"], form)
    else:
        _show(checked, expected)


def _measured(space: Space) -> Any:
    from ltat_tune.engine.preview import first_trials
    from ltat_tune.planning.calibration import calibrate
    from ltat_tune.planning.slots import on_this_machine

    name = space.scenarios[0].name
    first = first_trials(space, 1)[name][0]
    click.echo("measuring the first configuration ...", err=True)
    return calibrate(
        space.config(space.scenarios[0], first),
        device="cuda" if on_this_machine(space.resources).gpus_per_trial > 0 else "cpu",
        threads=space.resources.cpus_per_trial,
    )


def _show(space: Space, expected: StudyEstimate) -> None:
    from rich.console import Console

    from ltat_tune.presentation.rich_table import PlainTable

    table = PlainTable()
    table.add_column("scenario")  # wraps on a narrow terminal, so that no number is cut
    for title in ("trials", "to\nthe end", "epochs", "at\nmost", "confirmed\n(epochs)", "s/epoch"):
        table.add_column(title, justify="right")
    for s in expected.scenarios:
        table.add_row(
            s.title, str(s.trials), f"{s.complete:.1f}", f"{s.search_epochs:.0f}",
            str(s.search_epochs_at_most),
            f"{s.confirmations} ({s.confirmation_epochs:.0f})",
            f"{s.epoch_s:.2g}",
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    console.print()
    for line in _lines(space, expected):
        console.print(line, soft_wrap=True)


def _lines(space: Space, expected: StudyEstimate) -> list[str]:
    from ltat_tune.presentation.units import duration

    shared = sum(scenario.shared_epochs for scenario in expected.scenarios)
    how = "measured here" if expected.measured else "a rule of thumb; --measure trains to measure"
    lines = [
        *_images(expected),
        f"epochs: about {expected.epochs:.0f}, at most {expected.epochs_at_most}",
        *([f"stems save about {shared:.0f} epochs"] if shared >= 1 else []),
        f"time: about {duration(3600 * expected.hours)}, at most "
        f"{duration(3600 * expected.hours_at_most)} ({how})",
    ]
    if (gpu := expected.gpu_hours()) is not None:
        most = expected.gpu_hours(at_most=True) or 0.0
        lines.append(f"GPU hours: about {gpu:.1f}, at most {most:.1f}, on {expected.gpus} GPU(s)")
    kind = "GPU memory" if expected.gpu else "memory"
    room = ""
    if expected.memory_free_mib is not None:
        gib = expected.memory_free_mib / 1024
        room = f"; {expected.fit} fit into {gib:.1f} GiB{' of each GPU' if expected.gpu else ''}"
    lines.append(
        f"{kind}: about {expected.memory_mib:.0f} MiB a trial, {expected.slots} at once{room}"
    )
    if expected.fit is not None and expected.fit < expected.slots:
        lines.append(
            "memory holds fewer trials at once: --set "
            f"resources.concurrency={max(1, expected.fit)}"
        )
    if space.resources.measures_share:
        lines.append(
            "resources.gpus_per_trial: auto is measured before the first trial and counts as a "
            "whole GPU here; trials that share a GPU are slower each but faster together"
        )
    lines.append(f"disk: about {expected.disk_mib:.0f} MiB")
    if space.budget is not None:
        lines.append(f"budget: {space.budget}; the search ends in time for all confirmations")
    return lines


def _images(expected: StudyEstimate) -> list[str]:
    """Return a line for each scenario with its training images by class."""
    from ltat_tune.presentation.names import images_in_words

    lines = {one.title: images_in_words(one.samples_per_class, one.classes)
             for one in expected.scenarios}  # fmt: skip
    if len(set(lines.values())) == 1:
        return [next(iter(lines.values()))]
    return [f"{title}: {images}" for title, images in lines.items()]


def show_first_trials(space: Space, form: str) -> None:
    """Print notes, rungs and the first configurations of every scenario, for `--dry-run`."""
    from ltat_tune.engine.preview import first_trials
    from ltat_tune.search.rungs import place_rungs
    from ltat_tune.space.space import settings_text, text_of

    proposals, rungs = first_trials(space, _SHOWN), place_rungs(space)
    if form == "json":
        where = {"prefix": rungs.epochs, "probe": rungs.probes, "copy": rungs.copies}
        click.echo(
            json.dumps({"trials": proposals, "rungs": where, "notes": space.notes}, indent=2)
        )
        return
    if form == "csv":
        rows = [{"scenario": name, "trial": f"t{number:04d}", **params}
                for name, all_params in proposals.items()
                for number, params in enumerate(all_params)]  # fmt: skip
        options.print_rows(rows, form)
        return
    for note in space.notes:
        click.echo(f"note: {note}", err=True)
    for scenario in space.scenarios:
        click.echo(f"{scenario.title}: the first of {space.searcher.trials} trials")
        for number, params in enumerate(proposals[scenario.name]):
            click.echo(f"  t{number:04d}  {settings_text(params)}")
    lengths = {
        "copies of": rungs.copies,
        "probes at epoch": rungs.probes,
        "judged at epoch": rungs.epochs,
    }
    shown = "; ".join(f"{word} {text_of(list(at))}" for word, at in lengths.items() if at)
    click.echo(f"rungs: {shown or 'none'}, of {space.max_epochs} epochs")
    click.echo("nothing was started, and nothing is left on disk")
