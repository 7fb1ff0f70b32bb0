"""`study.plot`: the figures of the report, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ltat_tune.api.isolation import process_kept
from ltat_tune.errors import ConfigError, StudyError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ltat_tune.report.data import ReportData, Scene
    from ltat_tune.space.space import Space
    from ltat_tune.storage.folder import StudyFolder
    from ltat_tune.storage.trials import TrialRow


class Plots:
    """Figures to show or to save: `study.plot.slice().show()`, `.write_html("slice.html")`.

    They are those of `ltat-tune report`. `scenario` is its name, needed where a study has
    several. A study under way may be looked at. Every method raises ConfigError for a scenario
    or parameter that does not exist, and StudyError where there are too few trials for the figure.

    Args:
        space: the study's.
        folder: the study's.
    """

    def __init__(self, space: Space, folder: StudyFolder) -> None:
        self._space, self._folder = space, folder

    def importance(self, scenario: str | None = None) -> go.Figure:
        """How much each parameter matters, by fANOVA and PED-ANOVA.

        With the interval over resampled trials, and with what shuffled scores reach by chance.
        """
        with process_kept():
            from ltat_tune.report.search_plots import importance_plot

            _, scene = self._read(scenario)
            found = scene.importances
            if not found.values:
                raise self._too_few(found.why_not)
            return _on_paper(importance_plot(found))

    def parallel_coordinate(self, scenario: str | None = None) -> go.Figure:
        """Every trial as a line over its parameters to its score; grey where it was stopped."""
        with process_kept():
            from ltat_tune.report.search_plots import parallel_coordinates

            _, scene = self._read(scenario)
            return _on_paper(parallel_coordinates(self._judged(scene), self._space.tuned))

    def slice(
        self, scenario: str | None = None, *, params: Sequence[str] | None = None
    ) -> go.Figure:
        """The score over each parameter alone, the winner marked.

        Args:
            scenario: its name.
            params: dotted paths; None are all that are tuned.
        """
        with process_kept():
            from ltat_tune.report.search_plots import slices

            paths = self._known(params)
            _, scene = self._read(scenario)
            tuned = {path: self._space.tuned[path] for path in paths}
            winner = scene.winner.result.number if scene.winner else None
            return _on_paper(slices(self._judged(scene), tuned, winner=winner))

    def contour(
        self, scenario: str | None = None, *, params: Sequence[str] | None = None
    ) -> go.Figure:
        """The score over two parameters that are ranges.

        Args:
            scenario: its name.
            params: their dotted paths; None are the two that matter most.
        """
        with process_kept():
            from ltat_tune.report.search_plots import LEAST_TO_CONTOUR, contour

            if len(paths := self._known(params)) != 2 and params is not None:
                raise ConfigError(f"params must be two, got {', '.join(paths) or 'none'}")
            _, scene = self._read(scenario)
            if params is None:
                paths = [one.path for one in scene.importances.values]
            rows = scene.study.get_trials(deepcopy=False) if scene.study is not None else []
            found = contour(rows, paths)
            if found is None:
                raise self._too_few(
                    "a contour takes two parameters that are ranges, and "
                    f"{LEAST_TO_CONTOUR} judged trials that have both"
                )
            return _on_paper(found[0])

    def learning_curves(self, scenario: str | None = None) -> go.Figure:
        """The objective over the epochs of each trial, with rungs and where trials ended."""
        with process_kept():
            from ltat_tune.report.pictures import learning_curves_plot

            data, scene = self._read(scenario)
            self._judged(scene)
            rungs = (*data.rungs.copies, *data.rungs.judged)
            return _on_paper(learning_curves_plot(scene, rungs)[0])

    def pareto_front(self, scenario: str | None = None) -> go.Figure:
        """Trials by the first two objectives, those that no other beats in both on a line.

        Clean accuracy against the objective, where the study has one.
        """
        with process_kept():
            from ltat_tune.report.models import trade_off_of

            data, scene = self._read(scenario)
            found = trade_off_of(data, scene)
            if found is None:
                raise self._too_few("fewer than two trials were trained to their end")
            return _on_paper(found.figure)

    def _known(self, params: Sequence[str] | None) -> list[str]:
        """Raises: ConfigError."""
        tuned = self._space.tuned
        if unknown := [path for path in params or () if path not in tuned]:
            raise ConfigError(
                f"params must be tuned ones, {', '.join(unknown)} is not; there are: "
                f"{', '.join(tuned)}"
            )
        return list(tuned if params is None else params)

    def _read(self, scenario: str | None) -> tuple[ReportData, Scene]:
        """The study as it is now, and the scenario that is meant. Raises: ConfigError."""
        from ltat_tune.report.data import Reader

        names = [one.name for one in self._space.scenarios]
        if scenario is None and len(names) == 1:
            scenario = names[0]
        if scenario not in names:
            got = "none" if scenario is None else scenario
            raise ConfigError(f"scenario must be one of {', '.join(names)}, got {got}")
        if not self._folder.facts.exists():
            raise self._too_few("it has not been run")
        data = Reader(self._folder).read()
        return data, next(s for s in data.scenes if s.scenario.name == scenario)

    def _judged(self, scene: Scene) -> list[TrialRow]:
        """Raises: StudyError where no trial has a score yet."""
        ended = [row for row in scene.rows if row.state != "running"]
        if not any(row.score is not None or row.scores for row in ended):
            raise self._too_few("no trial has been judged yet")
        return ended

    def _too_few(self, why: str) -> StudyError:
        return StudyError(f"{self._space.name} has too few trials for this figure: {why}")


def _on_paper(figure: go.Figure) -> go.Figure:
    """On white: a notebook may be dark, and unlike the report's page it does not turn the ink."""
    return figure.update_layout(paper_bgcolor="white", plot_bgcolor="white")
