"""Measure soups on the test images beside each scenario's winner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ltat_tune.comparison.checkpoints import CheckpointBlock, CheckpointRequest, beside_winners
from ltat_tune.comparison.entries import Reviewed
from ltat_tune.errors import StudyError
from ltat_tune.export.soup.make import ScenarioSoups
from ltat_tune.space.objective import group_of

_ABOUT = (
    "the soup and the trial below it are of the search's seed, the winner's numbers are over the "
    "seeds that confirmed it"
)


def check_winners(study: Reviewed) -> None:
    """Raise StudyError if a scenario has no winner that was tested."""
    missing = [
        one.name for one in study.results.scenarios if not one.winner or not one.winner.test
    ]
    if missing:
        raise StudyError(
            f"--test measures beside the winner, but {', '.join(missing)} of "
            f"{study.folder.root.name} has none that was tested; finish the study: "
            f"{study.folder.resume_command}"
        )


def soups_on_test(
    study: Reviewed, made: Sequence[ScenarioSoups], *, device: str = "auto",
    folder: Path = Path("evaluations"),
) -> list[CheckpointBlock]:  # fmt: skip
    """Measure each soup, and the best of its trials alone, under all attacks of the study.

    Args:
        study: the study.
        made: its soups; a scenario without a soup has no block.
        device: the device that measures.
        folder: where what was measured is kept.
    """
    blocks = []
    for one in made:
        if one.path is None:
            continue
        only = study.of_scenarios([one.scenario])
        files = [str(one.path), str(one.best_trial.checkpoint)]
        blocks += beside_winners(
            only, CheckpointRequest(files, metrics=_metrics(only), device=device, folder=folder,
                                    about=_ABOUT)
        )  # fmt: skip
    return blocks


def _metrics(study: Reviewed) -> list[str]:
    """Return the verdict's metric, then the same accuracy under the study's other attacks."""
    first = study.results.verdict_metric
    group = f"_{group_of(first)}" if group_of(first) else ""
    attacks = study.results.confirm.attacks
    return list(dict.fromkeys([first, *(f"test/{attack}{group}_acc" for attack in attacks)]))
