"""The columns and charts with which MLflow's pages open on a study, as a shared view.

MLflow keeps shared views in tags of the experiment. This view holds the tuned parameters, the
objective and the curves. A user who changes the page afterwards changes only their own copy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_KEY = "ltat-tune"
_MOST = 20_000  # characters that an experiment's tag holds
_SECTION = "the-search"
_SECTIONS = {
    _SECTION: ("The search", True),
    "val": ("val", True),
    "train": ("train", False),
    "test": ("test", False),
    "time": ("time", False),
}
_FIRST = {"0": 60, "attributes.`Run Name`": 260, "runDateAndNestInfo": 150}  # MLflow's own names
_TAGS = {"kind": 110, "scenario": 170, "state": 100}


@dataclass(frozen=True)
class View:
    """The content of a study's pages.

    Attributes:
        objective: metric by which trials are judged.
        tuned: dotted paths of the tuned parameters.
        scenarios: dotted paths of the parameters in which the scenarios differ.
        robust: further metrics that get a column, such as those on the test images.
        about: description of the experiment in Markdown.
        several: whether the study has several scenarios, so that they get a column.
        conditional: tuned parameters that only some trials have. MLflow's parallel coordinates
            leave out runs without a parameter, so these have no axis there.
    """

    objective: str
    tuned: Sequence[str]
    scenarios: Sequence[str]
    robust: Sequence[str]
    about: str
    several: bool = True
    conditional: frozenset[str] = frozenset()

    def tags(self) -> dict[str, str]:
        """Return the tags of the experiment by name."""
        final = final_metric(self.objective)
        charts = json.dumps(self._state(charts=True))
        plain = json.dumps(self._state(charts=False))
        return {
            "mlflow.note.content": self.about[:_MOST],
            "mlflow.experiment.primaryMetric.name": final,
            "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
            f"mlflow.sharedViewState.{_KEY}": charts if len(charts) <= _MOST else plain,
        }

    def _state(self, *, charts: bool) -> dict[str, Any]:
        state: dict[str, Any] = {
            "orderByKey": f"metrics.`{final_metric(self.objective)}`",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "selectedColumns": list(self._columns()),
            "columnOrder": [*_FIRST, *self._columns()],
            "columnWidths": {**_FIRST, **self._columns()},
            "runsHiddenMode": "SHOW_ALL",
            "isAccordionReordered": True,  # otherwise sections are sorted by name
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
            "groupBy": None,
        }
        if charts:
            state["compareRunCharts"] = self._charts()
            state["compareRunSections"] = [
                {"uuid": uuid, "name": name, "display": is_open, "isReordered": False,
                 "deleted": False, "isGenerated": False}
                for uuid, (name, is_open) in _SECTIONS.items()
            ]  # fmt: skip
        return state

    def _columns(self) -> dict[str, int]:
        """Return the width of each column in pixels, from left to right."""
        final = final_metric(self.objective)
        tags = {name: width for name, width in _TAGS.items() if name != "scenario" or self.several}
        return {
            **{f"tags.`{name}`": width for name, width in tags.items()},
            f"metrics.`{final}`": _width(final),
            **{f"params.`{path}`": _width(path) for path in self.tuned},
            **{f"metrics.`{name}`": _width(name) for name in self.robust},
            "tags.`sentinel`": 100,
            "attributes.`Models`": 160,
            "attributes.`Dataset`": 260,
        }

    def _charts(self) -> list[dict[str, Any]]:
        final = final_metric(self.objective)
        common = {"metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
        parallel = {
            **common, "type": "PARALLEL", "uuid": "parallel", "runsCountToCompare": 100,
            "displayName": "Tuned parameters and their results",
            "selectedParams": [
                *self.scenarios, *(path for path in self.tuned if path not in self.conditional)
            ],
            "selectedMetrics": [final], "showAllRuns": True,
        }  # fmt: skip
        curves = [
            {**common, "type": "LINE", "uuid": f"curve-{name}", "runsCountToCompare": 100,
             "metricKey": name, "selectedMetricKeys": [name], "displayName": name,
             "lineSmoothness": 0, "xAxisScaleType": "linear", "scaleType": "linear", "range": {},
             "xAxisKey": "step", "selectedXAxisMetricKey": "", "yAxisKey": "metric",
             "yAxisExpressions": [], "ignoreOutliers": False, "useGlobalXaxisKey": True,
             "useGlobalLineSmoothing": True}
            for name in dict.fromkeys([self.objective, "val/clean_balanced_acc", "train/loss"])
        ]  # fmt: skip
        slices = [
            {**common, "type": "SCATTER", "uuid": f"slice-{path}", "runsCountToCompare": 100,
             "displayName": f"{path} and {final}",
             "xaxis": {"key": path, "type": "PARAM"},
             "yaxis": {"key": final, "type": "METRIC"}}
            for path in self.tuned
        ]  # fmt: skip
        return [parallel, *curves, *slices]


def final_metric(objective: str) -> str:
    """Return the metric of what trained to its end: `final/pgd20_acc` for `val/pgd20_acc`.

    The objective itself is logged at every epoch, so its last value may be that of epoch 3.
    """
    return f"final/{objective.partition('/')[2]}"


def _width(name: str) -> int:
    return 50 + 7 * len(name)


def view_address(server: str, experiment_id: str, *, charts: bool = False) -> str:
    """Return the address of the page with a study's runs and its view."""
    mode = "&compareRunsMode=CHART" if charts else ""
    page = f"{server}/#/experiments/{experiment_id}/runs"
    return f"{page}?workflowType=machine_learning&viewStateShareKey={_KEY}{mode}"
