"""The command `evaluate`, which attacks trained models and writes cards."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltat_tune.cli import options, words
from ltat_tune.cli.checkpoint_options import described_checkpoint, of_checkpoint
from ltat_tune.cli.complete import STUDY

if TYPE_CHECKING:
    from ltat_tune.evaluation.request import Request
    from ltat_tune.evaluation.targets import Target


_WIDEST = 120  # characters of a table
_ATTACKS = "clean,pgd20,cw100,adaptive20,aa"
_SEED = click.IntRange(min=0, max=2**32 - 1)
_EXAMPLES = """\b
Examples:
  ltat-tune evaluate quickstart
  ltat-tune evaluate quickstart --attacks pgd20 --eps 2/255,4/255,8/255,16/255 --parallel 2
  ltat-tune evaluate best.pt --config best.yaml --test-images 1000 --attacks clean,pgd20x5,square
  ltat-tune evaluate mine.pt --attacks transfer20 --source other.pt
  ltat-tune evaluate theirs.pt --model torchvision/resnet18 --data cifar10
  ltat-tune evaluate theirs.pt --config theirs.yaml --data cifar10
"""


@click.command(epilog=_EXAMPLES)
@click.argument(
    "texts", nargs=-1, required=True, metavar="STUDY|TRIAL|CONFIG|CHECKPOINT...",
    shell_complete=STUDY,
)  # fmt: skip
@words.scenario
@words.listed(
    "--attacks", default=_ATTACKS, metavar="NAME",
    help="Attacks: clean, fgsm, pgd<steps>, mim<steps>, cw<steps>, adaptive<steps>, "
    "transfer<steps>, square, aa, cwl2, cwl2_fixed; x<restarts> may follow the steps.",
)  # fmt: skip
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True,
              help="Images to attack.")  # fmt: skip
@click.option("--worst-case", is_flag=True,
              help="Give each attack only the images that withstood those before it, which is "
              "quicker. The numbers then show the accuracy left after each attack, not the effect "
              "of each alone.")  # fmt: skip
@click.option("--test-images", type=click.IntRange(min=1),
              help="Attack a seeded part of the split of this size, the same number of each class "
              "and the same images for every model  [default: the study's confirm.test_images, "
              "else all; evaluation.aa_images for aa, square, cwl2 and cwl2_fixed].")  # fmt: skip
@words.renamed_option("--images", "--test-images", type=click.IntRange(min=1))
@words.listed_text("--eps", metavar="RADIUS", help="Radii of the attacks, such as 4/255,8/255  "
                   "[default: as configured].")  # fmt: skip
@click.option(
    "--norm",
    type=click.Choice(["linf", "l2"]),
    help="Norm of the radii  [default: as configured].",
)
@click.option(
    "--step-size",
    help="Step size of the attacks  [default: a quarter of eps in linf, a fifth in l2].",
)
@words.listed_text("--scales", metavar="SCALE", help="Values of model.inference_scale, such as "
                   "1,10  [default: as configured; a cosine head at 1 or 10 gets both, and "
                   "adaptive20].")  # fmt: skip
@click.option(
    "--source", metavar="TRIAL|CONFIG|CHECKPOINT", help="Model on which transfer attacks are made."
)
@click.option("--source-config", metavar="CONFIG", type=click.Path(path_type=Path),
              help="Configuration of the source, if the source is a checkpoint.")  # fmt: skip
@of_checkpoint
@click.option("--data", metavar="NAME", help="Its images: a data set of `ltat-tune ls datasets`, "
              "or a folder of images.")  # fmt: skip
@click.option("--attack-seed", type=_SEED, default=0, show_default=True,
              help="Seed of the attacks' random starts.")  # fmt: skip
@words.renamed_option("--seed", "--attack-seed", type=_SEED)
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
    scenarios: tuple[str, ...],
    attacks: tuple[str, ...],
    split: str,
    worst_case: bool,
    test_images: int | None,
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
    attack_seed: int,
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

    STUDY stands for the winner of each scenario, with every seed. TRIAL is STUDY/SCENARIO/tNNNN,
    or the folder of a trial or a confirmation. CONFIG has its checkpoint beside it. For each
    number, the card names the command that measures it again. After the cards stands, for each
    winner, the mean over its seeds. To continue a stopped evaluation, run the same command again.
    """
    from ltat_tune.backend.stop_signals import end_by_signals, unechoed_keys
    from ltat_tune.errors import ConfigError
    from ltat_tune.evaluation.card_text import over_seeds, table_rows
    from ltat_tune.evaluation.foreign import config_of_checkpoint
    from ltat_tune.evaluation.request import Request, check_request
    from ltat_tune.evaluation.targets import find_targets
    from ltat_tune.models.arithmetic import chosen_device

    described, config = described_checkpoint(model, config, mean, std)
    if model is not None and data is None:
        raise ConfigError("--model and --data go together")
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
        attacks=_names(attacks), split=split, images=test_images, norm=norm,
        eps=_numbers("--eps", eps),
        step_size=None if step_size is None else _numbers("--step-size", step_size, most=1)[0],
        scales=_numbers("--scales", scales), source=origin, seed=attack_seed,
        batch_size=batch_size,
        device=str(chosen_device(device)), threads=threads, sentinel=sentinel,
        worst_case=worst_case,
    )  # fmt: skip
    check_request(request)
    named = [
        target for text in texts
        for target in find_targets(
            text, out,
            config=config or config_of_checkpoint(text, folder, described, data),
        )
    ]  # fmt: skip
    if scenarios:
        known = {t.scenario: None for t in named if t.scenario}
        words.check_scenarios(scenarios, list(known), " ".join(texts))
        named = [t for t in named if t.scenario in scenarios]
    targets = list(dict.fromkeys(named))  # a model that is named twice is measured once
    end_by_signals()
    try:
        with unechoed_keys():
            cards, failed = _measure(targets, request, folder, parallel, quiet, form)
    except (KeyboardInterrupt, SystemExit):  # on SIGTERM Ray exits
        click.echo("\ninterrupted; run the same command again to continue", err=True)
        ctx.exit(130)
    if form == "json" and cards:
        several = {"cards": cards, "over_seeds": over_seeds(cards)}
        click.echo(json.dumps(cards[0] if len(targets) == 1 else several, indent=2))
    if form == "csv" and cards:
        options.print_rows(table_rows(cards), form)
    if failed:
        ctx.exit(1 if cards else 2)


def _measure(
    targets: list[Target], request: Request, folder: Path, parallel: int, quiet: bool, form: str
) -> tuple[list[dict[str, Any]], int]:
    """Return the cards, and how many models could not be measured."""
    from rich.console import Console

    from ltat_tune.cli.evaluation_progress import EvaluationBars
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
    with EvaluationBars(notes, targets, request) as bars:
        results = evaluate_models(
            targets,
            request,
            state=folder / ".state",
            parallel=parallel,
            on_progress=bars.on_progress,
        )
        for target, result in zip(targets, results, strict=True):
            with bars.away():
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


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    from ltat_tune.errors import ConfigError

    if not names:
        raise ConfigError("--attacks must name one attack or more; clean alone attacks nothing")
    return names


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
