"""The command `train`, which trains one configuration file without Ray."""

from __future__ import annotations

from pathlib import Path

import click

from ltat_tune.cli import options


@click.command(
    short_help="Train one configuration file again, without Ray.",
    epilog="\b\nExample:\n"
    "  ltat-tune train studies/quickstart/best/best-imbalance_ratio_50.yaml --test",
)
@click.argument("config", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--test", is_flag=True, help="Also attack the test images, as recorded in the file.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Training seed to use instead of the file's."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads  [default: as recorded, else 1]."
)
@options.device
@click.option(
    "--checkpoint", metavar="CHECKPOINT", type=click.Path(dir_okay=False, path_type=Path),
    help="Save the training's state in this file, and continue from it.",
)  # fmt: skip
@options.quiet
@options.format_
@click.pass_context
def train(
    ctx: click.Context,
    config: Path,
    test: bool,
    seed: int | None,
    threads: int | None,
    device: str,
    checkpoint: Path | None,
    quiet: bool,
    form: str,
) -> None:
    """Train one configuration file, and say whether it reproduced the recorded digits."""
    from ltat_tune.cli.alone import train_file

    ctx.exit(
        train_file(
            config, test=test, seed=seed, threads=threads, device=device,
            checkpoint=checkpoint, quiet=quiet, form=form,
        )
    )  # fmt: skip
