"""The command `evaluate`, which attacks trained models and writes cards."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltat_tune.cli import options
from ltat_tune.presentation.units import percent

if TYPE_CHECKING:
    from ltat_tune.evaluation.card import Request
    from ltat_tune.evaluation.loading import Target


_WIDEST = 120  # characters of a table
_ATTACKS = "clean,pgd20,cw100,adaptive20,aa"
_EXAMPLES = """\b
Examples:
  ltat-tune evaluate quickstart
  ltat-tune evaluate quickstart --attacks pgd20 --eps 2/255,4/255,8/255,16/255 --parallel 2
  ltat-tune evaluate best.pt --config best.yaml --images 1000 --attacks clean,pgd20x5,square
  ltat-tune evaluate mine.pt --attacks transfer20 --source other.pt
  ltat-tune evaluate theirs.pt --model torchvision/resnet18 --data cifar10
"""


@click.command(epilog=_EXAMPLES)
@click.argument("texts", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--attacks", default=_ATTACKS, show_default=True,
    help="Attacks: clean, fgsm, pgd<steps>, mim<steps>, cw<steps>, adaptive<steps>, "
    "transfer<steps>, square, aa, cwl2, cwl2_fixed; x<restarts> may follow the steps.",
)  # fmt: skip
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True,
              help="Images to attack.")  # fmt: skip
@click.option("--worst-case", is_flag=True,
              help="Give each attack only the images that withstood those before it, which is "
              "quicker. The numbers then show the accuracy left after each attack, not the effect "
              "of each alone.")  # fmt: skip
@click.option("--images", type=click.IntRange(min=1),
              help="Attack a seeded subset of this size, the same number of each class  [default: "
              "all; evaluation.aa_images for aa, square, cwl2 and cwl2_fixed].")  # fmt: skip
@click.option("--eps", help="Radii of the attacks, such as 4/255,8/255  [default: as configured].")
@click.option(
    "--norm",
    type=click.Choice(["linf", "l2"]),
    help="Norm of the radii  [default: as configured].",
)
@click.option(
    "--step-size",
    help="Step size of the attacks  [default: a quarter of eps in linf, a fifth in l2].",
)
@click.option("--scales", help="Values of model.inference_scale, such as 1,10  [default: as "
              "configured; a cosine head at 1 or 10 gets both, and adaptive20].")  # fmt: skip
@click.option("--source", metavar="TARGET", help="Model on which transfer attacks are made.")
@click.option("--source-config", type=click.Path(path_type=Path),
              help="Configuration of the source, if the source is a checkpoint.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path),
              help="Configuration of a checkpoint TARGET  [default: beside it].")  # fmt: skip
@click.option("--model", metavar="NAME", help="Network of a checkpoint that another script wrote, "
              "such as torchvision/resnet18; with --data.")  # fmt: skip
@click.option("--data", metavar="NAME", help="Its images: a data set of `ltat-tune ls datasets`, "
              "or a folder of images.")  # fmt: skip
@click.option("--mean", help="Subtracted from each channel before its network, such as "
              "0.49,0.48,0.45  [default: 0].")  # fmt: skip
@click.option("--std", help="Divides each channel before its network  [default: 1].")
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, show_default=True,
              help="Seed of the attacks' random starts.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1),
              help="Images in a batch. It changes the numbers of aa and square, and those of "
              "other attacks by rounding only  [default: evaluation.batch_size].")  # fmt: skip
@options.device
@click.option("--threads", type=click.IntRange(min=1),
              help="CPU threads of each model; the last digits depend on them  [default: those "
              "of the model's study or export, else 1].")  # fmt: skip
@click.option("--parallel", type=click.IntRange(min=1), default=1, show_default=True,
              help="How many models to measure at once, in Ray workers.")  # fmt: skip
@options.out
@click.option("--to", "folder", type=options.A_FOLDER, default=Path("evaluations"),
              show_default=True, help="Folder for the cards.")  # fmt: skip
@click.option("--sentinel/--no-sentinel", default=True, show_default=True,
              help="Look for gradient masking.")  # fmt: skip
@options.quiet
@options.format_
@click.pass_context
def evaluate_command(
    ctx: click.Context,
    texts: tuple[str, ...],
    attacks: str,
    split: str,
    worst_case: bool,
    images: int | None,
    eps: str | None,
    norm: str | None,
    step_size: str | None,
    scales: str | None,
    source: str | None,
    source_config: Path | None,
    config: Path | None,
    model: str | None,
    data: str | None,
    mean: str | None,
    std: str | None,
    seed: int,
    batch_size: int | None,
    device: str,
    threads: int | None,
    parallel: int,
    out: Path,
    folder: Path,
    sentinel: bool,
    quiet: bool,
    form: str,
) -> None:
    """Attack trained models, and write a card for each.

    TARGET is a study (the winner of each scenario, with every seed), the folder of a trial or
    confirmation, a configuration with its checkpoint beside it, or a checkpoint. For each number,
    the card names the command that measures it again. After the cards stands, for each winner,
    the mean over its seeds. To continue a stopped evaluation, run the same command again.
    """
    from ltat_tune.errors import ConfigError
    from ltat_tune.evaluation.card import Request
    from ltat_tune.evaluation.card_text import over_seeds
    from ltat_tune.evaluation.loading import find_targets
    from ltat_tune.evaluation.parallel import check_request
    from ltat_tune.models.arithmetic import chosen_device

    if (model is None) != (data is None) or (model and config):
        raise ConfigError("--model and --data go together, and not with --config")
    if model is not None and data is not None:
        from ltat_tune.evaluation.foreign import written_config

        config = written_config(
            folder, model, data, _channels("--mean", mean), _channels("--std", std)
        )
    origin = None
    if source is not None:
        sources = find_targets(source, out, config=source_config)
        if len(sources) != 1:
            raise ConfigError(
                f"--source must name one model, got {source}, which names {len(sources)}"
            )
        origin = (str(sources[0].checkpoint), str(sources[0].config))
    if parallel > 1 and ":" in device:
        raise ConfigError(
            f"--device must be auto, cuda or cpu with --parallel, got {device}: each model gets "
            "its GPU from Ray, and sees no other"
        )
    request = Request(
        attacks=_names(attacks), split=split, images=images, eps=_numbers("--eps", eps), norm=norm,
        step_size=None if step_size is None else _numbers("--step-size", step_size, most=1)[0],
        scales=_numbers("--scales", scales), source=origin, seed=seed, batch_size=batch_size,
        device=str(chosen_device(device)), threads=threads, sentinel=sentinel,
        worst_case=worst_case,
    )  # fmt: skip
    check_request(request)
    named = [t for text in texts for t in find_targets(text, out, config=config)]
    targets = list(dict.fromkeys(named))  # a model that is named twice is measured once
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cards, failed = _measure(targets, request, folder, parallel, quiet, form)
    except (KeyboardInterrupt, SystemExit):  # on SIGTERM Ray exits
        click.echo("\ninterrupted; run the same command again to continue", err=True)
        ctx.exit(130)
    if form == "json" and cards:
        several = {"cards": cards, "over_seeds": over_seeds(cards)}
        click.echo(json.dumps(cards[0] if len(targets) == 1 else several, indent=2))
    if failed:
        ctx.exit(1 if cards else 2)


def _measure(
    targets: list[Target], request: Request, folder: Path, parallel: int, quiet: bool, form: str
) -> tuple[list[dict[str, Any]], int]:
    """Return the cards, and how many models could not be measured."""
    from rich.console import Console

    from ltat_tune.errors import LtatError, StudyError
    from ltat_tune.evaluation import card
    from ltat_tune.evaluation.card_text import card_text, over_seeds, over_seeds_text
    from ltat_tune.evaluation.parallel import evaluate_models

    notes = Console(stderr=True, highlight=False, quiet=quiet)
    notes.print(f"device: {request.device}")
    configs = [target.config for target in targets]
    for note in _plugins([*configs, *([Path(request.source[1])] if request.source else [])]):
        notes.print(f"note: {note}", soft_wrap=True)
    shown = Console(highlight=False)
    cards, failed = [], 0
    with _progress(notes) as on_progress:
        results = evaluate_models(
            targets, request, state=folder / ".state", parallel=parallel, on_progress=on_progress
        )
        for target, result in zip(targets, results, strict=True):
            if isinstance(result, LtatError):
                failed += 1
                click.echo(f"error: {target.name}: {result}", err=True)
                continue
            cards.append(result)
            path = card.write(result, folder)
            try:
                card.log(result, target)
            except StudyError as error:
                notes.print(f"the card is not in MLflow: {error}", soft_wrap=True)
            if form == "table":
                if len(cards) > 1:
                    shown.print()
                shown.print(card_text(result), soft_wrap=True)
            notes.print(f"card: {path}", soft_wrap=True)
    if form == "table":
        wide = Console(highlight=False, width=max(shown.width, _WIDEST))  # six cells with ±
        for block in over_seeds(cards):
            wide.print()
            wide.print(over_seeds_text(block))
    return cards, failed


def _plugins(configs: list[Path]) -> list[str]:
    """Return a note for each plugin whose code the configurations run."""
    from ltat_tune.config.config_file import load_config
    from ltat_tune.config.extensions import Plugin
    from ltat_tune.errors import LtatError

    notes: dict[str, None] = {}
    for path in configs:
        with suppress(LtatError):  # the model's own error comes later
            notes |= {Plugin(**p).note: None for p in load_config(path)[0].plugins}
    return list(notes)


@contextmanager
def _progress(notes: Any) -> Iterator[Callable[[str, int, int, int], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[right]}"), TimeRemainingColumn(),
    )  # fmt: skip
    # without a terminal, a bar would print only an empty line
    shown = notes.is_terminal and not notes.quiet
    with Progress(*columns, console=notes, transient=True, disable=not shown) as progress:
        bars: dict[str, Any] = {}

        def on_progress(title: str, done: int, total: int, right: int) -> None:
            if title not in bars:
                for old in bars.values():
                    progress.update(old, visible=False)
                bars[title] = progress.add_task(title, total=total, right="")
            text = "" if right < 0 else f"{percent(right / done)} %"
            progress.update(bars[title], completed=done, right=text)

        yield on_progress


def _names(text: str) -> tuple[str, ...]:
    from ltat_tune.errors import ConfigError

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError("--attacks must name one attack or more; clean alone attacks nothing")
    return names


def _channels(option: str, text: str | None) -> tuple[float, ...]:
    """Return one number for each channel; empty if none are given."""
    from ltat_tune.errors import ConfigError

    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise ConfigError(f"{option} must be numbers such as 0.49,0.48,0.45, got {text}") from None


def _numbers(option: str, text: str | None, most: int | None = None) -> Any:
    """Return comma-separated numbers or fractions as a tuple; None stays None."""
    from ltat_tune.config.scalars import parse_number
    from ltat_tune.errors import ConfigError

    if text is None:
        return None
    try:
        values = tuple(dict.fromkeys(parse_number(_typed(part)) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(f"{option} {error}") from None
    if min(values) <= 0:
        raise ConfigError(f"{option} must be above 0, got {text}")
    if most is not None and len(values) > most:
        raise ConfigError(f"{option} must be one number, got {text}")
    return values


def _typed(text: str) -> Any:
    """Return a plain number as a float; return anything else as text for the parser."""
    try:
        return float(text)
    except ValueError:
        return text.strip()
