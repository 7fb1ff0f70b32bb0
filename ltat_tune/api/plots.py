"""`study.plot`: Optuna's figures of one scenario's trials, as plotly has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ltat_tune.errors import ConfigError, StudyError
from ltat_tune.process_state import kept

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go

    from ltat_tune.study.folder import StudyFolder
    from ltat_tune.study.space import Space


class Plots:
    """Figures to show or to save: `study.plot.slice().show()`, `.write_html("slice.html")`.

    `scenario` is its name, needed where a study has several. A study under way may be looked at.
    Every method raises ConfigError for a scenario or parameter that does not exist, and
    StudyError where there are too few trials for the figure.

    Args:
        space: the study's.
        folder: the study's.
    """

    def __init__(self, space: Space, folder: StudyFolder) -> None:
        self._space, self._folder = space, folder

    def importance(self, scenario: str | None = None) -> go.Figure:
        """How much of the scores' variance each parameter explains, by fANOVA."""
        return self._draw("plot_param_importances", scenario)

    def parallel_coordinate(self, scenario: str | None = None) -> go.Figure:
        """Every complete trial as a line over its parameters to its score."""
        return self._draw("plot_parallel_coordinate", scenario)

    def slice(
        self, scenario: str | None = None, *, params: Sequence[str] | None = None
    ) -> go.Figure:
        """The score over each parameter alone."""
        return self._draw("plot_slice", scenario, params)

    def contour(
        self, scenario: str | None = None, *, params: Sequence[str] | None = None
    ) -> go.Figure:
        """The score over pairs of parameters."""
        return self._draw("plot_contour", scenario, params)

    def learning_curves(self, scenario: str | None = None) -> go.Figure:
        """The objective over the epochs of each trial, where it was judged."""
        return self._draw("plot_intermediate_values", scenario)

    def pareto_front(self, scenario: str | None = None) -> go.Figure:
        """Trials by their objectives, those that no other beats marked.

        Raises:
            StudyError: the study has one objective.
        """
        if len(self._space.objective.metrics) < 2:
            raise StudyError(
                f"{self._space.name} has one objective, so there is no front; give the space "
                "file objective.also"
            )
        metrics = list(self._space.objective.metrics)
        return self._draw("plot_pareto_front", scenario, target_names=metrics)

    def _draw(
        self,
        figure: str,
        scenario: str | None,
        params: Sequence[str] | None = None,
        **more: Any,
    ) -> go.Figure:
        if unknown := [path for path in params or () if path not in self._space.tuned]:
            raise ConfigError(
                f"params must be tuned ones, {', '.join(unknown)} is not; there are: "
                f"{', '.join(self._space.tuned)}"
            )
        if params is not None:
            more["params"] = list(params)
        with kept():
            study = self._study(scenario)
            import optuna

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            metric, several = self._space.objective.metric, len(study.directions) > 1
            if figure not in ("plot_pareto_front", "plot_intermediate_values"):
                more["target_name"] = metric
                more["target"] = _first if several else None
            drawn: Callable[..., go.Figure] = getattr(optuna.visualization, figure)
            try:
                made = drawn(study, **more)
            except (ValueError, RuntimeError) as error:
                raise StudyError(
                    f"{self._space.name} has too few trials for this figure: {error}"
                ) from error
        if not made.data:
            raise StudyError(f"{self._space.name} has too few trials for this figure")
        return made

    def _study(self, scenario: str | None) -> optuna.Study:
        from ltat_tune.study.trials import open_studies

        names = [one.name for one in self._space.scenarios]
        if scenario is None and len(names) == 1:
            scenario = names[0]
        if scenario not in names:
            got = "none" if scenario is None else scenario
            raise ConfigError(f"scenario must be one of {', '.join(names)}, got {got}")
        found = open_studies(self._folder)
        if scenario not in found:
            raise StudyError(f"{self._space.name} has no trials of {scenario} yet")
        return found[scenario]


def _first(trial: optuna.trial.FrozenTrial) -> float:
    """The objective's own metric."""
    own: float = trial.values[0]
    return own
