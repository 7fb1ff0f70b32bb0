"""The figures of the report, one at a time, as `study.plot`."""

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

    The figures are those of `ltat-tune report`. `scenario` is a scenario's name; a study with
    several scenarios needs it. The study may still be running. Every method raises ConfigError if
    a scenario or parameter does not exist, and StudyError if there are too few trials.

    Args:
        space: the study's space.
        folder: the study's folder.
    """

    def __init__(self, space: Space, folder: StudyFolder) -> None:
        self._space, self._folder = space, folder

    def importance(self, scenario: str | None = None) -> go.Figure:
        """Plot how much each parameter matters, by fANOVA and PED-ANOVA.

        The figure shows the interval over resampled trials, and p of the test whether the score
        depends on the parameter.
        """
        with process_kept():
            from ltat_tune.report.search_plots import importance_plot

            _, scene = self._read(scenario)
            importances = scene.importances
            if not importances.values:
                raise self._too_few(importances.why_not)
            return _on_paper(importance_plot(importances))

    def parallel_coordinate(self, scenario: str | None = None) -> go.Figure:
        """Plot each trial as a line over its parameters to its score, in grey without one.

        The winner's line is thick.
        """
        with process_kept():
            from ltat_tune.report.search_plots import parallel_coordinates

            _, scene = self._read(scenario)
            winner = scene.winner.result.number if scene.winner else None
            return _on_paper(
                parallel_coordinates(self._judged(scene), self._space.tuned, winner=winner)
            )

    def slice(
        self, scenario: str | None = None, *, params: Sequence[str] | None = None
    ) -> go.Figure:
        """Plot the score over each parameter alone, with the winner marked.

        Args:
            scenario: the scenario's name.
            params: dotted paths; None is all tuned parameters.
        """
        with process_kept():
            from ltat_tune.report.search_plots import slices

            paths = self._tuned_paths(params)
            _, scene = self._read(scenario)
            tuned = {path: self._space.tuned[path] for path in paths}
            winner = scene.winner.result.number if scene.winner else None
            return _on_paper(slices(self._judged(scene), tuned, winner=winner))

    def contour(
        self, scenario: str | None = None, *, params: Sequence[str] | None = None
    ) -> go.Figure:
        """Plot the score over two parameters that are ranges.

        Args:
            scenario: the scenario's name.
            params: their dotted paths; None is the two that matter most.
        """
        with process_kept():
            from ltat_tune.report.search_plots import LEAST_TO_CONTOUR, contour

            if len(paths := self._tuned_paths(params)) != 2 and params is not None:
                raise ConfigError(f"params must be two, got {', '.join(paths) or 'none'}")
            _, scene = self._read(scenario)
            if params is None:
                paths = [one.path for one in scene.importances.values]
            rows = scene.study.get_trials(deepcopy=False) if scene.study is not None else []
            drawn = contour(rows, paths)
            if drawn is None:
                raise self._too_few(
                    "a contour needs two parameters that are ranges, and "
                    f"{LEAST_TO_CONTOUR} judged trials that have both"
                )
            return _on_paper(drawn[0])

    def learning_curves(self, scenario: str | None = None) -> go.Figure:
        """Plot the objective of each trial over its epochs, with the rungs and trials' ends."""
        with process_kept():
            from ltat_tune.report.pictures import learning_curves_plot

            data, scene = self._read(scenario)
            self._judged(scene)
            rungs = (*data.rungs.copies, *data.rungs.judged)
            return _on_paper(learning_curves_plot(scene, rungs)[0])

    def pareto_front(self, scenario: str | None = None) -> go.Figure:
        """Plot trials by the first two objectives, and join those that no other beats in both.

        With a single objective, plot it against clean accuracy.
        """
        with process_kept():
            from ltat_tune.report.models import trade_off_of

            data, scene = self._read(scenario)
            trade_off = trade_off_of(data, scene)
            if trade_off is None:
                raise self._too_few("fewer than two trials were trained to their end")
            return _on_paper(trade_off.figure)

    def _tuned_paths(self, params: Sequence[str] | None) -> list[str]:
        """Return the chosen paths, or all. Raise ConfigError if one is not tuned."""
        tuned = self._space.tuned
        if unknown := [path for path in params or () if path not in tuned]:
            raise ConfigError(
                f"params must be tuned parameters ({', '.join(tuned)}), got {', '.join(unknown)}"
            )
        return list(tuned if params is None else params)

    def _read(self, scenario: str | None) -> tuple[ReportData, Scene]:
        """Return the study's data and one scenario's. Raise ConfigError if it is ambiguous."""
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
        """Return the trials that ended. Raise StudyError if no trial has a score yet."""
        ended = [row for row in scene.rows if row.state != "running"]
        if not any(row.score is not None or row.scores for row in ended):
            raise self._too_few("no trial has been judged yet")
        return ended

    def _too_few(self, why: str) -> StudyError:
        return StudyError(f"{self._space.name} has too few trials for this figure: {why}")


def _on_paper(figure: go.Figure) -> go.Figure:
    """Set a white background: a dark notebook, unlike the report, does not invert the lines."""
    return figure.update_layout(paper_bgcolor="white", plot_bgcolor="white")
