"""Export the winners of a finished study into its folder, and log them in MLflow as models."""

from __future__ import annotations

from collections.abc import Callable

from ltat_tune.errors import LtatError
from ltat_tune.evaluation.loading import load_target
from ltat_tune.evaluation.targets import Target
from ltat_tune.export.card import model_card
from ltat_tune.export.winners import export_study
from ltat_tune.export.write import about, weights_file
from ltat_tune.space.space import Space
from ltat_tune.storage.folder import StudyFolder
from ltat_tune.tracking import ModelFiles, Tracker
from ltat_tune.training.weights_file import SUFFIX


def export_winners(
    space: Space, folder: StudyFolder, tracker: Tracker, say: Callable[[str], None]
) -> None:
    """Export each scenario's winner with its weights into `best/`, and log it as a model.

    The model is logged on the run that trained it. A smoke run leaves no weights and no model.

    Args:
        space: the study's space.
        folder: the study's folder.
        tracker: the study's tracker.
        say: takes warnings about files that could not be written. They do not end the study.
    """
    try:
        winners = export_study(folder, space, folder.best)
    except LtatError as error:  # for example a plugin that was edited since the study began
        say(f"warning: {folder.best} was not written: {error}")
        return
    for winner in winners if not space.smoke else ():
        place, path = winner.training.path, winner.path.with_suffix(SUFFIX)
        try:
            loaded = load_target(Target(path.stem, place / "config.yaml", place / "checkpoint.pt",
                                 folder.cache, folder.root))  # fmt: skip
            weights_file(path, winner, loaded)
        except Exception as error:  # images deleted, disk full, no memory; the tests are done
            say(f"warning: {path.name} was not written: {type(error).__name__}: {error}")
            continue
        files = ModelFiles(path, winner.path, loaded.weights, about(winner), model_card(winner),
                           winner.plugins)  # fmt: skip
        tracker.model(winner.training.key, winner.scenario.name, files)
