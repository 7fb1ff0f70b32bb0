"""Show one trial as human-readable text in 80 columns, for `ltat-tune show TRIAL`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from ltat_tune.config.parameters import PARAMETERS
from ltat_tune.presentation.names import (
    MANY_CLASSES,
    as_the_script_says,
    attack_name,
    reached_note,
    script_note,
)
from ltat_tune.presentation.rich_table import PlainTable
from ltat_tune.presentation.states import state_in_words
from ltat_tune.presentation.text_tables import command_lines
from ltat_tune.presentation.units import percent
from ltat_tune.results.trial_view import TrialView, curves, sparkline
from ltat_tune.search.stems import acting
from ltat_tune.space.space import text_of
from ltat_tune.storage.cleanup import size_of
from ltat_tune.storage.identity import store_of
from ltat_tune.storage.training_files import (
    CompleteTraining,
    SecondOpinion,
    read_test,
    read_training,
)
from ltat_tune.tracking.store import public_uri

_STYLES = {"tuned": "bold", "scenario": "bold", "fixed": "", "default": "dim"}


def trial_tables(view: TrialView, *, every: bool) -> RenderableType:
    """Return all tables on a trial.

    Args:
        view: the trial.
        every: whether to include parameters at their defaults or without effect, and all classes.
    """
    parts: list[RenderableType] = [_headline(view)]
    if view.row.cause and not view.row.doubt:
        parts.append(Text(view.row.cause, style="red" if view.row.state != "pruned" else ""))
    parts += [Text(), _parameters(view, every)]
    if view.row.scores:
        parts += [Text(), _rungs(view)]
    if lines := curves(view):
        parts += [Text(), _curves(lines)]
    if said := [epoch for epoch, metrics in view.history if as_the_script_says(metrics)]:
        epochs = ", ".join(map(str, said))
        parts.append(Text(f"epoch {epochs}: {view.objective} as the script says", style="yellow"))
    if note := script_note(view.config):
        parts.append(Text(note, style="dim"))
    if view.result is not None and view.result.per_class:
        parts += [Text(), _per_class(view.result, every)]
    parts += [Text(), _confirmations(view)] if view.confirmations else []
    return Group(*parts, Text())


def _headline(view: TrialView) -> Text:
    row = view.row
    text = Text(f"{view.name}: {state_in_words(row.state)}", style="bold")
    if row.score is not None:
        text.append(f", {percent(row.score)} % {view.objective}")
    took = f", {row.seconds:.0f} s from its start to its end" if row.seconds is not None else ""
    text.append(f"\n{row.epochs} of {view.config.optim.epochs} epochs trained{took}", "not bold")
    if row.doubt:
        its = "its score" if row.claimed is None else f"its {percent(row.claimed)} %"
        text.append(f"\n{its} is {row.doubt}; it ranks behind every credible trial", "red")
    elif view.result is not None and (opinion := view.result.second_opinion) is not None:
        text.append(f"\n{_credible(opinion)}", "dim")
    if row.feasible is False:
        text.append("\ndoes not reach objective.at_least", style="red")
    if view.space.selected_on_test:
        text.append("\nselected_on_test: validation images are the test images", style="red")
    return text


def _credible(opinion: SecondOpinion) -> str:
    attack = attack_name(opinion.attack)
    gap = "" if opinion.gap is None else f", a gap of about {100 * opinion.gap:.0f} points"
    return (
        f"credible: of {opinion.images} validation images that withstand {attack}, "
        f"{opinion.broken} fall to other attacks{gap}"
    )


def _parameters(view: TrialView, every: bool) -> RenderableType:
    table = PlainTable()
    for title in ("parameter", "value", "from"):
        table.add_column(title, overflow="fold")
    acts = set(acting(view.config))
    left = 0
    for path, value in view.config.flat().items():
        origin = view.origins[path]
        if not every and (origin == "default" or (path not in acts and origin != "tuned")):
            left += 1
            continue
        note = origin if path in acts else f"{origin}, has no effect here"
        shown = text_of(value)
        if path == "data.imbalance_ratio" and path in acts and view.result is not None:
            reached = reached_note(view.config.data, view.result.samples_per_class)
            shown += f" ({reached})" if reached else ""
        table.add_row(PARAMETERS[path].label, shown, note, style=_STYLES[origin])
    more = f"{left} more have their defaults or no effect here; --all shows them" if left else ""
    return Group(table, Text(more, style="dim")) if more else table


def _rungs(view: TrialView) -> PlainTable:
    table = PlainTable()
    table.add_column("after epoch")
    for epoch in view.row.scores:
        table.add_column(str(epoch), justify="right")
    table.add_row(f"{view.objective}, %", *[percent(s) for s in view.row.scores.values()])
    return table


def _curves(lines: Mapping[str, list[tuple[int, float]]]) -> PlainTable:
    table = PlainTable()
    for title in ("curve", "first", "", "last", "best at"):
        table.add_column(title, justify="right" if title in ("first", "last") else "left")
    for name, points in lines.items():
        points = points if len(points) <= 30 else points[:: len(points) // 30 + 1] + points[-1:]
        values = [value for _, value in points]
        is_share = name.endswith("acc")
        shown = [f"{percent(v)} %" if is_share else f"{v:.3f}" for v in (values[0], values[-1])]
        best = max(points, key=lambda p: p[1]) if is_share else min(points, key=lambda p: p[1])
        table.add_row(name, shown[0], sparkline(values), shown[1], f"epoch {best[0]}")
    return table


def _per_class(result: CompleteTraining, every: bool) -> RenderableType:
    """Return recalls by class; with many classes, by group only."""
    counts, per_class = result.samples_per_class, result.per_class
    classes = result.classes or [str(place) for place in range(len(counts))]
    names = list(per_class)
    table = PlainTable()
    if len(counts) <= MANY_CLASSES or every:
        for title in ("class", "trained on", *[f"{name}, %" for name in names]):
            table.add_column(title, justify="right")
        for place, (name, count) in enumerate(zip(classes, counts, strict=True)):
            recalls = [per_class[metric][place] for metric in names]
            shown = [percent(r, missing="-") for r in recalls]
            table.add_row(name, str(count), *shown)
        return table
    for title in ("classes", *[f"{name}, %" for name in names]):
        table.add_column(title, justify="right")
    for group in ("head", "body", "tail", "worst"):
        accuracies = [result.metrics.get(f"{name}_{group}_acc") for name in names]
        table.add_row(group, *[percent(v, missing="-") for v in accuracies])
    return Group(table, Text(f"--all shows the {len(counts)} classes one by one", style="dim"))


def _confirmations(view: TrialView) -> PlainTable:
    table = PlainTable()
    for title in ("confirmation", "state", f"{view.objective}, %", "test, %"):
        table.add_column(title)
    for seed, path in view.confirmations.items():
        trained, tested = read_training(path), read_test(path)
        metrics = trained.metrics if isinstance(trained, CompleteTraining) else {}
        part = tested.part if tested else None
        score = metrics.get(view.objective)
        tests = [f"{attack} {percent(tested.metrics[f'test/{attack}_acc'])}"
                 for attack in tested.images] if tested else []  # fmt: skip
        table.add_row(
            f"seed {seed}", "training" if trained is None else trained.state,
            percent(score, missing="-"),
            (", ".join(tests) or "not tested") + (f" (of {part} images)" if part else ""),
        )  # fmt: skip
    return table


def files_and_commands(view: TrialView, width: int = 1000) -> Text:
    """Return the paths of a trial's files, and commands to paste. Do not wrap the lines.

    Args:
        view: the trial.
        width: of the terminal; a command that is longer with its purpose has it above.
    """
    folder, row = view.folder, view.row
    text = Text()
    if row.folder.exists():
        names = ", ".join(sorted(path.name for path in row.folder.iterdir()))
        text.append(f"files: {row.folder} ({decimal(size_of(row.folder))}: {names})\n")
    else:
        text.append(f"files: none in {row.folder}\n")
    store = store_of(folder)
    if not store.exists:
        text.append(f"MLflow: its runs were deleted; {folder.resume_command} writes them again\n")
    else:
        text.append(f"MLflow: experiment {store.experiment}, run {row.scenario} "
                    f"t{row.number:04d}, in {public_uri(store.uri)}\n")  # fmt: skip
    config, checkpoint = row.folder / "config.yaml", row.folder / "checkpoint.pt"
    out = f" --out {shlex.quote(str(folder.root.parent))}" if folder.out_option else ""
    commands = []
    if config.exists():
        commands.append((f"ltat-tune train {shlex.quote(str(config))}", "train it again, alone"))
    if checkpoint.exists() and row.state == "complete":
        commands.append((f"ltat-tune evaluate {shlex.quote(str(row.folder))}", "attack it"))
    if not checkpoint.exists() and row.state != "running":
        text.append(
            "its weights were deleted (gc or rm --keep-best); train it again to restore them\n"
        )
    commands.append((f"ltat-tune logs {view.name}{out}", "what happened, with the traceback"))
    text.append("\n".join(command_lines(commands, width)))
    return text
